"""What a run became, written down so that it can be compared: for `make.py`, which makes old runs, and for their test.

Nothing here knows how limner is built. It calls what `import limner` offers, and reads a run's files as they are documented:
JSON, YAML, safetensors, PNG.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file

import limner

HOME = Path(__file__).parent / "2f4edf3"
"""The runs made by that commit: a folder each, and `made.json`, which says on what machine."""
PARTS = ("model", "ema", "optim")
INSIDE = ("checkpoints", "previews", "control", "evaluations")
"""Folders of a run; git keeps no empty ones."""
ENDS = ("images", "iteration", "stage", "stage_start", "rollbacks")
"""What `state.json` says that is the same on every machine; the rest are seconds."""

APART = 0.5
"""Mean absolute difference of pixels (of 255) up to which two arrays of pictures are the same but for rounding. Other vector
instructions of the same processor moved no pixel; the pictures of two seeds are 1.5 apart at the least."""
LATENTS_APART = 1e-3
"""The same for latents, as a share of their spread; other vector instructions moved them by less than 1e-6."""
CODES_APART = 0.02
"""The same for codes, which are one or another: the share that differs."""
LOSS_APART = 1e-4
"""The same for losses and scores: the difference over the greater of the number and 1. Other vector instructions moved them by
3e-6 at most; another seed of the training draws moves some loss of every run by 9e-3 at the least."""

LIMITS = {"u": APART, "f": LATENTS_APART, "i": CODES_APART}
"""By the kind of numbers: pixels, latents, codes."""

Pictures = dict[str, NDArray[Any]]


# ---- where it was made


def machine() -> dict[str, Any]:
    """What decides how sums are rounded. Where all of it is equal, results are expected to be equal to the bit."""
    about: dict[str, str] = {}
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        lines = []
    for line in lines:
        key, _, value = line.partition(":")
        about.setdefault(key.strip(), value.strip())
    vectors = ("sse", "ssse", "avx", "fma", "f16c", "amx", "asimd", "sve", "bf16")
    limits = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS", "MKL_CBWR")
    flags = about.get("flags", about.get("Features", "")).split()
    return {
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "processor": [about.get(key, "") for key in ("model name", "cpu family", "model")],
        "features": sorted(flag for flag in flags if flag.startswith(vectors)),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "limits": {name: os.environ[name] for name in limits if name in os.environ},
    }


# ---- what a run folder holds


def copied(name: str, to: Path, home: Path = HOME) -> Path:
    """The old run `name` as a folder that may be written to: `to`/`name`, with the empty folders that git does not keep."""
    path = to / name
    shutil.copytree(home / name / "run", path)
    for inside in INSIDE:
        (path / inside).mkdir(exist_ok=True)
    return path


def rows(run: Path, name: str) -> list[dict[str, Any]]:
    """Of a file of JSON lines; none where there is no such file."""
    path = run / name
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.is_file() else []


def last(run: Path) -> Path:
    """The newest complete checkpoint."""
    return max(path.parent for path in run.glob("checkpoints/*/COMPLETE"))


def digests(checkpoint: Path) -> dict[str, dict[str, str]]:
    """Part -> name of a tensor -> the first 16 hexadecimal digits of the sha256 over its type, shape and bytes."""
    return {
        part: {name: digest(value.contiguous().numpy()) for name, value in sorted(load_file(path).items())}
        for part in PARTS
        if (path := checkpoint / f"{part}.safetensors").is_file()
    }


def digest(array: NDArray[Any]) -> str:
    """The first 16 hexadecimal digits of the sha256 over an array's type, shape and bytes."""
    return hashlib.sha256(f"{array.dtype} {array.shape} ".encode() + array.tobytes()).hexdigest()[:16]


# ---- what a model draws


def draw(run: Path, calls: Mapping[str, Sequence[Any]], given: NDArray[np.uint8], scratch: Path) -> Pictures:
    """Name -> what limner answers to it. A call is a verb and its arguments; `given` are pictures for those that want some.

    Errors: `limner.InputError` where the model cannot do it.
    """
    model = limner.load(run)
    found: Pictures = {}
    for name, (verb, arguments) in calls.items():
        if verb == "sample":
            found[name] = model.sample(**arguments)
        elif verb == "reconstruct":
            found[name] = model.reconstruct(given)
        elif verb == "encode":
            found[name] = model.encode_pictures(given)
        else:  # those that write files
            answer = getattr(limner, verb)(run, **arguments, out=scratch / name)
            found[name] = np.stack([np.asarray(Image.open(path)) for path in answer["files"]])
    return found


def spoken(run: Path, since: int, timed: bool, pictures: Pictures) -> dict[str, Any]:
    """All that is compared of a run that has ended, as plain data. `since`: rows up to there were written before.

    A run whose length went by the clock (`timed`) writes its metrics when the clock says so: they are left out.
    """
    trained = [{key: row[key] for key in ("images", "losses", "lr")} for row in rows(run, "metrics.jsonl")]
    later = ("seconds", "error")  # the time varies, and errors of scores were not recorded then
    scored = [{key: value for key, value in row.items() if key not in later} for row in rows(run, "scores.jsonl")]
    state = json.loads((last(run) / "state.json").read_text(encoding="utf-8"))
    return {
        "state": {key: state[key] for key in ENDS},
        "status": json.loads((run / "status.json").read_text(encoding="utf-8"))["state"],
        "plan": rows(run, "plan.jsonl"),
        "metrics": [] if timed else [row for row in trained if row["images"] > since],
        "scores": [row for row in scored if row["images"] > since],
        "weights": digests(last(run)),
        "pictures": {name: digest(array) for name, array in pictures.items()},
    }


# ---- comparing


def differences(found: Mapping[str, Any], expected: Mapping[str, Any], exact: bool) -> list[str]:
    """Where two of `spoken` differ, in words; none where they agree. Unless `exact`, numbers may differ as rounding does,
    and pictures and weights are not looked at but for the names and number of their parts."""
    wrong = [
        f"{key}: {found[key]}, expected {expected[key]}" for key in ("state", "status", "plan") if found[key] != expected[key]
    ]
    for part in sorted(found["weights"].keys() | expected["weights"].keys()):
        mine, yours = found["weights"].get(part, {}), expected["weights"].get(part, {})
        wrong += [f"{part}: only one of them has {name}" for name in sorted(mine.keys() ^ yours.keys())]
        if exact:
            wrong += [f"{part}: {name} differs" for name in sorted(mine.keys() & yours.keys()) if mine[name] != yours[name]]
    if exact:
        drawn = sorted(found["pictures"].keys() | expected["pictures"].keys())
        wrong += [f"{name} differs" for name in drawn if found["pictures"].get(name) != expected["pictures"].get(name)]
    for key in ("metrics", "scores"):
        wrong += _apart(found[key], expected[key], key, 0.0 if exact else LOSS_APART)
    return wrong


def _apart(found: Any, expected: Any, where: str, tolerance: float) -> list[str]:
    """Where two trees of plain data differ by more than `tolerance`."""
    if isinstance(found, dict) and isinstance(expected, dict) and found.keys() == expected.keys():
        return [line for key in found for line in _apart(found[key], expected[key], f"{where}.{key}", tolerance)]
    if isinstance(found, list) and isinstance(expected, list) and len(found) == len(expected):
        pairs = enumerate(zip(found, expected, strict=True))
        return [line for place, (a, b) in pairs for line in _apart(a, b, f"{where}[{place}]", tolerance)]
    if isinstance(found, float) and isinstance(expected, float):
        same = found == expected or abs(found - expected) <= tolerance * max(1.0, abs(expected))
        return [] if same else [f"{where}: {found!r}, expected {expected!r}"]
    return [] if found == expected else [f"{where}: {found!r}, expected {expected!r}"]


def distance(found: NDArray[Any], expected: NDArray[Any]) -> float:
    """Of arrays of pictures: the mean absolute difference; of codes: the share that differ; of other latents: the mean absolute
    difference over their spread. Infinite where shapes or types differ."""
    if found.shape != expected.shape or found.dtype != expected.dtype:
        return math.inf
    if found.dtype.kind == "i":
        return float((found != expected).mean())
    apart = float(np.abs(found.astype(np.float64) - expected).mean())
    return apart if found.dtype == np.uint8 else apart / max(float(expected.std()), 1e-6)


def seen_apart(found: Pictures, expected: Pictures) -> list[str]:
    """Where pictures, codes or latents differ by more than rounding."""
    wrong = [f"only one of them has {name}" for name in sorted(found.keys() ^ expected.keys())]
    for name in sorted(found.keys() & expected.keys()):
        apart, limit = distance(found[name], expected[name]), LIMITS[expected[name].dtype.kind]
        wrong += [f"{name}: {apart:.3g} apart, at most {limit:g} is rounding"] if not apart <= limit else []
    return wrong


def expected_of(name: str, home: Path = HOME) -> tuple[dict[str, Any], Pictures]:
    """What is kept about the old run `name`: how it goes on and what it became; and its pictures."""
    told: dict[str, Any] = json.loads((home / name / "expected.json").read_text(encoding="utf-8"))
    with np.load(home / name / "expected.npz") as file:
        return told, {key: file[key] for key in file.files}


def given(home: Path = HOME) -> NDArray[np.uint8]:
    """[4, H, W, C]: pictures to reconstruct."""
    with np.load(home / "given.npz") as file:
        pictures: NDArray[np.uint8] = file["images"]
        return pictures

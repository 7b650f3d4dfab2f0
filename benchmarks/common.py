"""What the benchmarks share: models that are trained once, in processes of their own, and means over seeds."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import math
import os
import statistics
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).resolve().parents[1] / "src"
sys.path.insert(0, str(SOURCE))
PEERS = Path(__file__).with_name("peers")
PLAIN = dict(os.environ)
"""As the programs were started: peers get it, before limner is imported and sets what suits limner."""


_running: set[subprocess.Popen[str]] = set()
_stopping = threading.Event()


class Failed(Exception):
    """A process of its own that did not end well; what it said last."""


def stop() -> None:
    """Ends whatever `answer` waits for, in any thread, and lets nothing be started any more."""
    _stopping.set()
    for process in list(_running):
        process.kill()


def environment() -> dict[str, str]:
    """For processes of our own: as this program was started, but for the threads it was told."""
    return PLAIN | {name: os.environ[name] for name in ("OMP_NUM_THREADS",) if name in os.environ}


def answer(command: Sequence[str], around: Mapping[str, str], log: Path | None = None) -> dict[str, Any]:
    """The last line that `command` prints, which is JSON; what it says besides goes to `log`, or where ours goes.

    Errors: `Failed`.
    """
    with (
        log.open("a", encoding="utf-8") if log else contextlib.nullcontext() as errors,
        # What we hold inheritably (a lock), it holds too.
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, env=around, close_fds=False) as process,
    ):
        _running.add(process)
        try:
            if _stopping.is_set():
                process.kill()
            told, _ = process.communicate()
        except BaseException:
            process.kill()
            raise
        finally:
            _running.discard(process)
    last = (told.splitlines() or [""])[-1]
    if process.returncode:
        said = log.read_text(encoding="utf-8").splitlines() if log else []
        raise Failed((said or [last or f"exit code {process.returncode}"])[-1].strip() + (f" ({log})" if log else ""))
    return dict(json.loads(last))


def limner(*words: str, log: Path | None = None) -> dict[str, Any]:
    """What ``limner WORDS --json`` answers, as a person would call it. Errors: `Failed`."""
    found = os.pathsep.join([str(SOURCE), PLAIN.get("PYTHONPATH", "")])
    return answer([sys.executable, "-m", "limner", *words, "--json"], environment() | {"PYTHONPATH": found}, log)


def peer(
    python: Path,
    file: Path,
    pictures: Path,
    made: Path,
    *,
    minutes: float,
    seed: int,
    count: int,
    more: Sequence[str] = (),
    log: Path | None = None,
) -> dict[str, Any]:
    """What the peer in `file` answers, run by its own `python`; its arrays are in `made`. Errors: `Failed`."""
    command = [str(python), str(file), "--pictures", str(pictures), "--out", str(made), "--minutes", f"{minutes:g}"]
    command += ["--seed", str(seed), "--count", str(count), *more]
    return answer(command, environment(), log)


def tag(*matters: Any) -> str:
    """Eight letters that another choice of `matters` would change."""
    return hashlib.sha256(json.dumps(matters, sort_keys=True).encode()).hexdigest()[:8]


@functools.cache
def source_digest() -> str:
    """sha256 over all of limner's own source files: rows are of one code."""
    total, root = hashlib.sha256(), SOURCE / "limner"
    for path in sorted(root.rglob("*.py")):
        text = path.read_bytes()
        total.update(f"{path.relative_to(root).as_posix()} {len(text)} ".encode() + text)
    return total.hexdigest()


def once(path: Path, make: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
    """What `path` holds; where it is not there, what `make` gives, which is then there, whole."""
    from limner.core.files import write_json

    if not path.is_file():
        write_json(path, make())
    return dict(json.loads(path.read_text(encoding="utf-8")))


def train(row: str, minutes: float, seed: int, data: str, out: Path, settings: Sequence[str] = ()) -> dict[str, Any]:
    """What `limner train` said of a row, which is a preset and settings of its own behind plus signs; it is trained once."""
    from limner.recipes.settings import preset_tree

    preset, *own = row.split("+")
    mark = tag(row, f"{minutes:g}", seed, data, list(settings), preset_tree(preset))  # an edited preset is another row
    words = ["train", data, "--preset", preset, "--minutes", f"{minutes:g}", "--seed", str(seed), "--out", str(out / "runs")]
    words += ["--name", f"{preset}-{mark}", *own, *settings]
    return once(out / f"{row}-{minutes:g}-{seed}-{mark}.json", lambda: limner(*words))


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Mean, and half of the 95 % interval by Student's t; infinite for a single value."""
    from limner.metrics.stats.intervals import student_t_quantile

    if len(values) < 2:
        return values[0], math.inf
    return statistics.fmean(values), student_t_quantile(0.975, len(values) - 1) * statistics.stdev(values) / math.sqrt(
        len(values)
    )

"""Runs that were made before limner was rebuilt still go on, and still draw, to the bit.

`tests/old_runs` holds them, half-finished and finished ones, with what the code that made them then made of them. On a machine
like the one they were made on, with one thread, everything must be equal: every tensor, every loss, every pixel. Elsewhere sums
are rounded otherwise, and losses and pixels must be so near that only rounding is between them (`old_runs.record` says how
near). Only what `import limner` offers is called, so that these tests outlive every move of the code behind it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import limner
from old_runs import record

MADE: dict[str, Any] = json.loads((record.HOME / "made.json").read_text(encoding="utf-8"))
NAMES: list[str] = MADE["runs"]
FINISHED = [name for name in NAMES if name.startswith("finished-")]
STOPPED = [name for name in NAMES if name not in FINISHED]
BIT_FOR_BIT = "compared bit for bit"
NEAR = "compared but for rounding, since they were made on another kind of machine"
TRAINED_ALIKE = not torch.cuda.is_available()
"""A GPU draws other numbers in training than a CPU; what a trained model draws is the same but for rounding."""


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """As when the runs were made: a sum that is split differently is rounded differently."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def exact(record_property: Callable[[str, object], None]) -> bool:
    """Whether results must be equal to the bit here; the closing lines of pytest say which."""
    alike = record.machine() == MADE["machine"]
    record_property("old runs", BIT_FOR_BIT if alike else NEAR)
    return alike


def compared(run: Path, name: str, exact: bool, scratch: Path) -> list[str]:
    """How the ended `run` differs from what the old run `name` became."""
    told, expected = record.expected_of(name)
    pictures = record.draw(run, told["calls"], record.given(), scratch)
    found = record.spoken(run, told["stopped_at"], told["timed"], pictures)
    expected.pop("longer", None)
    if not TRAINED_ALIKE:
        found["metrics"], found["scores"] = told["became"]["metrics"], told["became"]["scores"]
        pictures = expected
    return record.differences(found, told["became"], exact) + record.seen_apart(pictures, expected)


def test_every_old_run_is_there() -> None:
    folders = {path.name for path in record.HOME.iterdir() if path.is_dir()}
    assert folders == set(NAMES)
    assert len(STOPPED) >= 38
    assert len(FINISHED) >= 6
    assert MADE["machine"]["threads"] == 1


@pytest.mark.parametrize("name", STOPPED)
def test_a_half_finished_run_goes_on(name: str, exact: bool, tmp_path: Path) -> None:
    run = record.copied(name, tmp_path)
    told, _ = record.expected_of(name)
    outcome = limner.resume(run)
    assert (outcome.state, outcome.images) == ("done", told["became"]["state"]["images"])
    assert compared(run, name, exact, tmp_path / "drawn") == []


@pytest.mark.parametrize("name", FINISHED)
def test_a_finished_run_draws_what_it_drew(name: str, exact: bool, tmp_path: Path) -> None:
    run = record.copied(name, tmp_path)
    told, expected = record.expected_of(name)
    expected.pop("longer", None)
    pictures = record.draw(run, told["calls"], record.given(), tmp_path / "drawn")
    assert record.seen_apart(pictures, expected) == []
    if exact:
        assert {key: record.digest(array) for key, array in pictures.items()} == told["became"]["pictures"]
    model = limner.load(run)
    assert (model.run.path, model.checkpoint.images, model.shape) == (run, 160, (8, 8, 1))


def test_pictures_of_an_old_run_are_written_with_their_origin(tmp_path: Path) -> None:
    run = record.copied("finished-gan", tmp_path)
    answer = limner.sample(run, seeds=[4], label="3", out=tmp_path / "out", npz=tmp_path / "out.npz")
    with Image.open(answer["files"][0]) as picture:
        text = picture.text  # type: ignore[attr-defined]
        pixels = np.asarray(picture)
    assert text["seed"] == "4"
    assert text["label"] == "3"
    recipe = json.loads(text["recipe"])
    assert (recipe["preset"], recipe["data"]["source"]) == ("cgan", "digits")
    with np.load(tmp_path / "out.npz") as file:
        assert np.array_equal(file["images"][0, :, :, 0], pixels)


def test_a_finished_run_goes_on_longer(exact: bool, tmp_path: Path) -> None:
    run = record.copied("finished-gan", tmp_path)
    told, expected = record.expected_of("finished-gan")
    longer = told["longer"]
    assert limner.resume(run, images=longer["images"]).state == "done"
    pictures = record.draw(run, {"sample": told["calls"]["sample"]}, record.given(), tmp_path / "drawn")
    found = record.spoken(run, told["stopped_at"], False, pictures)
    if not TRAINED_ALIKE:
        return
    assert record.differences(found, longer["became"], exact) == []
    assert record.seen_apart({"sample": pictures["sample"]}, {"sample": expected["longer"]}) == []


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("gan-varied", {}),
        ("vqgan", {}),
        ("latents-second-stage", {}),
        ("prior", {"codec": "finished-prior"}),
        ("vae-started", {"init_from": "finished-vae"}),
    ],
    ids=["gan", "stages", "latents", "codec", "init_from"],
)
def test_an_old_recipe_makes_the_same_run_again(name: str, settings: dict[str, str], exact: bool, tmp_path: Path) -> None:
    """Also where it builds on another old run: on the codes of one, or on the weights of one."""
    chosen = [f"{key}={record.copied(needed, tmp_path)}" for key, needed in settings.items()]
    recipe = record.copied(name, tmp_path) / "recipe.yaml"
    run = limner.train("digits", preset=str(recipe), out=tmp_path / "again", settings=chosen).run
    assert compared(run, name, exact, tmp_path / "drawn") == []


# ---- whether all this would notice


@pytest.mark.parametrize("alike", [True, False])
def test_the_closing_lines_say_how_old_runs_were_compared(alike: bool, tmp_path: Path) -> None:
    path = tmp_path / "test_old.py"
    path.write_text(
        "from contract_old_runs import MADE, exact, record\n"
        f"record.machine = lambda: MADE['machine'] if {alike} else None\n"
        f"def test_one(exact): assert exact == {alike}\n"
        f"def test_two(exact): pass\n",
        encoding="utf-8",
    )
    (tmp_path / "contract_old_runs.py").write_text(Path(__file__).read_text(encoding="utf-8"), encoding="utf-8")
    tests = Path(__file__).resolve().parents[1]
    (tmp_path / "conftest.py").write_text((tests / "conftest.py").read_text(encoding="utf-8"), encoding="utf-8")
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(path)]
    folders = (tests, Path(limner.__file__).parents[1])
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(str(folder) for folder in folders)}
    done = subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout
    assert f"old runs: {BIT_FOR_BIT if alike else NEAR} (2 tests)" in done.stdout


@pytest.mark.parametrize("part", record.PARTS)
def test_another_weight_is_noticed(part: str, exact: bool, tmp_path: Path) -> None:
    """Where results must be equal to the bit, a ten-thousandth of one number; elsewhere a fifth of every number."""
    run = record.copied("dcgan", tmp_path)
    path = record.last(run) / f"{part}.safetensors"
    tensors = load_file(path)
    with safe_open(path, "pt") as file:
        about = file.metadata()
    if exact:
        ends = ".weight/exp_avg_sq" if part == "optim" else ".weight"
        name = next(name for name in sorted(tensors) if name.startswith("generator") and name.endswith(ends))
        tensors[name].view(-1)[tensors[name].abs().argmax()] *= 1.0001
    else:
        tensors = {name: value if name.endswith("step") else value * 1.2 for name, value in tensors.items()}
    save_file(tensors, path, about)
    limner.resume(run)
    assert compared(run, "dcgan", exact, tmp_path / "drawn")


@pytest.mark.parametrize("name", ["dcgan", "vae", "vq-vae", "latents-second-stage"])
def test_another_draw_is_noticed(name: str, exact: bool, tmp_path: Path) -> None:
    """A run that goes on with another seed trains on other draws."""
    run = record.copied(name, tmp_path)
    recipe = run / "recipe.yaml"
    recipe.write_text(recipe.read_text(encoding="utf-8").replace("\nseed: 3\n", "\nseed: 4\n"), encoding="utf-8")
    limner.resume(run)
    wrong = compared(run, name, False, tmp_path / "drawn")
    assert any(line.startswith("metrics") for line in wrong) or not TRAINED_ALIKE, "also where only rounding is allowed for"
    if exact:
        assert any("differs" in line for line in compared(run, name, True, tmp_path / "drawn"))


@pytest.mark.parametrize("name", STOPPED)
def test_pictures_of_another_seed_are_no_rounding(name: str) -> None:
    """The tolerance is smaller than what is between the pictures of two seeds."""
    _, expected = record.expected_of(name)
    others = {"sample": expected["sample"][::-1]}
    assert record.seen_apart(others, {"sample": expected["sample"]}) != []

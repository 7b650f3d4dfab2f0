"""A run is trained again from its recipe alone, to the same weights; and it says who asked for it, and how."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import limner
from limner.cli import main
from limner.core.errors import InputError
from limner.runs.run import Run
from limner.training.train import TrainRequest

QUIET = [
    *("score.points=0", "previews.count=1", "previews.every=1", "checkpoints.every=1", "batch.size=16"),
    *("method.width=8", "method.widest=16", "method.latent=4"),
]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "pictures"
    folder.mkdir()
    for number, image in enumerate(np.random.default_rng(0).integers(0, 256, (24, 8, 8), dtype=np.uint8)):
        Image.fromarray(image).save(folder / f"{number:02}.png")
    return folder


@pytest.fixture(scope="module")
def run(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run with a budget in minutes, as its files say, whose plan was corrected on the way."""
    folder = tmp_path_factory.mktemp("first")
    result = limner.train(str(pictures), preset="vae", images=64, out=folder, settings=QUIET)
    run = Run(result.run)
    recipe = run.recipe()
    for images, budget in ((16, 80), (48, 96)):
        run.add_plan(images, budget)
    shutil.rmtree(run.path / "checkpoints")  # as if it had trained by that plan from its start
    text = (run.path / "plan.jsonl").read_text().splitlines()[1:]
    (run.path / "plan.jsonl").write_text("\n".join(text) + "\n")
    limner.resume(run.path)
    run.write_recipe(recipe.model_copy(update={"budget": recipe.budget.model_copy(update={"images": None, "minutes": 0.5})}))
    return run


def weights(path: Path) -> dict[str, torch.Tensor]:
    return Run(path).checkpoint().tensors("ema")


def test_a_recipe_names_its_pictures_and_its_plan_is_followed(run: Run, tmp_path: Path) -> None:
    assert run.plan() == [(16, 80), (48, 96)]
    again = limner.train(preset=str(run.path / "recipe.yaml"), out=tmp_path)
    assert Run(again.run).plan() == run.plan()
    assert again.images == 96
    first, second = weights(run.path), weights(again.run)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any("as in" in line for line in again.why)


def test_another_budget_or_setting_is_another_run(run: Run, tmp_path: Path) -> None:
    recipe = str(run.path / "recipe.yaml")
    assert main(["train", "seed=3", "batch.size=8", "--preset", recipe, "--images", "16", "--out", str(tmp_path)]) == 0
    (path,) = tmp_path.iterdir()
    assert Run(path).plan() == [(0, 16)]
    assert (Run(path).recipe().seed, Run(path).recipe().batch.size) == (3, 8)
    request = TrainRequest.of({"source": "seed=3", "preset": recipe})
    assert (request.source, request.settings) == (None, ("seed=3",))
    (tmp_path / "a=b").mkdir()
    assert TrainRequest.of({"source": str(tmp_path / "a=b")}).source == str(tmp_path / "a=b")


def test_without_pictures_anywhere_they_are_asked_for(run: Run, tmp_path: Path) -> None:
    for keywords in ({}, {"preset": "vae"}):
        with pytest.raises(InputError, match="source is missing"):
            limner.train(**keywords)
    (tmp_path / "recipe.yaml").write_text("preset: vae\n")
    with pytest.raises(InputError, match="source is missing"):
        limner.train(preset=str(tmp_path / "recipe.yaml"))


def test_other_pictures_in_the_same_place_are_noticed(pictures: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    shutil.copytree(pictures, folder)
    first = limner.train(str(folder), preset="vae", images=16, out=tmp_path / "runs", settings=QUIET).run
    (folder / "00.png").unlink()
    recipe = str(first / "recipe.yaml")
    with pytest.raises(InputError, match=r"is no longer what .*recipe\.yaml was written for"):
        limner.train(preset=recipe, out=tmp_path / "runs")
    assert limner.train(str(folder), preset=recipe, out=tmp_path / "runs").images == 16


def test_provenance_says_who_asked_and_how(run: Run, pictures: Path, tmp_path: Path) -> None:
    about = run.provenance()
    assert about["versions"]["limner"]
    assert about["call"]["from"] == "Python"
    assert about["call"]["verb"] == "train"
    assert about["call"]["request"] | {"out": None} == {
        "source": str(pictures),
        "settings": QUIET,
        "preset": "vae",
        "out": None,
        "images": 64,
    }
    assert about["command"].startswith(f"limner.train(source='{pictures}'")
    words = ["train", str(pictures), *QUIET, "--preset", "vae", "--images", "16", "--out", str(tmp_path)]
    assert main(words) == 0
    (path,) = tmp_path.iterdir()
    about = json.loads((path / "provenance.json").read_text())
    assert about["command"].startswith(f"limner train {pictures} ")
    assert about["call"]["from"] == "command line"
    assert about["call"]["request"]["images"] == 16


def test_an_array_is_described_by_its_type(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 256, (24, 8, 8), dtype=np.uint8)
    run = limner.train(array, preset="vae", images=16, out=tmp_path, settings=QUIET).run
    assert Run(run).provenance()["call"]["request"]["source"] == "ndarray in memory"

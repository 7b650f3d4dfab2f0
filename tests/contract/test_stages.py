"""Stages: an autoencoder, then a prior on its latents, in one run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import limner
from contract.helpers import QUIET, ask_to_stop, assert_metrics_once, assert_same_weights, at_images
from limner.methods.gan.gan import Gan
from limner.methods.vae.vae import Vae
from limner.runs.run import Run

TREE = {
    "preset": "gan",
    "stages": [
        {
            "name": "codec",
            "share": 0.5,
            "method": {"kind": "vae", "latent": 6, "width": 8, "widest": 16, "components": 2},
        }
    ],
    "method": {
        "kind": "gan",
        "networks": "mlp",
        "latent": 8,
        "generator": {"widths": [24], "norm": "none", "optimiser": {"lr": {"value": 1e-3, "decay_from": 0.5}}},
        "discriminator": {"widths": [24]},
    },
}


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "two.yaml"
    path.write_text(yaml.safe_dump(TREE))
    return path


def go(recipe: Path, out: Path, *settings: str, images: int = 192) -> limner.TrainResult:
    chosen = (*QUIET, "checkpoints.every=0.25", "checkpoints.keep=9", *settings)
    return limner.train("digits", preset=str(recipe), out=out, images=images, seed=1, settings=chosen)


@pytest.fixture(scope="module")
def whole(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return Run(go(recipe, tmp_path_factory.mktemp("whole")).run)


def test_stages_follow_each_other_and_the_codec_is_frozen(whole: Run) -> None:
    stages = {c.images: c.state()["stage"] for c in whole.checkpoints()}
    assert stages == {48: 0, 96: 0, 144: 1, 192: 1}
    first, middle, last = (whole.checkpoint(n) for n in ("96", "144", "192"))
    codec = {name: value for name, value in first.tensors("ema").items() if name.startswith("coder.")}
    for checkpoint in (middle, last):
        for part in ("model", "ema"):
            held = checkpoint.tensors(part)
            assert all(torch.equal(held[f"codec.{name}"], value) for name, value in codec.items())
    assert not any(name.startswith("codec") for name in last.tensors("optim"))
    a, b = middle.tensors("model"), last.tensors("model")
    assert any(not torch.equal(a[name], b[name]) for name in a)
    assert_metrics_once(whole)


def test_a_snapshot_of_either_stage_stands_alone(whole: Run) -> None:
    codec, model = limner.load(whole.path, "96"), limner.load(whole.path)
    assert isinstance(codec.method, Vae)
    assert isinstance(model.method, Gan)
    assert codec.sample(range(3)).shape == model.sample(range(3)).shape == (3, 8, 8, 1)
    images = model.sample(range(40))
    assert np.array_equal(model.sample([21])[0], images[21])
    assert len(np.unique(images.reshape(40, -1), axis=0)) > 30


@pytest.mark.parametrize("stop", [32, 80, 96, 144], ids=["codec", "border", "just-after", "prior"])
def test_resume_is_exact_in_every_stage(stop: int, recipe: Path, whole: Run, tmp_path: Path) -> None:
    """80: the step that ends the first stage is finished, saved, and the border is crossed by the resumed run."""
    with at_images(stop, ask_to_stop):
        outcome = go(recipe, tmp_path)
    assert outcome.state == "stopped"
    run = Run(outcome.run)
    limner.resume(run.path)
    assert_same_weights(run, whole)
    assert_metrics_once(run)


def test_a_longer_run_stretches_the_last_stage(recipe: Path, tmp_path: Path) -> None:
    run = Run(go(recipe, tmp_path).run)
    assert run.metrics()[-1]["lr"]["generator"] == pytest.approx(0.0, abs=1e-9)
    outcome = limner.resume(run.path, images=96 + 384)
    assert outcome.images == 480
    assert run.checkpoint().state()["stage"] == 1
    rates = {row["images"]: row["lr"]["generator"] for row in run.metrics() if row["images"] > 192}
    for images, rate in rates.items():
        progress = (images - 96) / 384
        assert rate == pytest.approx(1e-3 * min(1.0, (1 - progress) / 0.5), abs=1e-9)
    assert rates


def test_shares_that_leave_nothing_are_refused(recipe: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text(yaml.safe_dump(TREE | {"stages": [TREE["stages"][0] | {"share": 0.7, "name": n} for n in "ab"]}))  # type: ignore[operator,index]
    with pytest.raises(limner.InputError, match="leave some of the budget"):
        go(bad, tmp_path)

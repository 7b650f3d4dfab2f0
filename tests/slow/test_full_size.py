"""The presets as they are, at their real widths: exact resume by kill -9, sampling bits, and that they learn at all."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import limner
from contract.helpers import assert_metrics_once, assert_same_weights, every_preset, finished, start
from limner.core.sampling import generate
from limner.runs.run import Run

pytestmark = pytest.mark.slow

SETTINGS = ("score.points=0", "checkpoints.every=0.2")


@every_preset
def test_killed_at_three_random_moments_equals_uninterrupted(preset: str, tmp_path: Path) -> None:
    """kill -9 of the command itself, then `resume`, killed again: the end is that of the run nobody touched."""
    words = ("--images", "6400", "--seed", "1", *SETTINGS)
    process = start("-m", "limner", "train", "digits", "--preset", preset, "--out", str(tmp_path / "killed"), *words)
    moments = []
    for _ in range(3):
        moments.append(random.uniform(4.0, 9.0))
        time.sleep(moments[-1])
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        finished(process)
        if not (tmp_path / "killed").is_dir():  # killed before it made its folder
            process = start("-m", "limner", "train", "digits", "--preset", preset, "--out", str(tmp_path / "killed"), *words)
            continue
        killed = Run(next((tmp_path / "killed").iterdir()))
        process = start("-m", "limner", "resume", str(killed.path))
    status, _, err = finished(process)
    assert status == 0, (moments, err)
    killed = Run(next((tmp_path / "killed").iterdir()))
    whole = Run(limner.train("digits", preset=preset, out=tmp_path / "whole", images=6400, seed=1, settings=SETTINGS).run)
    assert_same_weights(killed, whole)
    assert_metrics_once(killed)


@every_preset
def test_an_image_depends_on_its_seed_alone_at_full_width(preset: str, tmp_path: Path) -> None:
    """Wide layers take other kernels than narrow ones; 28x28 as well as 8x8."""
    for source, size in (("digits", "8"), ("digits", "28")):
        settings = (*SETTINGS, f"data.size={size}")
        run = limner.train(source, preset=preset, out=tmp_path / size, images=256, settings=settings).run
        model = limner.load(run)
        many = generate(model.method, range(100))
        assert torch.equal(generate(model.method, [17])[0], many[17])
        assert torch.equal(generate(model.method, list(range(99, -1, -1))).flip(0), many)
        assert torch.equal(generate(model.method, [64, 17, 3]), many[[64, 17, 3]])


@pytest.mark.data("mnist")
@pytest.mark.parametrize(
    ("preset", "settings"),
    [
        ("cgan", ()),
        ("r3gan", ("method.labels=true",)),
        ("dcgan", ("method.labels=true", "method.generator.labels=norm", "method.discriminator.labels=auxiliary")),
    ],
)
def test_conditional_models_give_the_class_that_is_asked_for(preset: str, settings: tuple[str, ...], tmp_path: Path) -> None:
    """At least 95 % of 2,000 pictures, 200 of each digit, by a judge that knew nothing of the model."""
    from limner.data.prepare import prepare
    from limner.judges.judge import judge_for

    run = limner.train("mnist", preset=preset, out=tmp_path, images=150_000, settings=(*SETTINGS, *settings)).run
    model, judge = limner.load(run), judge_for(prepare("mnist"))
    right = []
    for digit in range(10):
        logits = judge.outputs(model.sample(range(200), label=str(digit))).logits
        assert logits is not None
        right.append(float((logits.argmax(1) == digit).float().mean()))
    assert sum(right) / 10 >= 0.95, right


@every_preset
def test_presets_learn_the_digits(preset: str, tmp_path: Path) -> None:
    """In the judge's features the samples come far nearer to the real digits than at the start, and cover them."""
    settings = ("score.count=500", "score.points=4", "score.share=1.0")
    run = Run(limner.train("digits", preset=preset, out=tmp_path, images=100_000, settings=settings).run)
    scores = run.scores()
    best = min(score["frechet"] for score in scores)
    early = Run(limner.train("digits", preset=preset, out=tmp_path, images=640, settings=settings).run).scores()[-1]
    assert best < 0.35 * early["frechet"]
    # 500 samples cover few of the real digits at best; a collapsed model covers hardly more than an untrained one.
    assert max(score["coverage"] for score in scores) > early["coverage"] + 0.15
    assert (
        run.best()
        == min(
            (score for score in scores if score["images"] in {c.images for c in run.checkpoints()}),
            key=lambda score: score["frechet"],
        )["images"]
    )
    images = limner.load(run.path, "best").sample(range(64))
    assert len(np.unique(images.reshape(64, -1), axis=0)) == 64
    assert limner.resume(run.path).state == "done"

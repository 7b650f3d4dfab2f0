"""What a method reads of all pictures: whenever training begins, of both splits, and in no checkpoint."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

import limner
from contract.helpers import ask_to_stop, assert_same_weights, at_images, narrowed, outcome_of, run_of
from limner.core.cond import PictureSet
from limner.methods.flow import transport
from limner.methods.flow.flow import Flow
from limner.methods.flow.transport import Coupling
from limner.runs.run import Run


def test_pictures_are_read_whenever_training_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those held out and those of training, by the same random numbers; the run's log says it, and no tensor holds it."""
    counts, potentials = list[int](), list[Tensor]()
    original = Flow.read_pictures

    def read_pictures(self: Flow, pictures: PictureSet) -> tuple[str, ...]:
        lines = original(self, pictures)
        counts.append(pictures.count)
        potentials.append(self._couplings[pictures].potentials)
        return lines

    monkeypatch.setattr(Flow, "read_pictures", read_pictures)
    monkeypatch.setattr(transport, "MIN_STEPS", 20)
    with at_images(32, ask_to_stop):
        outcome = outcome_of("flow", tmp_path / "parts", "method.pairing=transport", images=64)
    assert outcome.state == "stopped"
    assert counts == [161, 1456]
    assert limner.resume(outcome.run).state == "done"
    assert counts == [161, 1456] * 2
    assert torch.equal(potentials[0], potentials[2])
    assert torch.equal(potentials[1], potentials[3])
    paired = Run(outcome.run)
    assert (paired.path / "log.txt").read_text().count(" pairing: noise is joined with 1,456 pictures in 10 groups, as ") == 2
    monkeypatch.undo()
    plain = run_of("flow", tmp_path / "plain", images=64)
    shapes = [{name: one.shape for name, one in run.checkpoint().tensors("model").items()} for run in (paired, plain)]
    assert shapes[0] == shapes[1]
    with pytest.raises(AssertionError, match="model"):
        assert_same_weights(paired, plain)
    assert limner.load(paired.path).sample(range(2)).shape == (2, 8, 8, 1)


def test_a_dry_run_times_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    choices = list[int]()
    original = Coupling.choose

    def choose(self: Coupling, noise: Tensor, labels: Tensor | None, uniform: Tensor) -> Tensor:
        choices.append(len(noise))
        return original(self, noise, labels, uniform)

    monkeypatch.setattr(Coupling, "choose", choose)
    monkeypatch.setattr(transport, "MIN_STEPS", 20)
    settings = (*narrowed("flow", "method.pairing=transport"), "batch.size=16", "score.points=0")
    limner.train("digits", preset="flow", images=64, settings=settings, dry_run=True)
    assert set(choices) >= {16}

"""Scores on the way, where there are hardly any pictures."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from limner.core.config import Sampling
from limner.data.prepare import prepare
from limner.metrics.features.detectors import Pixels
from limner.training import scorer
from made import folder


@pytest.mark.parametrize(
    ("pictures", "scores"), [(4, {"frechet", "error", "null"}), (12, {"frechet", "error", "null", "coverage"})]
)
def test_a_handful_of_pictures_has_no_neighbourhoods(
    pictures: int, scores: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = prepare(folder(tmp_path / "raw", {"a": pictures}, height=8, width=8), split="none", out=tmp_path / "packed")
    monkeypatch.setattr(scorer, "judge_for", lambda dataset, *_, **__: Pixels(dataset.shape))
    method: Any = SimpleNamespace(
        chunk=16,
        device=torch.device("cpu"),
        accepts=frozenset(),
        sampling_type=Sampling,
        sample=lambda seeds, cond, sampling: torch.rand(len(seeds), 3, 8, 8) * 2 - 1,
    )
    found = scorer.ValidationScorer(dataset, 20).score(method)
    assert set(found) == scores
    assert found["frechet"] > found["null"]

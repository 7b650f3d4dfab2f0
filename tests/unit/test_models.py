"""Scores of reconstructions: pictures by some at a time, with the numbers of all at once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from limner.evaluation import model_scores
from limner.metrics.measure import metrics_of
from limner.metrics.metric import PairMetric
from limner.metrics.representation.reconstruction import PSNR_CEILING, mse, psnr, ssim
from limner.metrics.scores import METRICS
from limner.runs.model import ENCODING_BATCH, Loaded

Pixels = NDArray[np.uint8]


class Blunt:
    """A model that loses the lower half of each value, and nothing of black pictures."""

    def reconstruct(self, images: Pixels) -> Pixels:
        return images & np.uint8(0xF0)


@pytest.mark.parametrize("count", [0, 1, 256, 257, 700])
@pytest.mark.parametrize("shape", [(8, 8, 1), (32, 24, 3)], ids=str)
def test_a_few_at_a_time_and_the_numbers_of_all_at_once(
    count: int, shape: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def watched(measure: Any) -> Any:
        def run(a: Pixels, b: Pixels) -> Tensor:
            seen.extend((len(a), len(b)))
            return cast(Tensor, measure(a, b))

        return run

    real = np.random.default_rng(count).integers(0, 256, (count, *shape), dtype=np.uint8)
    real[:1] = 0
    back = Blunt().reconstruct(real)
    ratio = psnr(back, real)
    torch.testing.assert_close(mse(back, real), 10 ** (-ratio / 10))
    expected = {"mse": mse(back, real), "psnr": ratio.clamp(max=PSNR_CEILING), "ssim": ssim(back, real)}
    rows = metrics_of(PairMetric)
    for name, row in rows.items():
        monkeypatch.setitem(METRICS.own, name, replace(row, measure=watched(row.measure)))
    found = model_scores.score_reconstructions(cast(Loaded, Blunt()), real, list(rows))
    assert max(seen, default=0) <= 256
    assert sum(seen) == 2 * len(rows) * count
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert found[name].tobytes() == values.numpy().tobytes(), name


def test_batches_of_a_model_stay_what_they_were() -> None:
    assert model_scores.RECONSTRUCTION_BATCH % ENCODING_BATCH == 0

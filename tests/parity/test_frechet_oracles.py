"""The Fréchet distance against pytorch-fid's and torch-fidelity's, where those are installed, on the same features."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from limner.metrics.distribution.frechet import frechet_distance
from limner.metrics.stats.moments import Moments

Statistics = tuple[NDArray[np.float64], NDArray[np.float64]]


def pytorch_fid(one: Statistics, other: Statistics) -> float:
    module = pytest.importorskip("pytorch_fid.fid_score")
    return float(module.calculate_frechet_distance(*one, *other))


def torch_fidelity(one: Statistics, other: Statistics) -> float:
    module = pytest.importorskip("torch_fidelity.metric_fid")
    told: dict[str, Any] = module.fid_statistics_to_metric(
        *(dict(zip(("mu", "sigma"), s, strict=True)) for s in (one, other)), False
    )
    return float(told["frechet_inception_distance"])


@pytest.mark.parametrize("dim", [64, 512])
@pytest.mark.parametrize("theirs", [pytorch_fid, torch_fidelity], ids=["pytorch-fid", "torch-fidelity"])
def test_frechet_against_the_published_programs(theirs: Callable[[Statistics, Statistics], float], dim: int) -> None:
    """Features as networks have them: not negative, dependent on each other, of scales that differ; other means and shapes."""
    random = np.random.default_rng(dim)
    mixed = random.normal(size=(dim, dim)) / dim**0.5
    scales = np.geomspace(0.05, 2, dim)
    a = np.maximum(random.normal(size=(3 * dim, dim)) @ mixed, -0.2) * scales
    b = np.maximum(random.normal(size=(2 * dim, dim)) @ mixed + 0.1, -0.2) * scales[::-1]
    one, other = ((x.mean(0), np.cov(x, rowvar=False)) for x in (a, b))
    try:
        expected = theirs(one, other)
    except TypeError as error:  # scipy 1.18 dropped `disp`, which they pass to sqrtm
        if "disp" not in str(error):
            raise
        pytest.skip(f"its own code does not run here: {error}")
    ours = frechet_distance(Moments.of(torch.from_numpy(a)), Moments.of(torch.from_numpy(b)))
    assert ours == pytest.approx(expected, rel=1e-6)
    assert ours > 1

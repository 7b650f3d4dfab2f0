"""Our numbers against other packages' code."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.neighbors import NearestNeighbors

from limner.metrics.distribution.coverage import neighbours, radii
from limner.metrics.distribution.frechet import frechet_distance
from limner.metrics.features.pixels import resize
from limner.metrics.stats.moments import Moments

linalg = pytest.importorskip("scipy.linalg")


def test_frechet_against_scipy_s_matrix_root() -> None:
    random = np.random.default_rng(0)
    a = random.normal(size=(900, 48)) @ random.normal(size=(48, 48))
    b = random.normal(size=(700, 48)) @ random.normal(size=(48, 48)) + 0.3
    ca, cb = np.cov(a.T), np.cov(b.T)
    root = linalg.sqrtm(ca @ cb).real
    expected = np.square(a.mean(0) - b.mean(0)).sum() + np.trace(ca) + np.trace(cb) - 2 * np.trace(root)
    ours = frechet_distance(Moments.of(torch.from_numpy(a)), Moments.of(torch.from_numpy(b)))
    assert ours == pytest.approx(expected, rel=1e-9)


def test_neighbours_against_scikit_learn() -> None:
    random = np.random.default_rng(1)
    real, samples = random.normal(size=(1500, 12)), random.normal(size=(1100, 12)) * 0.8
    tree = NearestNeighbors(n_neighbors=6).fit(real)
    distance = tree.kneighbors(real)[0]  # the first is the point itself
    ours = radii(torch.from_numpy(real), 3, 5)
    np.testing.assert_allclose(ours[0].numpy(), distance[:, 3], rtol=1e-12)
    np.testing.assert_allclose(ours[1].numpy(), distance[:, 5], rtol=1e-12)
    cross = np.linalg.norm(samples[:, None] - real[None], axis=-1)
    of_samples = NearestNeighbors(n_neighbors=4).fit(samples).kneighbors(samples)[0][:, 3]
    scores = neighbours(torch.from_numpy(samples), torch.from_numpy(real))
    assert scores.precision == pytest.approx((cross <= distance[None, :, 3]).any(1).mean())
    assert scores.recall == pytest.approx((cross <= of_samples[:, None]).any(0).mean())
    assert scores.density == pytest.approx((cross <= distance[None, :, 5]).sum() / (5 * len(samples)))
    assert scores.coverage == pytest.approx((cross <= distance[None, :, 5]).any(0).mean())


@pytest.mark.parametrize(
    ("source", "target"), [((96, 64), (32, 21)), ((50, 33), (32, 21)), ((128, 8), (32, 8)), ((9, 9), (9, 9))]
)
def test_resize_against_torch_s_antialiased_bilinear(source: tuple[int, int], target: tuple[int, int]) -> None:
    images = torch.rand(3, 3, *source, generator=torch.Generator().manual_seed(0))
    expected = F.interpolate(images, size=target, mode="bilinear", antialias=True, align_corners=False)
    torch.testing.assert_close(resize(images, target), expected, rtol=0, atol=2e-6)

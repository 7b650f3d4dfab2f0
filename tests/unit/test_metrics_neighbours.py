"""Neighbour and class scores, psnr and ssim, on points and pictures whose scores can be counted by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from limner.core.errors import InputError
from limner.metrics.distribution.classes import class_distance, class_error, class_null, class_shares, total_variation
from limner.metrics.distribution.coverage import COVERAGE_K, PRECISION_K, neighbour_counts, neighbour_null, neighbours, radii
from limner.metrics.distribution.frechet import Null
from limner.metrics.features.detectors import DetectorOutput
from limner.metrics.measure import score_outputs
from limner.metrics.representation.reconstruction import psnr, ssim
from limner.metrics.scores import METRICS
from limner.metrics.stats.score import Measurement, Score, compare_with_null


def line(*places: float) -> torch.Tensor:
    return torch.tensor(places)[:, None]


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def one_hot(counts: list[int]) -> torch.Tensor:
    return torch.eye(len(counts)).repeat_interleave(torch.tensor(counts), 0)


def test_radii_leave_the_point_itself_out() -> None:
    first, third = radii(line(0, 1, 3, 7), 1, 3)
    assert first.tolist() == [1, 1, 2, 4]
    assert third.tolist() == [7, 6, 4, 7]
    doubled = radii(line(0, 0, 5), 1)[0]
    assert doubled.tolist() == [0, 0, 5]  # a double is a neighbour, though the point itself is not
    with pytest.raises(InputError, match="more than 5"):
        neighbours(line(0, 1, 2, 3, 4, 5), line(0, 1, 2, 3, 4))


def test_coverage_and_density_counted_by_hand() -> None:
    # Two far groups of six at distance 0…5: the closed ball (k=5) of a point holds its whole group.
    group = torch.arange(6.0)
    real = torch.cat((group, group + 1000))[:, None]
    one_mode = line(2.5, 2.5, 2.5, 2.5)
    scores = neighbours(one_mode, real)
    assert scores.coverage == 0.5
    assert scores.density == 6 / 5  # each sample lies in six balls, over k
    assert scores.precision == 1.0
    assert scores.recall == 0.0  # four equal samples: their balls have radius 0
    far = neighbours(line(500, 501, 502, 503), real)
    assert (far.coverage, far.density, far.precision) == (0, 0, 0)


def test_a_ball_is_closed() -> None:
    real = line(0, 1, 2, 3, 4, 5)  # k=3 radii 3 2 2 2 2 3; k=5 radii 5 4 3 3 4 5
    at_the_edge = neighbours(line(-3, -3, -3, -3), real)
    assert at_the_edge.precision == 1.0  # at distance 3 from the point 0, whose radius is 3
    assert at_the_edge.coverage == 2 / 6  # 0 (radius 5, distance 3) and 1 (radius 4, distance 4)
    beyond = neighbours(line(-3.001, -3.001, -3.001, -3.001), real)
    assert beyond.precision == 0.0
    assert beyond.coverage == 1 / 6


def test_precision_and_recall_are_not_each_other() -> None:
    wide, narrow = normal(400, 4), normal(400, 4, seed=1) * 0.3
    a, b = neighbours(narrow, wide), neighbours(wide, narrow)
    assert a.precision > 0.95  # samples that all look real, from the middle only
    assert a.recall < 0.5
    assert (b.precision, b.recall) == (a.recall, a.precision)
    assert a.coverage < 0.9 < neighbours(normal(400, 4, seed=2), wide).coverage


def test_blocks_add_up_and_their_errors_are_sane() -> None:
    a, b = normal(300, 3), normal(280, 3, seed=1)
    counts = neighbour_counts(a, b, blocks=7)
    assert int(counts.size.sum()) == 300
    assert counts.scores() == neighbours(a, b)
    errors = counts.errors()
    assert 0.5 < errors.precision / (neighbours(a, b).precision * (1 - neighbours(a, b).precision) / 300) ** 0.5 < 2
    null = neighbour_null(b, 300, repeats=3, seed=0)
    assert null["coverage"].sizes == (140, 140)
    assert abs(null["density"].mean - 1) < 0.2
    assert neighbour_null(b[:40], 2000, m=40) == {}  # the proportion cannot be kept
    assert neighbour_null(b[:10], 10) == {}


def test_class_distance_is_exact() -> None:
    assert total_variation(torch.tensor([5, 5]), torch.tensor([1, 1])) == 0
    assert total_variation(torch.tensor([3, 0]), torch.tensor([0, 9])) == 1
    # shares .5 .3 .2 against .4 .4 .2
    assert class_distance(one_hot([5, 3, 2]), one_hot([40, 40, 20])) == pytest.approx(0.1, abs=1e-12)
    assert class_shares(one_hot([3, 0, 1]), ["cat", "dog", "cow"]) == {"cat": 0.75, "dog": 0.0, "cow": 0.25}
    assert class_shares(one_hot([1, 1])) == {"0": 0.5, "1": 0.5}


def test_class_null_is_the_multinomial_s() -> None:
    # Two equal classes, n = m: TV = |a − b|/n, a and b binomial(n, ½); its mean is near √(1/(πn)).
    null = class_null(one_hot([500, 500]), 1000, repeats=4000)
    assert null.mean == pytest.approx(math.sqrt(1 / (math.pi * 1000)), rel=0.05)
    assert class_error(one_hot([300, 700]), one_hot([500, 500])) == pytest.approx(math.sqrt(0.21 / 1000), rel=0.2)


def test_psnr_golden() -> None:
    black = np.zeros((3, 4, 4, 1), np.uint8)
    other = black.copy()
    other[0] = 255  # error 1: 0 dB
    other[1] = 51  # a fifth: 20 log₁₀ 5
    values = psnr(black, other)
    assert values[:2].tolist() == pytest.approx([0.0, 20 * math.log10(5)], abs=1e-9)
    assert math.isinf(float(values[2]))
    assert psnr(torch.zeros(1, 2, 2), torch.full((1, 2, 2), 0.1)).item() == pytest.approx(20.0, abs=1e-6)
    with pytest.raises(ValueError, match="one shape"):
        psnr(black, black[:2])
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        psnr(torch.full((1, 2), -1.0), torch.zeros(1, 2))


def waves(height: int, width: int, channels: int) -> tuple[np.ndarray, np.ndarray]:
    """A picture and a disturbed copy, [H, W, C] uint8, made by a formula."""
    y, x = np.mgrid[0:height, 0:width]
    clean = 128 + 100 * np.sin(x / 3.0 + 1)[..., None] * np.cos(y[..., None] / 4.0 + np.arange(channels))
    noise = 40 * np.sin(np.arange(height * width * channels).reshape(height, width, channels) * 1.7)
    return tuple(np.rint(part).clip(0, 255).astype(np.uint8) for part in (clean, clean + noise))  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("shape", "golden"),
    [
        ((28, 28, 1), 0.6456803991878772),
        ((32, 48, 3), 0.6489055952105979),
        ((11, 11, 1), 0.5793288603166773),
        ((20, 13, 4), 0.6427601200967122),
    ],
)
def test_ssim_is_scikit_image_s(shape: tuple[int, int, int], golden: float) -> None:
    """scikit-image 0.26, `structural_similarity(..., gaussian_weights=True, sigma=1.5, use_sample_covariance=False)`."""
    a, b = waves(*shape)
    assert ssim(a[None], b[None]).item() == pytest.approx(golden, abs=1e-9)
    assert ssim(b[None], a[None]).item() == pytest.approx(golden, abs=1e-9)


def test_ssim_by_scipy_s_filter() -> None:
    """The definition, place by place, with another package's Gaussian."""
    gaussian = pytest.importorskip("scipy.ndimage").gaussian_filter
    a, b = (part[..., 0] / 255 for part in waves(24, 17, 1))

    def mean(field: np.ndarray) -> np.ndarray:
        return gaussian(field, 1.5, truncate=3.5)[5:-5, 5:-5]

    ma, mb = mean(a), mean(b)
    va, vb, both = mean(a * a) - ma**2, mean(b * b) - mb**2, mean(a * b) - ma * mb
    index = (2 * ma * mb + 1e-4) * (2 * both + 9e-4) / ((ma**2 + mb**2 + 1e-4) * (va + vb + 9e-4))
    x, y = waves(24, 17, 1)
    assert ssim(x[None], y[None]).item() == pytest.approx(index.mean(), abs=1e-9)


def test_ssim_of_equals_of_flat_ones_and_of_small_ones() -> None:
    a, b = waves(8, 9, 3)
    assert ssim(np.stack([a, b]), np.stack([a, b])).tolist() == pytest.approx([1.0, 1.0], abs=1e-12)
    assert 0 < ssim(a[None], b[None]).item() < 1
    dark, light = np.zeros((1, 12, 12, 1), np.uint8), np.full((1, 12, 12, 1), 255, np.uint8)
    assert ssim(dark, light).item() == pytest.approx(1e-4 / (1 + 1e-4))  # (2·0·1 + K1²)/(0 + 1 + K1²)
    many = np.concatenate([waves(12, 12, 1)[0][None]] * 300)
    assert ssim(many, many).shape == (300,)
    assert ssim(many[:0], many[:0]).shape == (0,)
    with pytest.raises(ValueError, match="one shape"):
        ssim(dark, light[:, :11])


def scored(name: str, value: float, error: float | None, null: Null) -> Score:
    return compare_with_null(METRICS[name].better, Measurement(value, error, null))


def test_scored_counts_the_value_itself() -> None:
    null = Null((1.0, 2.0, 3.0), (10, 10))
    assert scored("frechet", 10.0, 0.1, null) == Score(10.0, 0.1, 2.0, 8.0, 0.25, p_floor=0.25)
    assert scored("coverage", 10.0, 0.1, null).p == 1.0
    assert scored("frechet", 2.0, None, null).p == 0.75
    assert scored("frechet", 2.0, None, Null((2.0, 2.0), (1, 1))).z is None


def test_score_tells_real_from_shifted_and_from_collapsed() -> None:
    reference, real = normal(600, 8), normal(600, 8, seed=1)
    logits = normal(600, 3, seed=3)
    fair = score_outputs(DetectorOutput(real, logits), DetectorOutput(reference, logits))
    assert set(fair) == {"frechet", "precision", "recall", "density", "coverage", "class_distance"}
    assert all(abs(one.z or 0) < 5 for one in fair.values())
    assert fair["class_distance"].value == 0
    shifted = score_outputs(DetectorOutput(real + 0.5, None), DetectorOutput(reference, None))
    assert "class_distance" not in shifted
    assert (shifted["frechet"].z or 0) > 20
    assert shifted["frechet"].p == pytest.approx(1 / 11)
    collapsed = score_outputs(DetectorOutput(real[:20].repeat(30, 1), None), DetectorOutput(reference, None))
    assert (collapsed["coverage"].z or 0) < -10
    assert (collapsed["recall"].z or 0) < -10
    assert collapsed["precision"].value > 0.5
    small = score_outputs(DetectorOutput(real, None), DetectorOutput(reference[:8], None))
    assert small["frechet"].null is not None
    assert small["coverage"].null is None
    assert set(score_outputs(DetectorOutput(real, None), DetectorOutput(reference[:5], None))) == {"frechet"}


def test_many_samples_cover_no_more_than_as_many_as_there_are_real_pictures() -> None:
    real, samples = normal(100, 4), normal(5000, 4, seed=1) * 4
    found = score_outputs(DetectorOutput(samples, None), DetectorOutput(real, None))
    few = score_outputs(DetectorOutput(samples[:100], None), DetectorOutput(real, None))
    assert found["coverage"].value == few["coverage"].value < 0.6
    assert found["coverage"].null is not None


def sets(kind: str) -> tuple[torch.Tensor, torch.Tensor]:
    whole = lambda count, seed: torch.randint(0, 3, (count, 5), generator=torch.Generator().manual_seed(seed))  # noqa: E731
    return {
        "apart": (normal(700, 128), normal(600, 128, seed=1) + 0.05),
        "far from zero": (normal(300, 64) + 1000, normal(400, 64, seed=1) + 1000),
        "ties": (whole(400, 0), whole(500, 1)),
        "repeated": (normal(20, 32).repeat(30, 1), normal(400, 32, seed=1)),
        "copies": (normal(400, 32), normal(400, 32)[100:300]),
        "all alike": (torch.zeros(300, 8), normal(300, 8)),
        "large": (normal(300, 1500).abs() * 1e3, normal(200, 1500, seed=1).abs() * 1e3),
        "few": (normal(9, 3), normal(7, 3, seed=1)),
    }[kind]


@pytest.mark.parametrize("kind", ["apart", "far from zero", "ties", "repeated", "copies", "all alike", "large", "few"])
def test_the_fast_way_counts_what_the_plain_way_counts(kind: str) -> None:
    """To the bit: whether a copy lies in a ball that ends exactly there hangs on the last one."""
    samples, real = (x.double() for x in sets(kind))

    def plain(x: torch.Tensor) -> list[torch.Tensor]:
        apart = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist").fill_diagonal_(torch.inf)
        return [apart.sort(1).values[:, k - 1] for k in (PRECISION_K, COVERAGE_K)]

    of_samples, of_real = plain(samples), plain(real)
    for fast, slow in zip((*radii(samples, 3, 5), *radii(real, 3, 5)), (*of_samples, *of_real), strict=True):
        assert torch.equal(fast, slow)
    apart = torch.cdist(samples, real, compute_mode="donot_use_mm_for_euclid_dist")
    counts = neighbour_counts(samples, real, blocks=1)
    assert int(counts.precise[0]) == int((apart <= of_real[0]).any(1).sum())
    assert int(counts.balls[0]) == int((apart <= of_real[1]).sum())
    assert torch.equal(counts.covered[0], (apart <= of_real[1]).any(0))
    assert torch.equal(counts.recalled[0], (apart <= of_samples[0][:, None]).any(0))

"""What may be claimed of two runs: Student, Welch and Holm; intervals that hold; and what is never claimed."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from limner.evaluation.claims import Contender, Pair, claims, compare_pairs
from limner.evaluation.compare_page import sentences, sheet
from limner.evaluation.judging import block_means
from limner.metrics.features.summary import FeatureSummary, jackknife_blocks
from limner.metrics.measure import measure
from limner.metrics.sides import Labels, Sides
from limner.metrics.stats.intervals import Estimate, difference, holm, mean, student_t_quantile, two_sided_p
from limner.metrics.stats.score import Score
from limner.pages.charts import interval_chart

# ---- Student, Welch, Holm


def test_students_t_as_tabulated() -> None:
    """Pearson & Hartley's table of percentage points, as every textbook has it."""
    table = {1: (3.078, 12.706, 63.657), 4: (1.533, 2.776, 4.604), 9: (1.383, 2.262, 3.250), 30: (1.310, 2.042, 2.750)}
    for freedom, points in table.items():
        for share, point in zip((0.9, 0.975, 0.995), points, strict=True):
            assert student_t_quantile(share, freedom) == pytest.approx(point, abs=5e-4)
            assert two_sided_p(-point, freedom) == pytest.approx(2 * (1 - share), rel=2e-3)


@pytest.mark.parametrize("t", [0.0, 0.01, 0.5, 1.0, -2.3, 8.0, 40.0, 1e4])
def test_students_t_in_closed_form(t: float) -> None:
    """With 1, 2 and 3 degrees of freedom the two_sided_p are elementary; with very many they are the normal distribution's."""
    size = abs(t)
    assert two_sided_p(t, 1) == pytest.approx(1 - 2 / math.pi * math.atan(size), rel=1e-8)
    assert two_sided_p(t, 2) == pytest.approx(2 / (math.hypot(size, 2**0.5) * (math.hypot(size, 2**0.5) + size)), rel=1e-12)
    angle = size / 3**0.5
    assert two_sided_p(t, 3) == pytest.approx(
        1 - 2 / math.pi * (math.atan(angle) + angle / (1 + angle**2)), rel=1e-8, abs=1e-12
    )
    if size < 8:
        assert two_sided_p(t, 1e9) == pytest.approx(math.erfc(size / 2**0.5), rel=1e-7)
    assert two_sided_p(student_t_quantile(0.99, 4.7), 4.7) == pytest.approx(0.02, rel=1e-9), (
        "also between whole degrees of freedom"
    )


def test_welch_is_scipys() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(0, 1, 3), rng.normal(1, 3, 5)
    found, told = difference(mean(a.tolist()), mean(b.tolist())), stats.ttest_ind(a, b, equal_var=False)
    assert found.p == pytest.approx(told.pvalue, rel=1e-9)
    assert found.freedom == pytest.approx(told.df, rel=1e-9)
    assert found.interval() == pytest.approx(tuple(told.confidence_interval()), rel=1e-9)


def test_without_spread_only_equal_values_are_equal() -> None:
    assert difference(Estimate(0.5, 0, 9), Estimate(0.5, 0, 9)).p == 1
    assert difference(Estimate(0.5, 0, 9), Estimate(0.4, 0, 9)).p == 0
    assert difference(Estimate(0.5, 0, 4), Estimate(0.4, 0.1, 9)).freedom == pytest.approx(9)


def test_holm() -> None:
    """By hand: .01·4, .02·3, then .03·2 and .04·1, which may not fall below it."""
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.9, 0.6]) == [1, 1]
    assert holm([]) == []


# ---- intervals hold


NAMES = ("frechet", "mmd", "coverage")


def judged(samples: Tensor, real: FeatureSummary) -> dict[str, Estimate]:
    sides = Sides(FeatureSummary.of(samples), real, cached_nulls=lambda *_: {})
    freedom = len(jackknife_blocks(min(sides.n, sides.m))) - 1
    return {name: Estimate(one.value, float(one.error or 0), freedom) for name, one in measure(sides, NAMES).items()}


def test_an_interval_of_a_difference_holds_the_truth() -> None:
    """Samples of two Gaussians against one reference, again and again: the truth is the mean difference of them all."""
    random = torch.Generator().manual_seed(0)

    def draw(count: int, shift: float, scale: float) -> Tensor:
        return torch.randn(count, 8, generator=random) * scale + shift

    real = FeatureSummary.of(draw(400, 0, 1))
    found: dict[str, list[Estimate]] = {name: [] for name in NAMES}
    for _ in range(200):
        one, other = judged(draw(200, 1.0, 1.0), real), judged(draw(200, 0.7, 0.7), real)
        for name in NAMES:
            found[name].append(difference(one[name], other[name]))
    for name, each in found.items():
        truth = np.mean([one.value for one in each])
        held = np.mean([low <= truth <= high for low, high in (one.interval() for one in each)])
        assert 0.90 <= held <= 0.98, name


def test_of_equal_runs_a_difference_is_claimed_once_in_twenty_comparisons_at_most() -> None:
    """Five runs, ten pairs: one by one, some pair would be claimed in more than a quarter of all comparisons."""
    rng = np.random.default_rng(0)
    together = apart = 0
    for _ in range(400):
        errors = np.sqrt(rng.chisquare(9, 5) / 9)
        runs = [Estimate(float(value), float(error), 9) for value, error in zip(rng.standard_normal(5), errors, strict=True)]
        pairs = [
            Pair(str(a), str(b), runs[a].value - runs[b].value, difference(runs[a], runs[b]))
            for a in range(5)
            for b in range(a)
        ]
        together += any(row["sure"] for row in claims("frechet", pairs))
        apart += any(pair.estimate is not None and pair.estimate.p < 0.05 for pair in pairs)
    assert together <= 0.06 * 400
    assert apart > 0.2 * 400


# ---- what is claimed


def pair(a: float, b: float, error: float = 1.0) -> Pair:
    one, other = Estimate(a, error, 9), Estimate(b, error, 9)
    return Pair("A", "B", a - b, difference(one, other), one, other)


@pytest.mark.parametrize(
    ("metric", "claim", "words"),
    [
        ("frechet", "B", "B is better than A"),
        ("bits_per_dim", "B", "B is better than A"),
        ("coverage", "A", "A is better than B"),
        ("vendi", None, "A has more than B"),
    ],
)
def test_which_is_better(metric: str, claim: str | None, words: str) -> None:
    (row,) = claims(metric, [pair(20, 10)])
    assert (row["claim"], row["words"], row["sure"]) == (claim, words, True)
    assert (row["low"], row["high"]) == pytest.approx(difference(Estimate(20, 1, 9), Estimate(10, 1, 9)).interval())


def test_where_intervals_overlap_nothing_is_claimed() -> None:
    """Four errors apart: t is 2.8 and p .01, but each value's own interval reaches to the other's."""
    (row,) = claims("frechet", [pair(4, 0)])
    assert row["p"] < 0.05
    assert row["low"] > 0
    assert (row["sure"], row["claim"], row["words"]) == (False, None, "A and B: no difference can be claimed")


def test_what_nobody_knows_the_chance_of_is_not_claimed() -> None:
    first, second = claims("frechet", [Pair("A", "B", 100.0, None), pair(20, 10)])
    assert (first["low"], first["high"], first["p"], first["claim"]) == (None, None, None, None)
    assert first["words"] == "A and B: no difference can be claimed"
    assert second["p"] == pytest.approx(difference(Estimate(20, 1, 9), Estimate(10, 1, 9)).p), "one pair is corrected for"


def test_claims_in_a_sentence() -> None:
    rows = claims("frechet", [pair(20, 10), Pair("A", "C", 0, None), Pair("B", "C", -9, Estimate(-9, 1, 9))])
    assert sentences(rows, "inception") == [("FID", "B is better than A, C; A and C: no difference can be claimed")]
    assert sentences(claims("vendi", [pair(20, 10)]), "judge") == [
        ("vendi", "A has more than B (best is what real pictures have)")
    ]
    assert sentences(claims("mmd", [pair(1, 1)]), "inception") == [("KID", "no difference can be claimed")]


def thing(name: str, psnr: np.ndarray[Any, Any], **metrics: float) -> Contender:
    """Judged on as many held-out pictures as there are numbers in `psnr`."""
    report = {
        "metrics": {"psnr": {"value": float(psnr.mean()), "error": float(psnr.std() / len(psnr) ** 0.5)}},
        "blocks": {"psnr": block_means(psnr)},
        "count": len(psnr),
        "reference": {"count": len(psnr)},
    }
    report["metrics"] |= {name: {"value": value, "error": 0.01} for name, value in metrics.items()}
    return Contender(name, name, None, report)


def test_of_the_same_pictures_the_differences_of_pictures_count() -> None:
    """Pictures differ by 5 dB, the two models by .3 ± .2 dB on each: each value's own interval is far too wide to see it."""
    rng = np.random.default_rng(0)
    base = rng.normal(20, 5, 203)
    by = rng.normal(0.3, 0.2, 203)
    (row,) = compare_pairs([thing("A", base + by), thing("B", base)])
    assert row["claim"] == "A"
    assert row["difference"] == pytest.approx(by.mean())
    told = stats.t.interval(0.95, 202, by.mean(), by.std(ddof=1) / 203**0.5)
    assert (row["low"], row["high"]) == pytest.approx(told, abs=0.01)
    (row,) = compare_pairs([thing("A", base + by), thing("B", rng.permutation(base))])
    assert row["claim"] is None, "of other pictures nothing is seen"


def test_gan_train_is_not_claimed() -> None:
    """Its error is that of the pictures examined; another training of the network moves it more."""
    values = np.linspace(10, 20, 40)
    rows = compare_pairs([thing("A", values, gan_train=0.9, recall=0.9), thing("B", values, gan_train=0.5, recall=0.5)])
    assert {row["metric"]: row["claim"] for row in rows} == {"psnr": None, "recall": "A", "gan_train": None}


def test_none_among_few_is_not_known_to_be_none() -> None:
    """Of 50 right answers of 50 the error is that of 51 of 52 (Agresti & Caffo 2000), not 0."""
    logits = torch.eye(2)[torch.arange(50) % 2]
    labels = Labels(torch.arange(50) % 2, torch.arange(50) % 2, 2)
    seen = FeatureSummary.of(torch.randn(50, 3, generator=torch.Generator().manual_seed(0)), logits)
    found = measure(Sides(seen, seen, labels=labels), ["label_accuracy"])["label_accuracy"]
    assert found.value == 1
    assert found.error == pytest.approx((51 / 52 * 1 / 52 / 52) ** 0.5)
    assert isinstance(found, Score)


# ---- pictures


def test_a_sheet_holds_every_grid_under_its_name() -> None:
    grids = {
        "a": np.full((4, 8, 8, 1), 10, np.uint8),
        "a very long name that does not fit": np.full((4, 8, 8, 1), 200, np.uint8),
    }
    found = sheet(grids)
    left, right = found[:, : found.shape[1] // 2], found[:, found.shape[1] // 2 :]
    assert set(np.unique(left[30:])) == {10, 255}
    assert set(np.unique(right[30:])) == {200, 255}
    for half in (left, right):
        assert (half[:26] < 100).any(), "letters"
    assert (found[:26, -2:] == 255).all(), "the long one is cut, not drawn over the edge"


def spots(svg: str) -> Sequence[float]:
    return [float(x) for x in re.findall(r'<circle[^>]* cx="([\d.]+)"', svg)]


def test_interval_chart() -> None:
    found = interval_chart(
        "Score", [("<b>", 1.0, 0.0, 2.0), ("B", 3.0, 2.5, 3.5), ("C", 2.0, None, None)], ("real & true", 0.5)
    )
    assert "<b>" not in found.replace("<b>0.5</b>", "")
    assert "&lt;b&gt;: 1 [0, 2]" in found
    assert "real &amp; true" in found
    one, other, bare = spots(found)
    assert bare - one == pytest.approx(other - bare, abs=0.2)
    lines = re.findall(r'<polyline class="c[01] " points="([\d.]+),[\d.]+ ([\d.]+),', found)
    assert [float(low) < x < float(high) for (low, high), x in zip(lines, (one, other), strict=True)] == [True, True]

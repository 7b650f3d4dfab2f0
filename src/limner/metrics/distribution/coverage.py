"""Precision, recall, density and coverage: do samples lie among real pictures, and cover them? By neighbours in feature space.

Precision and recall: Kynkäänniemi et al. 2019, equations 1–2, k = 3. Density and coverage: Naeem et al. 2020, equations 4–5,
k = 5. In all four, balls are closed (a point at exactly the radius lies inside), and no point is a neighbour of itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from limner.core.errors import InputError
from limner.core.images import batches_of
from limner.metrics.distribution.frechet import Null, jackknife, split

PRECISION_K = 3
COVERAGE_K = 5
MIN_PRECISION, MAX_RECALL = 0.8, 0.25
"""Shares of the precision and of the recall of real pictures from which on, and up to which, samples count as few kinds of
pictures."""
MIN_RECALL_Z = 4.0
"""Standard deviations by which a recall must lie below that of real pictures: that of few samples is low by chance."""
_ROWS = 1024  # rows of a distance matrix held at a time
_EXTRA_CANDIDATES = 16  # neighbours beyond the k-th that are measured exactly
_MAX_PAIRS = 64  # undecided pairs of a row up to which they are measured one by one


@dataclass(frozen=True)
class NeighbourScores:
    """The four scores; density may exceed 1, the others lie in 0..1."""

    precision: float
    recall: float
    density: float
    coverage: float


NEIGHBOUR_SCORES = ("precision", "recall", "density", "coverage")


def narrowness(scores: Mapping[str, Mapping[str, Any]]) -> str:
    """What a high precision beside a recall near 0 means; "" where there is no such pair among the `scores`.

    Samples that all lie close together among the real pictures have the best precision: it is no praise by itself. A recall
    that chance explains, by its z, says nothing.

    >>> narrowness({"precision": {"value": 0.95, "null": 0.8}, "recall": {"value": 0.01, "null": 0.8}}).partition(": ")[2]
    'most are like some real picture (precision 0.95), but 99% of real pictures have nothing like them here (recall 0.01)'
    """
    precision, recall = scores.get("precision"), scores.get("recall")
    if precision is None or recall is None:
        return ""
    if precision["value"] < MIN_PRECISION * (precision["null"] or 1) or recall["value"] > MAX_RECALL * (recall["null"] or 1):
        return ""
    if (z := recall.get("z")) is not None and z > -MIN_RECALL_Z:
        return ""
    return (
        f"few kinds of pictures: most are like some real picture (precision {precision['value']:.2g}), but "
        f"{1 - recall['value']:.0%} of real pictures have nothing like them here (recall {recall['value']:.2g})"
    )


@dataclass(frozen=True)
class NeighbourCounts:
    """Counts of which the scores are made, for each of G blocks of samples: leaving one out at a time gives an error."""

    size: Tensor
    """[G]: samples in the block."""
    precise: Tensor
    """[G]: samples inside the ball (k = 3) of some real image."""
    balls: Tensor
    """[G]: balls (k = 5) of real images that hold a sample, summed over samples."""
    covered: Tensor
    """[G, N]: whether the real image's ball (k = 5) holds a sample of the block."""
    recalled: Tensor
    """[G, N]: whether the real image lies in the ball (k = 3) of a sample of the block."""

    def scores(self, left_out: int | None = None) -> NeighbourScores:
        """Of all blocks, or of all but one."""
        blocks = [block for block in range(len(self.size)) if block != left_out]
        samples = float(self.size[blocks].sum())
        return NeighbourScores(
            precision=float(self.precise[blocks].sum()) / samples,
            recall=float(self.recalled[blocks].any(0).double().mean()),
            density=float(self.balls[blocks].sum()) / (COVERAGE_K * samples),
            coverage=float(self.covered[blocks].any(0).double().mean()),
        )

    def errors(self) -> NeighbourScores:
        """Standard errors: a jackknife over blocks of samples, with the samples' own radii, which recall uses, of all
        samples."""
        parts = [self.scores(block) for block in range(len(self.size))] if len(self.size) > 1 else []
        return NeighbourScores(**{name: jackknife([getattr(part, name) for part in parts]) for name in NEIGHBOUR_SCORES})


def _distances(a: Tensor, b: Tensor) -> Tensor:
    # Not by a matrix product, whose cancellation is worst for near neighbours, the only ones that matter here.
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")


def _squares(a: Tensor, b: Tensor) -> tuple[Tensor, float]:
    """[M, N] squared distances by a matrix product, and a bound of their error against those of `_distances`."""
    left, right = a.square().sum(1), b.square().sum(1)
    # A sum of d products is off by at most d·ε of the sum of their sizes, and |a·b| is at most (|a|² + |b|²)/2.
    slack = 8 * (a.shape[1] + 8) * torch.finfo(torch.float64).eps * float(left.max() + right.max())
    return (left[:, None] + right).addmm_(a, b.T, alpha=-2), slack


def _inside(a: Tensor, b: Tensor, *radii: Tensor) -> list[Tensor]:
    """For each of `radii` ([N], or [M, 1]): ``_distances(a, b) <= radius``, to the bit, and several times as fast.

    Only pairs that the matrix product cannot decide are measured exactly.
    """
    squares, slack = _squares(a, b)
    results = []
    for radius in radii:
        inside = squares <= radius.square() + slack
        row, column = (inside & (squares >= radius.square() - slack)).nonzero(as_tuple=True)
        if len(row) > _MAX_PAIRS * len(a):
            inside = _distances(a, b) <= radius
        elif len(row):
            distances = _distances(a[row, None], b[column, None])[:, 0, 0]
            inside[row, column] = distances <= radius.expand_as(inside)[row, column]
        results.append(inside)
    return results


def radii(points: Tensor, *ks: int) -> list[Tensor]:
    """For each k: distance of every point [N, d] to its k-th nearest other point, [N] float64.

    Errors: `InputError` unless there are more points than the largest k.

    >>> radii(torch.tensor([[0.0], [1.0], [3.0]]), 1)
    [tensor([1., 1., 2.], dtype=torch.float64)]
    """
    points = points.to(torch.float64)
    if len(points) <= max(ks):
        raise InputError(f"neighbour scores with k={max(ks)} need more than {max(ks)} images, and there are {len(points)}")
    parts = []
    for rows in batches_of(len(points), _rows(points)):
        parts.append(_nearest(points, torch.arange(rows.start, rows.stop, device=points.device), max(ks)))
    nearest = torch.cat(parts)
    return [nearest[:, k - 1] for k in ks]


def _nearest(points: Tensor, which: Tensor, k: int) -> Tensor:
    """[n, k]: the distances of the points at `which` to their k nearest other points, those of `_distances`, in order."""
    squares, slack = _squares(points[which], points)
    squares[torch.arange(len(which), device=points.device), which] = torch.inf  # a point is no neighbour of itself
    near = squares.topk(min(k + _EXTRA_CANDIDATES, len(points) - 1), largest=False, sorted=True)
    exact = _distances(points[which, None], points[near.indices])[:, 0].sort(1).values[:, :k]
    if near.values.shape[1] < len(points) - 1:
        # A point that is no candidate may be nearer only if its square is within the slack, which means (nearly) equal points.
        undecided = (exact[:, -1].square() + slack >= near.values[:, -1]).nonzero()[:, 0]
        for part in batches_of(len(undecided), _EXTRA_CANDIDATES):
            row = undecided[part]
            distance = _distances(points[which[row]], points)
            distance[torch.arange(len(row), device=points.device), which[row]] = torch.inf
            exact[row] = distance.topk(k, largest=False, sorted=True).values
    return exact


def _rows(points: Tensor) -> int:
    return max(_EXTRA_CANDIDATES, min(_ROWS, (1 << 21) // points.shape[1]))


def neighbour_counts(
    samples: Tensor, real: Tensor, blocks: int = 10, real_radii: list[Tensor] | None = None
) -> NeighbourCounts:
    """Counts for `samples` [M, d] against `real` [N, d]. `real_radii`: those of `radii(real, 3, 5)`,
    where they have been computed before. Errors: `InputError` for fewer than 6 real images or 4 samples."""
    samples, real = samples.detach().to(torch.float64), real.detach().to(torch.float64)
    of_real_3, of_real_5 = real_radii or radii(real, PRECISION_K, COVERAGE_K)
    (of_samples,) = radii(samples, PRECISION_K)
    size, precise, balls, covered, recalled = [], [], [], [], []
    for block in batches_of(len(samples), max(1, -(-len(samples) // blocks))):
        inside, hits = 0, 0
        hit = torch.zeros(len(real), dtype=torch.bool, device=real.device)
        near = hit.clone()
        for rows in batches_of(block.stop - block.start, _rows(real)):
            part = slice(block.start + rows.start, block.start + rows.stop)
            of_3, of_5, of_own = _inside(samples[part], real, of_real_3, of_real_5, of_samples[part, None])
            inside += int(of_3.any(1).sum())
            hits += int(of_5.sum())
            hit |= of_5.any(0)
            near |= of_own.any(0)
        size.append(block.stop - block.start)
        precise.append(inside)
        balls.append(hits)
        covered.append(hit)
        recalled.append(near)
    return NeighbourCounts(
        torch.tensor(size), torch.tensor(precise), torch.tensor(balls), torch.stack(covered), torch.stack(recalled)
    )


def neighbours(samples: Tensor, real: Tensor) -> NeighbourScores:
    """Precision, recall, density and coverage of `samples` [M, d] against `real` [N, d].

    A set covers itself:

    >>> x = torch.arange(10.0)[:, None]
    >>> scores = neighbours(x, x)
    >>> scores.precision, scores.recall, scores.coverage
    (1.0, 1.0, 1.0)
    """
    return neighbour_counts(samples, real, blocks=1).scores()


def neighbour_null(real_features: Tensor, n: int, repeats: int = 5, seed: int = 0, m: int | None = None) -> dict[str, Null]:
    """The four scores of `n` real images against `m` other real ones, by name.

    Where there are fewer than n + m real images both sets are smaller in the same proportion: to first order the means of these
    scores depend on the proportion only and stay as they are; the deviations from the mean are multiplied by the root of the
    size correction. Empty where the proportion cannot be kept, or a set would be too small to have neighbours.
    """
    m = n if m is None else m
    sizes = split(len(real_features), n, m, min_share=0.0)
    if sizes is None or min(sizes.n, sizes.m) <= COVERAGE_K or not 0.8 < sizes.n * m / (sizes.m * n) < 1.25:
        return {}
    repeated: dict[str, list[float]] = {name: [] for name in NEIGHBOUR_SCORES}
    for repeat in range(repeats):
        left, right = sizes.rows(len(real_features), repeat, seed)
        scores = neighbours(real_features[left], real_features[right])
        for name in NEIGHBOUR_SCORES:
            repeated[name].append(getattr(scores, name))
    nulls = {}
    for name, values in repeated.items():
        centre = sum(values) / len(values)
        spread = tuple(centre + (value - centre) * sizes.size_correction**0.5 for value in values)
        nulls[name] = Null(spread, (sizes.n, sizes.m), sizes.size_correction)
    return nulls

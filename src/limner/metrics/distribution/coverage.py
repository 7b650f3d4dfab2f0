"""Do the samples look real, and do they cover what is real: counts of neighbours in feature space.

Precision and recall: Kynkäänniemi et al. 2019, equations 1–2, k = 3. Density and coverage: Naeem et al. 2020, equations 4–5,
k = 5. In all four a ball is closed: a point at exactly the radius lies inside. The k-th neighbour never counts the point
itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from limner.core.errors import InputError
from limner.core.images import batches_of
from limner.metrics.distribution.frechet import Null, jackknife, split

PRECISION_K = 3
COVERAGE_K = 5
_ROWS = 1024  # rows of a distance matrix held at a time
_SPARE = 16  # neighbours beyond the k-th that are measured exactly
_UNDECIDED = 64  # pairs of a row up to which they are measured one by one


@dataclass(frozen=True)
class Neighbours:
    """The four scores; density may exceed 1, the others lie in 0..1."""

    precision: float
    recall: float
    density: float
    coverage: float


NEIGHBOUR_SCORES = ("precision", "recall", "density", "coverage")


@dataclass(frozen=True)
class Counts:
    """What the scores are made of, per block g of samples, so that an error can be had by leaving blocks out.

    `size` [G]: samples in the block. `precise` [G]: those inside some real ball (k=3). `balls` [G]: real balls (k=5) hit,
    summed over samples. `covered` [G, N]: whether the real image's ball holds a sample of the block. `recalled` [G, N]:
    whether the real image lies in the ball of a sample of the block.
    """

    size: Tensor
    precise: Tensor
    balls: Tensor
    covered: Tensor
    recalled: Tensor

    def scores(self, left_out: int | None = None) -> Neighbours:
        """Of all blocks, or of all but one."""
        kept = [block for block in range(len(self.size)) if block != left_out]
        samples = float(self.size[kept].sum())
        return Neighbours(
            precision=float(self.precise[kept].sum()) / samples,
            recall=float(self.recalled[kept].any(0).double().mean()),
            density=float(self.balls[kept].sum()) / (COVERAGE_K * samples),
            coverage=float(self.covered[kept].any(0).double().mean()),
        )

    def errors(self) -> Neighbours:
        """Standard errors: a jackknife over blocks of samples. The samples' own radii, which recall uses, stay as they are."""
        parts = [self.scores(block) for block in range(len(self.size))] if len(self.size) > 1 else []
        return Neighbours(**{name: jackknife([getattr(part, name) for part in parts]) for name in NEIGHBOUR_SCORES})


def _distances(a: Tensor, b: Tensor) -> Tensor:
    # The matrix-product shortcut cancels badly for near neighbours, which are the only ones that matter here.
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")


def _squares(a: Tensor, b: Tensor) -> tuple[Tensor, float]:
    """[M, N] squared distances by a matrix product, and how far at most they lie off those of `_distances`."""
    left, right = a.square().sum(1), b.square().sum(1)
    # A sum of d products is off by at most d·ε of the sum of their sizes, and |a·b| is at most (|a|² + |b|²)/2.
    slack = 8 * (a.shape[1] + 8) * torch.finfo(torch.float64).eps * float(left.max() + right.max())
    return (left[:, None] + right).addmm_(a, b.T, alpha=-2), slack


def _inside(a: Tensor, b: Tensor, *radii: Tensor) -> list[Tensor]:
    """For each of `radii` ([N], or [M, 1]): ``_distances(a, b) <= radius``, to the bit, and several times as fast.

    Only pairs that the product cannot decide are measured.
    """
    squares, slack = _squares(a, b)
    found = []
    for radius in radii:
        inside = squares <= radius.square() + slack
        row, column = (inside & (squares >= radius.square() - slack)).nonzero(as_tuple=True)
        if len(row) > _UNDECIDED * len(a):
            inside = _distances(a, b) <= radius
        elif len(row):
            apart = _distances(a[row, None], b[column, None])[:, 0, 0]
            inside[row, column] = apart <= radius.expand_as(inside)[row, column]
        found.append(inside)
    return found


def radii(points: Tensor, *ks: int) -> list[Tensor]:
    """For each k: distance of every point [N, d] to its k-th nearest other point, [N] float64."""
    points = points.to(torch.float64)
    if len(points) <= max(ks):
        raise InputError(f"neighbour scores with k={max(ks)} need more than {max(ks)} images, and there are {len(points)}")
    found = []
    for rows in batches_of(len(points), _rows(points)):
        found.append(_nearest(points, torch.arange(rows.start, rows.stop, device=points.device), max(ks)))
    nearest = torch.cat(found)
    return [nearest[:, k - 1] for k in ks]


def _nearest(points: Tensor, which: Tensor, k: int) -> Tensor:
    """[n, k]: the distances of the points at `which` to their k nearest others, as `_distances` has them, in order."""
    squares, slack = _squares(points[which], points)
    squares[torch.arange(len(which), device=points.device), which] = torch.inf  # a point is no neighbour of itself
    near = squares.topk(min(k + _SPARE, len(points) - 1), largest=False, sorted=True)
    exact = _distances(points[which, None], points[near.indices])[:, 0].sort(1).values[:, :k]
    if near.values.shape[1] < len(points) - 1:
        # What was left out may be nearer only where its square is within the slack: points that lie on one another.
        unsure = (exact[:, -1].square() + slack >= near.values[:, -1]).nonzero()[:, 0]
        for part in batches_of(len(unsure), _SPARE):
            row = unsure[part]
            distance = _distances(points[which[row]], points)
            distance[torch.arange(len(row), device=points.device), which[row]] = torch.inf
            exact[row] = distance.topk(k, largest=False, sorted=True).values
    return exact


def _rows(points: Tensor) -> int:
    return max(_SPARE, min(_ROWS, (1 << 21) // points.shape[1]))


def neighbour_counts(samples: Tensor, real: Tensor, blocks: int = 10, real_radii: list[Tensor] | None = None) -> Counts:
    """Counts for `samples` [M, d] against `real` [N, d]. `real_radii` saves their computation where they are known."""
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
    return Counts(torch.tensor(size), torch.tensor(precise), torch.tensor(balls), torch.stack(covered), torch.stack(recalled))


def neighbours(samples: Tensor, real: Tensor) -> Neighbours:
    """Precision, recall, density and coverage of `samples` [M, d] against `real` [N, d]."""
    return neighbour_counts(samples, real, blocks=1).scores()


def neighbour_null(real_features: Tensor, n: int, repeats: int = 5, seed: int = 0, m: int | None = None) -> dict[str, Null]:
    """The four scores of `n` real images against `m` other real ones, by name.

    Where there are fewer than n + m real images both sets are smaller in the same proportion: to first order the means of these
    scores depend on the proportion only and are left alone; the deviations from the mean are multiplied by the root of the size
    correction. Empty where the proportion cannot be kept, or a set would be too small to have neighbours.
    """
    asked = n if m is None else m
    sizes = split(len(real_features), n, asked, least=0.0)
    if sizes is None or min(sizes.n, sizes.m) <= COVERAGE_K or not 0.8 < sizes.n * asked / (sizes.m * n) < 1.25:
        return {}
    found: dict[str, list[float]] = {name: [] for name in NEIGHBOUR_SCORES}
    for repeat in range(repeats):
        left, right = sizes.rows(len(real_features), repeat, seed)
        scores = neighbours(real_features[left], real_features[right])
        for name in NEIGHBOUR_SCORES:
            found[name].append(getattr(scores, name))
    nulls = {}
    for name, values in found.items():
        centre = sum(values) / len(values)
        spread = tuple(centre + (value - centre) * sizes.shrunk**0.5 for value in values)
        nulls[name] = Null(spread, (sizes.n, sizes.m), sizes.shrunk)
    return nulls

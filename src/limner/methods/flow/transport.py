"""Pairs of noise and pictures by semidiscrete optimal transport (arXiv:2509.25519, arXiv:2510.15038).

Noise z is normal, and the pictures are finitely many points x_j. Among all ways to join them in which z stays normal and each
picture is as frequent as the others, one has the least mean of ‖z − x‖². It joins z with the picture whose ⟨z, x_j⟩ + b_j is
largest, where the potentials b make each picture be chosen equally often. The gradient of the dual problem by b_j is the share
of noises that choose x_j, less 1/N.

Three approximations make it quick, and none of them changes how often a picture is chosen or how the noise is distributed.
Products are taken in the few directions in which pictures vary most, in which noise is normal too. Pictures of each class are
a problem of their own. And large classes are cut at random into blocks, of which each pair draws one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from limner.core.cond import Batch, PictureSet
from limner.core.precision import no_autocast

DIRECTIONS = 64
"""Principal directions in which products are taken, at most. For Fashion-MNIST they hold 87 % of the variance."""
FITTED_PICTURES, FITTED_NUMBERS = 4_096, 2**26
"""Pictures from which the directions are estimated, and numbers in these pictures, at most."""
MAX_NUMBERS = 2**29
"""Coordinates of all pictures that are kept, at most (2 GiB as float32). Larger sets have fewer directions."""
MAX_PRODUCTS = 2e9
"""Products of noises with pictures in a solution, about. On one core a thousand million take eight seconds."""
DRAWS = 20
"""Noises by which a potential is found, times the number of pictures. By as many draws, shares would differ by 1/√20."""
BATCH, MIN_STEPS, MIN_BLOCK = 64, 400, 256
"""Noises in a step of the solution, the least number of steps, and the fewest pictures that are cut into blocks."""
MIN_RATE, TRAVEL = 0.02, 10.0
"""Adam's rate at the start is the larger of the first and the second by the number of steps, times the size of a picture."""
MIN_DRAWS = 4_096
"""Noises by which it is measured how evenly the pictures of a group are chosen, at least; otherwise twice their number."""
AVERAGED_SHARE = 0.4
"""The potentials are the mean of this share of the iterates, the last ones."""
READ_AT_ONCE = 64
"""Pictures that are read at once, so that a codec always gets batches of one size."""

Encode = Callable[[Batch], Tensor]


def principal_directions(pictures: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The mean [D] of `pictures` [N, D], and [D, r] orthonormal: the r ≤ `count` directions in which they vary most."""
    mean = pictures.mean(0)
    directions: Tensor = torch.pca_lowrank(pictures - mean, min(count, *pictures.shape), center=False)[2]
    return mean, directions


def solve_potentials(points: Tensor, draw: Callable[[int], Tensor], steps: int) -> Tensor:
    """[N]: potentials by which each of `points` [N, r] is chosen equally often, by `steps` steps of Adam.

    `draw` gives so many noises, [n, r]. The start would be right if products with different points were independent: the
    largest of N normal numbers lies near √(2·ln N) deviations.
    """
    count, norms = len(points), torch.linalg.vector_norm(points, dim=1)
    potentials: Tensor = -norms * math.sqrt(2 * math.log(count))
    average: Tensor = potentials.clone()
    if count == 1:
        return average
    potentials.grad = torch.empty_like(potentials)
    rate = max(MIN_RATE, TRAVEL / steps) * float(norms.square().mean().sqrt())
    optimiser = torch.optim.Adam([potentials], lr=rate)
    first = round((1 - AVERAGED_SHARE) * steps)
    for step in range(steps):
        choice = torch.addmm(potentials, draw(BATCH), points.T).argmax(1)
        potentials.grad.copy_(torch.bincount(choice, minlength=count)).mul_(count / BATCH).sub_(1)
        optimiser.param_groups[0]["lr"] = rate * (1 - step / steps)
        optimiser.step()
        if step >= first:
            average.lerp_(potentials, 1 / (step - first + 1))
    return average


@dataclass(frozen=True)
class Blocks:
    """How pictures are cut up: by class, and large classes into blocks of about equal size, at random."""

    order: Tensor
    """[N] int64: the places of the pictures, block by block."""
    starts: Tensor
    """[blocks + 1] int64: where each block starts in `order`, and N."""
    classes: Tensor
    """[classes] int64: the labels that there are, ascending."""
    class_starts: Tensor
    """[classes + 1] int64: where each class starts in `order`, and N."""

    @classmethod
    def of_labels(cls, labels: Tensor, size: int) -> Blocks:
        """Of pictures with `labels` [N] int64, in blocks of at most `size`. The cut is drawn from torch's generator."""
        shuffled = torch.randperm(len(labels))
        order = shuffled[labels[shuffled].argsort(stable=True)]
        classes, counts = torch.unique(labels, return_counts=True)
        class_starts = torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)])
        starts = [0]
        for first, count in zip(class_starts.tolist(), counts.tolist(), strict=False):
            parts = math.ceil(count / size)
            starts += [first + count * (part + 1) // parts for part in range(parts)]
        return cls(order, torch.tensor(starts), classes, class_starts)

    def draw(self, labels: Tensor | None, uniform: Tensor) -> Tensor:
        """[B] int64: a block of the class of each row, as often as it has pictures; `labels` [B] int64, `uniform` [B] in 0..1.

        Without labels it is a block of the only class that there is.
        """
        number = torch.zeros_like(uniform, dtype=torch.int64) if labels is None else torch.searchsorted(self.classes, labels)
        first, end = self.class_starts[number], self.class_starts[number + 1]
        place = torch.minimum(first + (uniform * (end - first)).long(), end - 1)
        return torch.searchsorted(self.starts, place, right=True) - 1

    def to(self, device: torch.device) -> Blocks:
        """The same on `device`."""
        return Blocks(*(part.to(device) for part in (self.order, self.starts, self.classes, self.class_starts)))


class Coupling:
    """The pairs of noise with the pictures of a set, solved when it is made, in float32."""

    @torch.no_grad()
    def __init__(self, pictures: PictureSet, encode: Encode, by_class: bool) -> None:
        """`encode` gives what noise is joined with, [B, *shape]. `by_class`: each picture is chosen by noise of its own class.

        Draws from torch's generator. Pictures are read twice: some for the directions, then all for their coordinates.
        """
        count = self.count = pictures.count
        size = next(_read(pictures, encode, torch.zeros(1, dtype=torch.int64))).numel()
        sample_size = min(count, FITTED_PICTURES, max(DIRECTIONS, FITTED_NUMBERS // size))
        sample = torch.cat(list(_read(pictures, encode, torch.arange(sample_size) * count // sample_size)))
        self.mean, self.directions = principal_directions(sample, max(1, min(DIRECTIONS, MAX_NUMBERS // count)))
        self.squares = float(sample.square().sum(1).mean())
        """Mean of ‖x‖²."""
        coordinates = torch.cat([(points - self.mean) @ self.directions for points in _read(pictures, encode)])
        self.share = float(coordinates.square().sum(1).mean() / (sample - self.mean).square().sum(1).mean())
        """Share of the pictures' variance in the directions, about."""
        labels = pictures.labels if by_class and pictures.labels is not None else torch.zeros(count, dtype=torch.int64)
        block = max(MIN_BLOCK, int(MAX_PRODUCTS / (DRAWS * count)))
        self.blocks = Blocks.of_labels(labels.cpu(), block).to(sample.device)
        self.points = coordinates[self.blocks.order]
        """[N, r]: the coordinates in the order of the blocks."""
        self.potentials = torch.zeros_like(self.points[:, 0])
        self._starts: list[int] = self.blocks.starts.tolist()
        for number in range(len(self._starts) - 1):
            part = self._part(number)
            steps = max(MIN_STEPS, DRAWS * (part.stop - part.start) // BATCH)
            self.potentials[part] = solve_potentials(self.points[part], self._noise, steps)

    @torch.no_grad()
    def choose(self, noise: Tensor, labels: Tensor | None, uniform: Tensor) -> Tensor:
        """[B] int64: the places of the pictures for `noise` [B, *shape], of the classes `labels` [B] where these are learned.

        `uniform` [B] in 0..1 draws a block. A row depends on nothing in another row.
        """
        with no_autocast(noise.device):
            coordinates = noise.flatten(1).float() @ self.directions
            block = self.blocks.draw(labels, uniform)
            places = torch.empty_like(block)
            for number in torch.unique(block).tolist():
                rows = (block == number).nonzero().squeeze(1)
                places[rows] = self.blocks.order[self._choose(coordinates[rows], number)]
        return places

    @torch.no_grad()
    def report(self) -> str:
        """A sentence: how evenly pictures are chosen, and by how much paths become shorter. Draws from torch's generator."""
        even, product = self.measure()
        before, groups = len(self.mean) + self.squares, len(self._starts) - 1
        return (
            f"pairing: noise is joined with {self.count:,} pictures in {groups} {'group' if groups == 1 else 'groups'}, as "
            f"evenly as {even:.0%} of them would be with equal shares; the mean square of a path's velocity is "
            f"{1 - 2 * product / before:.0%} of what it was ({self.directions.shape[1]} directions, with {self.share:.0%} of "
            "the pictures' variance)"
        )

    def measure(self) -> tuple[float, float]:
        """1/(N·Σp²) of the shares p in which pictures are chosen, 1 at best, and the mean of ⟨z, x⟩; from fresh noises."""
        concentration = product = 0.0
        for number in range(len(self._starts) - 1):
            part = self._part(number)
            size = part.stop - part.start
            steps = math.ceil(max(2 * size, MIN_DRAWS) / BATCH)
            total, counts = steps * BATCH, torch.zeros(size, device=self.points.device)
            for _ in range(steps):
                noise = self._noise(BATCH)
                choice = self._choose(noise, number)
                counts += torch.bincount(choice - part.start, minlength=size)
                product += size / self.count / total * float((noise * self.points[choice]).sum())
            # Of even shares, the squares of the counts alone give 1/total more than the shares themselves.
            concentration += (size / self.count) ** 2 * max(float((counts / total).square().sum()) - 1 / total, 1 / size)
        return 1 / concentration / self.count, product

    def _choose(self, coordinates: Tensor, number: int) -> Tensor:
        """[n] int64: the rows of `points` in the block `number` that noise with `coordinates` [n, r] is joined with."""
        part = self._part(number)
        products: Tensor = torch.addmm(self.potentials[part], coordinates, self.points[part].T)
        return products.argmax(1) + self._starts[number]

    def _part(self, number: int) -> slice:
        """The rows of `points` in the block `number`."""
        return slice(self._starts[number], self._starts[number + 1])

    def _noise(self, count: int) -> Tensor:
        return torch.randn(count, self.points.shape[1], device=self.points.device)


def _read(pictures: PictureSet, encode: Encode, places: Tensor | None = None) -> Iterator[Tensor]:
    """[n, D] float32, n at a time: what noise is joined with, of the pictures at `places`; of all where it is None."""
    for part in torch.split(torch.arange(pictures.count) if places is None else places, READ_AT_ONCE):
        yield encode(pictures.take(part)).flatten(1).float()

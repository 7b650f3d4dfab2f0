"""The training pictures that lie nearest to a picture, also where it is mirrored or moved by a pixel.

Pixels are compared, since a judge's features hardly depend on position, and a mirrored copy is far from its picture in them.
Smoothing both sides first finds no other copies, and fewer of those that are moved by half a pixel, turned or enlarged. Moves
are found by search: a margin of one pixel is left out of every picture, and the sample's window is taken at all nine places,
plain and mirrored, so that what a move pushes out of the picture, or fills in at its edge, is not compared.

The search has two steps. Windows are first compared in the 64 directions in which training pictures vary most, by matrix
products, with the minimum over all 18 views; then the nearest 32 training pictures are measured exactly. The first step may
miss a neighbour; the counts of memorisation.py stay fair, since samples and held-out pictures are searched alike.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from limner.core.errors import InputError
from limner.core.images import batches_of
from limner.core.precision import exact
from limner.metrics.features.pixels import Source, format_shape, resize, take, work_size

NEIGHBOURS = 16
"""Training pictures that are given for each picture."""
WORKING_SIDE = 32
"""Pixels on the longer side of the windows that are compared; larger ones are shrunk, after the move."""
_CANDIDATES, _DIRECTIONS = 32, 64
_AT_ONCE = 4096  # pictures that are searched for in one pass over the training pictures: bounds memory, changes nothing
_TRAIN, _COLUMNS, _ROWS = 8192, 1024, 256  # training pictures projected, compared, and compared with, at a time
_VALUES = 2**23  # numbers of pictures that are read at a time: pictures may be large


class View(NamedTuple):
    """How the training picture became the picture: it was mirrored left to right or not, then moved by `down` and `right`."""

    mirrored: bool
    down: int
    right: int


VIEWS = tuple(View(mirrored, down, right) for mirrored in (False, True) for down in (0, -1, 1) for right in (0, -1, 1))
"""All that are tried; the first is the picture as it is."""


@dataclass(frozen=True)
class Nearest:
    """For each of M pictures its K nearest training pictures, the nearest first, each in the view that fits it best."""

    distance: Tensor
    """[M, K] float64: root mean square difference per entry, in 0..1. Copies have exactly 0 where nothing was shrunk."""
    index: Tensor
    """[M, K] int64: row of the training source."""
    view: Tensor
    """[M, K] int64: index into `VIEWS`."""


def nearest(pictures: Source, train: Source, rows: NDArray[np.int64] | None = None, count: int = NEIGHBOURS) -> Nearest:
    """The `count` training pictures (all, if there are fewer) nearest to each of `pictures` [M, H, W, C] uint8.

    `train` [N, H, W, C] uint8 has the same shape; `rows` of it were trained on (all, where None). Memory does not grow with N.
    Errors: `InputError` where shapes differ, sides are below 4 pixels, or there are fewer than three training pictures.
    """
    rows = np.arange(train.shape[0], dtype=np.int64) if rows is None else np.asarray(rows, dtype=np.int64)
    shape, other = tuple(pictures.shape[1:]), tuple(train.shape[1:])
    if shape != other:
        raise InputError(f"pictures of {format_shape(shape)} cannot be sought among training pictures of {format_shape(other)}")
    if len(shape) != 3 or min(shape[:2]) < 4:
        raise InputError(f"nearest pictures are sought among pictures of at least 4×4 pixels, not {format_shape(shape)}")
    if len(rows) < 3:
        raise InputError(f"nearest pictures need at least three training pictures, and there are {len(rows)}")
    count = min(count, len(rows))
    results = []
    with exact("cpu"):
        training = _Training.of(train, rows)
        for part in batches_of(pictures.shape[0], _AT_ONCE):
            which = np.arange(part.start, part.stop)
            results.append(_measure(pictures, which, training, _candidates(pictures, which, training), count))
    if not results:
        return Nearest(torch.empty(0, count).double(), *(torch.empty(0, count, dtype=torch.int64) for _ in range(2)))
    return Nearest(*(torch.cat(parts) for parts in zip(*results, strict=True)))


def _read(source: Source, rows: NDArray[np.int64]) -> Iterator[NDArray[np.uint8]]:
    """The pictures at `rows`, in batches."""
    batch = max(1, _VALUES // int(np.prod(source.shape[1:])))
    return (take(source, rows[part]) for part in batches_of(len(rows), batch))


def _window(pictures: NDArray[np.uint8], view: View) -> Tensor:
    """[n, H, W, C] uint8 -> [n, D] float32 in 0..255: where the middle of the training picture is, if the picture is this view
    of it."""
    height, width = pictures.shape[1:3]
    part = pictures[:, 1 + view.down : height - 1 + view.down, 1 + view.right : width - 1 + view.right]
    part = part[:, :, ::-1] if view.mirrored else part
    pixels = torch.from_numpy(np.ascontiguousarray(part)).permute(0, 3, 1, 2).to(torch.float32)
    return resize(pixels, work_size(height - 2, width - 2, WORKING_SIDE, min_side=2)).flatten(1)


@dataclass(frozen=True)
class _Training:
    """The training pictures at `rows`, and an orthonormal projection of windows, which makes no distance longer."""

    source: Source
    rows: NDArray[np.int64]
    mean: Tensor  # [D]
    directions: Tensor  # [D, r]

    @classmethod
    def of(cls, source: Source, rows: NDArray[np.int64]) -> _Training:
        """The directions are principal components of about a thousand of the pictures, evenly spaced."""
        subset = np.sort(rows)[:: max(1, len(rows) // 1024)][:1024]
        windows = torch.cat([_window(pictures, VIEWS[0]) for pictures in _read(source, subset)]).double()
        mean = windows.mean(0)
        # Eigenvectors of the smaller of XᵀX and XXᵀ: seconds faster than a singular value decomposition of X.
        x = windows - mean
        if x.shape[1] <= len(x):
            directions = torch.linalg.eigh(x.T @ x).eigenvectors.flip(1)[:, :_DIRECTIONS]
        else:
            directions = torch.linalg.qr(x.T @ torch.linalg.eigh(x @ x.T).eigenvectors.flip(1)[:, :_DIRECTIONS]).Q
        return cls(source, rows, mean.float(), directions.float())

    def project(self, windows: Tensor) -> Tensor:
        """[n, D] -> [n, r]"""
        return (windows - self.mean) @ self.directions

    def columns(self) -> Iterator[tuple[int, Tensor]]:
        """For one batch of pictures after another: the number of its first, and columns (p, 1, |p|²) [r + 2, n]."""
        for part in batches_of(len(self.rows), _TRAIN):
            p = torch.cat([self.project(_window(images, VIEWS[0])) for images in _read(self.source, self.rows[part])])
            square = p.square().sum(1, keepdim=True)
            yield part.start, torch.cat((p, torch.ones_like(square), square), 1).T.contiguous()


def _candidates(pictures: Source, which: NDArray[np.int64], train: _Training) -> NDArray[np.int64]:
    """[M, 32]: positions in `train.rows` of the nearest pictures by projection, each in its best view."""
    # |q − p|² as one product: (−2q, |q|², 1)·(p, 1, |p|²).
    pieces = [torch.stack([train.project(_window(images, view)) for view in VIEWS]) for images in _read(pictures, which)]
    projected = torch.cat(pieces, 1)
    squares = projected.square().sum(2, keepdim=True)
    queries = torch.cat((-2 * projected, squares, torch.ones_like(squares)), 2)
    size = min(_CANDIDATES, len(train.rows))
    best = torch.full((len(which), size), torch.inf)
    position = torch.zeros(len(which), size, dtype=torch.int64)
    for first, points in train.columns():
        for part in batches_of(len(which), _ROWS):
            distance = torch.empty(part.stop - part.start, points.shape[1])
            for columns in batches_of(points.shape[1], _COLUMNS):
                block, minimum = points[:, columns], distance[:, columns]
                minimum.copy_(queries[0, part] @ block)
                for view in range(1, len(VIEWS)):
                    torch.minimum(minimum, queries[view, part] @ block, out=minimum)
            near = distance.topk(min(size, distance.shape[1]), largest=False)
            values = torch.cat((best[part], near.values), 1)
            positions = torch.cat((position[part], near.indices + first), 1)
            smallest = values.topk(size, largest=False)
            best[part], position[part] = smallest.values, positions.gather(1, smallest.indices)
    return position.numpy()


def _measure(
    pictures: Source, which: NDArray[np.int64], train: _Training, positions: NDArray[np.int64], count: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Distance, row and view [M, count] of the nearest of the candidates at `positions` [M, k]."""
    distances, indices, views = [], [], []
    for part in batches_of(len(which), 32):
        candidates = train.rows[positions[part]]
        windows = torch.cat([_window(images, VIEWS[0]) for images in _read(train.source, candidates.reshape(-1))])
        of_train = windows.double().view(*candidates.shape, -1)
        stacked = [torch.stack([_window(images, view) for view in VIEWS], 1) for images in _read(pictures, which[part])]
        of_pictures = torch.cat(stacked).double()
        # Integers below 2^53 where nothing was shrunk: the products are exact, and so is the difference of their sums.
        squares = of_pictures.square().sum(2)[:, :, None] + of_train.square().sum(2)[:, None] - 2 * of_pictures @ of_train.mT
        best = squares.clamp_min(0).min(1)
        order = best.values.sort(stable=True, dim=1).indices[:, :count]
        distances.append((best.values.gather(1, order) / of_pictures.shape[2]).sqrt() / 255)
        indices.append(torch.from_numpy(candidates).gather(1, order))
        views.append(best.indices.gather(1, order))
    return torch.cat(distances), torch.cat(indices), torch.cat(views)

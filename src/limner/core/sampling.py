"""Draws from a Method in passes of one fixed size, so that the bits of an image do not depend on the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from limner.core.capabilities import Latents
from limner.core.cond import Cond
from limner.core.method import Method
from limner.core.precision import exact


def generate(method: Method, seeds: Sequence[int], cond: Cond | None = None, **knobs: Any) -> Tensor:
    """[len(seeds), C, H, W] in [-1, 1], in passes of exactly `method.chunk` images; the last one is padded and cut.

    A convolution may round differently in a batch of another size: with one size for all, an image's bits are its own.
    """
    rows: list[Tensor] = []
    with exact(method.device.type):
        for start in range(0, len(seeds), method.chunk):
            padded = _seeds(seeds, start, method.chunk)
            rows.append(method.sample(padded, _rows(cond, start, method.chunk), **knobs)[: len(seeds) - start])
    return torch.cat(rows)


def latents_of(method: Method, seeds: Sequence[int]) -> Tensor:
    """[len(seeds), dim]: what `generate` decodes, to the bit. The method must have `Latents`."""
    assert isinstance(method, Latents)
    starts = range(0, len(seeds), method.chunk)
    with exact(method.device.type):
        return torch.cat([method.latents(_seeds(seeds, s, method.chunk))[: len(seeds) - s] for s in starts])


def render(method: Method, latents: Tensor, cond: Cond | None = None) -> Tensor:
    """[N, dim] -> [N, C, H, W] in [-1, 1], in the same passes as `generate`: the latents of a seed give its very bits."""
    assert isinstance(method, Latents)
    rows: list[Tensor] = []
    with exact(method.device.type):
        for start in range(0, len(latents), method.chunk):
            padded = _cut(latents, start, method.chunk)
            rows.append(method.picture(padded, _rows(cond, start, method.chunk))[: len(latents) - start])
    return torch.cat(rows)


def _seeds(seeds: Sequence[int], start: int, size: int) -> list[int]:
    part = list(seeds[start : start + size])
    return part + part[-1:] * (size - len(part))


def _cut(rows: Tensor, start: int, size: int) -> Tensor:
    part = rows[start : start + size]
    return torch.cat([part, part[-1:].expand(size - len(part), *part.shape[1:])])


def _rows(cond: Cond | None, start: int, size: int) -> Cond:
    """Rows start … start+size-1 of every door that is open, the last row repeated where there are too few."""
    if cond is None:
        return Cond()
    return Cond(*(None if rows is None else _cut(rows, start, size) for rows in (cond.label, cond.text, cond.image)))

"""Draws from a Method in passes of one fixed size, so that the bits of an image do not depend on the others."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from limner.core.capabilities import LatentDecoder
from limner.core.cond import Cond
from limner.core.config import Sampling
from limner.core.extensions import attribute_errors, result_error
from limner.core.method import Method
from limner.core.passes import fixed_passes
from limner.core.precision import exact


def generate(method: Method, seeds: Sequence[int], cond: Cond | None = None, sampling: Sampling | None = None) -> Tensor:
    """[len(seeds), C, H, W] in [-1, 1], in passes of exactly `method.chunk` images (`limner.core.passes`).

    `sampling` is the family's own; None is its defaults.
    """
    settings = method.sampling_type() if sampling is None else sampling
    images: list[Tensor] = []
    with exact(method.device.type):
        for rows, count in fixed_passes(len(seeds), method.chunk):
            images.append(_sample(method, _at(seeds, rows), (cond or Cond()).rows(rows), settings)[:count])
    return torch.cat(images)


def _sample(method: Method, seeds: Sequence[int], cond: Cond, settings: Sampling) -> Tensor:
    """`Method.sample`. Errors: `PackageError` where a method of others fails, or gives no pictures for so many seeds."""
    what, kind = f"the method {type(method).__name__}", type(method)
    with attribute_errors(what, kind):
        images: object = method.sample(seeds, cond, settings)
    if not isinstance(images, Tensor) or images.shape[:1] != (len(seeds),):
        shape = list(images.shape) if isinstance(images, Tensor) else images
        raise result_error(what, kind, shape, f"pictures [{len(seeds)}, C, H, W] for {len(seeds)} seeds")
    return images


def latents_of(method: Method, seeds: Sequence[int]) -> Tensor:
    """[len(seeds), dim]: what `generate` decodes, to the bit. The method must have `LatentDecoder`."""
    assert isinstance(method, LatentDecoder)
    with exact(method.device.type):
        passes = fixed_passes(len(seeds), method.chunk)
        return torch.cat([method.latents(_at(seeds, rows))[:count] for rows, count in passes])


def render(method: Method, latents: Tensor, cond: Cond | None = None) -> Tensor:
    """[N, dim] -> [N, C, H, W] in [-1, 1], in the same passes as `generate`: the latents of a seed give its very bits.

    Differentiable in `latents` and in the weights, where these require gradients.
    """
    assert isinstance(method, LatentDecoder)
    images: list[Tensor] = []
    needs_gradients = requires_gradients(method, latents)
    with exact(method.device.type), torch.set_grad_enabled(needs_gradients):
        for rows, count in fixed_passes(len(latents), method.chunk, latents.device):
            images.append(method.picture(latents[rows], (cond or Cond()).rows(rows))[:count])
    return torch.cat(images)


def requires_gradients(method: Method, x: Tensor) -> bool:
    """Whether the caller wants gradients with respect to `x` or to weights of `method`: one of them requires them, and the
    caller has not switched them off."""
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (x, *method.parameters()))


def _at(seeds: Sequence[int], rows: Tensor) -> list[int]:
    return [seeds[row] for row in rows.tolist()]

"""The latents of a given picture: how a generator without an encoder reconstructs.

Latents are found by gradient descent from several starts, and optionally from the guess of an encoder that was trained on the
generator's own pictures (Zhu et al. 2016, "Generative Visual Manipulation on the Natural Image Manifold", arXiv:1609.03552).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from limner.core.capabilities import LatentDecoder
from limner.core.cond import Cond
from limner.core.errors import InputError
from limner.core.images import batches_of, to_tensor, to_uint8
from limner.core.method import Method
from limner.core.passes import fixed_passes
from limner.core.progress import OnProgress, Progress, silent
from limner.core.sampling import latents_of, render
from limner.core.seeds import fold, preserve_generators, seed_all
from limner.nets.convae import ConvEncoder, ConvSize
from limner.runs.model import Loaded

RATE = 0.2
"""Adam's first step in latents; it falls to nothing along a cosine."""
BETAS = (0.9, 0.9)
"""A short memory of the squared gradient: 2.6 dB better than (.9, .99) on a DCGAN's own pictures at 300 steps."""
CANDIDATES = 512
"""So many of the model's own pictures, and at least eight of every class, are looked through for starts."""
MOST_CLASSES = 32
"""So many classes, the nearest ones, get a start of their own where the class is to be found."""
COARSE = 32
"""Pixels to which a side is pooled, about, for the choice of starts."""
ENCODER_STEPS, ENCODER_BATCH = 400, 64


@dataclass(frozen=True)
class Search:
    """How latents are looked for."""

    starts: int = 8
    """Latents that a picture's search starts from."""
    steps: int = 300
    """Of gradient descent, for the latents that go all the way."""
    encoder: bool = False
    """Whether an encoder is trained first, whose guess is one more start."""
    seed: int = 0
    label: str | None = None
    """The class of every picture; None: it is looked for too, where the model knows classes."""


DEFAULT_SEARCH = Search()


@dataclass(frozen=True)
class Inversion:
    """What was found for N pictures."""

    latents: NDArray[np.float32]
    """[N, dim]"""
    labels: NDArray[np.int64] | None
    """[N]; None where the model knows no classes."""
    pictures: NDArray[np.uint8]
    """[N, H, W, C]: what the latents give."""
    errors: NDArray[np.float64]
    """[N]: mean squared error between the pictures, on [-1, 1]."""


def invert(
    model: Loaded, images: NDArray[np.uint8], search: Search = DEFAULT_SEARCH, on_progress: OnProgress = silent
) -> Inversion:
    """Finds the latents whose pictures are nearest to `images` [N, H, W, C] uint8; each for itself, whatever stands beside it.

    The starts of a picture are the latents of the `starts` pictures nearest to it among many of the model's own. Adam moves
    them down the squared error for a third of `steps`; then the best quarter goes on, and at last the best one alone. With
    classes and no `label` the nearest classes get a start each, and the one that comes nearest in pixels wins, which need not
    be the one a person would name. `encoder` trains an encoder first, whose guess is one more start. `on_progress` counts
    pictures.

    Errors: `InputError` where the method has no latents, where it does not know `label`, and for pictures of another shape.
    """
    method = model.method
    if not isinstance(method, LatentDecoder):
        raise InputError(f"{model.run.path} ({model.recipe.preset}) has no latents to look for, so it cannot be inverted")
    if not 1 <= search.starts <= CANDIDATES or search.steps < 1:
        raise InputError(
            f"inversion takes 1 to {CANDIDATES} starts and at least 1 step, not {search.starts} and {search.steps}"
        )
    if images.shape[1:] != model.shape:
        raise InputError(f"pictures of {model.run.path} have the shape {model.shape}, not {tuple(images.shape[1:])}")
    if not len(images):
        return Inversion(latents_of(method, [0])[:0].cpu().numpy(), None, images, np.empty(0))
    choice = model.class_of(search.label)
    every_class: Sequence[int] = range(len(model.recipe.data.classes)) if "label" in method.accepts else ()
    classes = every_class if choice is None else [choice]
    target = to_tensor(images, method.device)
    z, labels = _starts(method, classes, target, max(search.starts, min(len(classes), MOST_CLASSES)), search.seed)
    if search.encoder:
        guess, guessed = _guess(method, classes, target, search.seed)
        z = torch.cat([z, guess[:, None]], 1)
        labels = None if labels is None or guessed is None else torch.cat([labels, guessed[:, None]], 1)
    z, labels = _descend(method, z, labels, target, search.steps, on_progress)
    back = to_uint8(render(method, z, Cond(label=labels)))
    errors = np.square((back.astype(np.float64) - images) * (2 / 255)).mean((1, 2, 3))
    return Inversion(z.cpu().numpy(), None if labels is None else labels.cpu().numpy(), back, errors)


def pyramid(images: Tensor) -> Tensor:
    """[B, C, H, W] -> [B, F], such that |a − b|² is the mean of the mean squared errors at full, half, quarter … size.

    The coarse sizes see what is alike where single pixels do not match. They choose the starts; on the way down they only slow
    (measured: 3 dB at 300 steps).
    """
    levels = [images]
    while min(levels[-1].shape[2:]) >= 4:
        levels.append(F.avg_pool2d(levels[-1], 2))
    return torch.cat([level.flatten(1) / math.sqrt(level[0].numel() * len(levels)) for level in levels], 1)


def off_the_shell(z: Tensor) -> Tensor:
    """[B]: a small penalty where |z|² is over two standard deviations off what a standard normal z has, dim ± √(2·dim)."""
    dim = z.shape[1]
    away = (z.square().sum(1) - dim).abs() / math.sqrt(2 * dim)
    return 1e-3 * F.relu(away - 2).square()


def _starts(method: Method, classes: Sequence[int], target: Tensor, starts: int, seed: int) -> tuple[Tensor, Tensor | None]:
    """Latents [N, starts, dim] and labels [N, starts] of the nearest of the model's own pictures, each class's best first."""
    count = max(CANDIDATES, 8 * len(classes))
    z = latents_of(method, [fold("invert", seed, number) for number in range(count)])
    labels = torch.tensor(classes, device=z.device)[torch.arange(count) % len(classes)] if classes else None
    made = []
    for part in batches_of(count, method.chunk):
        made.append(_coarse(render(method, z[part], Cond(label=None if labels is None else labels[part]))))
    rows = []
    for part in batches_of(len(target), 64):
        # Without matrix products: the distance of two pictures must not depend on which others there are.
        distance = torch.cdist(_coarse(target[part]), torch.cat(made), compute_mode="donot_use_mm_for_euclid_dist")
        order = distance.argsort(dim=1, stable=True)
        if labels is not None:
            order = torch.stack([row[_first_of_each(labels[row])] for row in order])
        rows.append(order[:, :starts])
    chosen = torch.cat(rows)
    return z[chosen], None if labels is None else labels[chosen]


def _coarse(images: Tensor) -> Tensor:
    return pyramid(F.avg_pool2d(images, max(1, min(images.shape[2:]) // COARSE)))


def _first_of_each(labels: Tensor) -> Tensor:
    """[M] labels, best first -> the order [M] in which the best of every class stands before all others."""
    place = torch.arange(len(labels), device=labels.device)
    first = torch.full((int(labels.max()) + 1,), len(labels), device=labels.device).scatter_reduce(0, labels, place, "amin")
    return (place + len(labels) * (first[labels] != place)).argsort()


def _descend(
    method: Method, z: Tensor, labels: Tensor | None, target: Tensor, steps: int, on_progress: OnProgress
) -> tuple[Tensor, Tensor | None]:
    """[N, starts, dim] and [N, starts] -> the best latents [N, dim] and their labels [N]."""
    rates = [RATE * (0.5 + 0.5 * math.cos(math.pi * step / steps)) for step in range(steps)]
    count, starts, dim = z.shape
    for third, keep in enumerate((-(-starts // 4), 1, 1)):
        part = rates[steps * third // 3 : steps * (third + 1) // 3]
        owners = torch.arange(count, device=z.device).repeat_interleave(z.shape[1])
        flat, flat_labels = z.flatten(0, 1), None if labels is None else labels.flatten()
        moved, errors = [], []
        for rows, real in fixed_passes(len(flat), _pass_size(z.device), z.device):
            cond = Cond(label=None if flat_labels is None else flat_labels[rows])
            there, error = _move(method, flat[rows], cond, target[owners[rows]], part)
            moved.append(there[:real])
            errors.append(error[:real])
            on_progress(Progress("searching", int(count * (third + (int(rows[-1]) + 1) / len(flat)) / 3), count))
        best = torch.cat(errors).view(count, -1).argsort(dim=1, stable=True)[:, :keep]
        z = torch.cat(moved).view(count, -1, dim).take_along_dim(best[..., None], 1)
        labels = None if labels is None else labels.take_along_dim(best, 1)
    return z[:, 0], None if labels is None else labels[:, 0]


def _pass_size(device: torch.device) -> int:
    """Latents that move together: eight fill a CPU, and memory is bounded."""
    return 8 if device.type == "cpu" else 64


def _move(method: Method, z: Tensor, cond: Cond, target: Tensor, rates: Sequence[float]) -> tuple[Tensor, Tensor]:
    """One step of Adam per rate: latents [B, dim] -> the moved ones, and the mean squared error [B] of their pictures."""
    assert isinstance(method, LatentDecoder)

    def error(z: Tensor) -> Tensor:
        return (method.picture(z, cond).float() - target).square().flatten(1).mean(1)

    z = z.clone().requires_grad_(True)
    adam = torch.optim.Adam([z], betas=BETAS)
    for rate in rates:
        loss = error(z) + off_the_shell(z) if method.gaussian else error(z)
        (z.grad,) = torch.autograd.grad(loss.sum(), z)
        adam.param_groups[0]["lr"] = rate
        adam.step()
    with torch.no_grad():
        return z.detach(), error(z)


def _guess(method: Method, classes: Sequence[int], target: Tensor, seed: int) -> tuple[Tensor, Tensor | None]:
    """Latents [N, dim] and labels [N] as a small encoder sees them that was trained on pictures the method made itself."""
    assert isinstance(method, LatentDecoder)
    device, dim = target.device, method.latents([0]).shape[1]
    shape = (target.shape[1], target.shape[2], target.shape[3])
    with preserve_generators(device):
        seed_all("encoder", seed)
        encoder = ConvEncoder(shape, dim + len(classes), ConvSize(width=32, widest=128, blocks=1)).to(device)
    adam = torch.optim.Adam(encoder.parameters(), betas=(0.9, 0.99))
    numbers = torch.tensor(classes, device=device)
    places = torch.arange(ENCODER_BATCH, device=device) % max(1, len(classes))
    for step in range(ENCODER_STEPS):
        z = latents_of(method, [fold("encoder", seed, step, row) for row in range(ENCODER_BATCH)])
        images = render(method, z, Cond(label=numbers[places] if classes else None))
        guess, logits = encoder(images).split([dim, len(classes)], 1)
        loss = (guess - z).square().mean()
        if classes:
            loss = loss + F.cross_entropy(logits, places)
        adam.param_groups[0]["lr"] = 2e-3 * (0.5 + 0.5 * math.cos(math.pi * step / ENCODER_STEPS))
        adam.zero_grad()
        loss.backward()
        adam.step()
    with torch.no_grad():
        seen = torch.cat([encoder(target[rows])[:real] for rows, real in fixed_passes(len(target), _pass_size(device), device)])
    return seen[:, :dim], numbers[seen[:, dim:].argmax(1)] if classes else None

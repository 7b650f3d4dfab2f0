"""Inversion of a generator: finds latents that it decodes to a given picture, for models that have no encoder.

Latents are optimised by gradient descent from several starts. One more start may be the prediction of an encoder that is
trained on the generator's own samples (Zhu et al. 2016, "Generative Visual Manipulation on the Natural Image Manifold",
arXiv:1609.03552).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from limner.core.capabilities import LatentDecoder
from limner.core.cond import Cond
from limner.core.errors import InputError
from limner.core.images import batches_of, to_tensor, to_uint8
from limner.core.invocation import option
from limner.core.method import Method
from limner.core.passes import fixed_passes
from limner.core.progress import OnProgress, Progress, silent
from limner.core.sampling import latents_of, render
from limner.core.seeds import fold, preserve_generators, seed_all
from limner.nets.convae import ConvEncoder, ConvSize
from limner.runs.model import Loaded
from limner.runs.model_inputs import check_images

LEARNING_RATE = 0.2
"""Of Adam on latents at the first step; it falls to zero along a cosine."""
BETAS = (0.9, 0.9)
"""Adam's decay rates. The second moment is averaged over few steps: 2.6 dB better than (0.9, 0.99) on samples of a DCGAN after
300 steps."""
CANDIDATES = 512
"""Samples of the model among which starts are chosen; more where that is fewer than eight of each class."""
MAX_CLASS_STARTS = 32
"""Where the class of a picture is not specified, so many of the most similar classes get a start of their own."""
POOLED_SIDE = 32
"""Approximate side in pixels to which pictures are pooled before starts are chosen by distance."""
ENCODER_STEPS, ENCODER_BATCH = 400, 64
"""Training of the encoder: optimiser steps, and samples in each."""


@dataclass(frozen=True)
class Search:
    """Settings of the search for latents."""

    starts: int = 8
    """Latents from which the search for each picture starts."""
    steps: int = 300
    """Steps of gradient descent; after a third of them only the best quarter of the starts goes on, after two thirds the
    best."""
    encoder: bool = False
    """Whether an encoder is trained first, whose prediction is one more start."""
    seed: int = 0
    """Decides the candidates for starts, and the training of the encoder."""
    requested: Cond = field(default_factory=Cond)
    """The conditions of every picture, as one row (`Loaded.request`). Where the model has classes and none is requested, the
    class is searched for too."""


DEFAULT_SEARCH = Search()


@dataclass(frozen=True)
class Inversion:
    """The result of the search for N pictures."""

    latents: NDArray[np.float32]
    """[N, dim]"""
    cond: Cond
    """Of the N pictures, each with the class that was requested or found."""
    pictures: NDArray[np.uint8]
    """[N, H, W, C]: what the model decodes `latents` to."""
    errors: NDArray[np.float64]
    """[N]: mean squared error between these and the pictures to be inverted, of pixels in [-1, 1]."""

    @property
    def labels(self) -> NDArray[np.int64] | None:
        """[N]: numbers of the classes; None where the model has no classes."""
        return None if self.cond.label is None else self.cond.label.cpu().numpy()


def invert(
    model: Loaded, images: NDArray[np.uint8], search: Search = DEFAULT_SEARCH, on_progress: OnProgress = silent
) -> Inversion:
    """Finds latents that the model decodes to pictures near `images` [N, H, W, C] uint8, by mean squared error.

    A result does not depend on which other pictures are inverted with it. The search starts from the latents of those samples,
    among `CANDIDATES`, that are nearest to the picture. Adam minimises the squared error of all starts for a third of
    `search.steps`, of the best quarter for another third, and of the best one for the rest. Where the model has classes and
    none is requested, each of the most similar classes gets a start, and the class with the smallest error wins, which is
    not always the class that a person would name. `on_progress` counts pictures.

    Errors: `InputError` where the model draws from no vector of latents, where it draws from a caption
    and none is requested, where `search` is out of range, and for pictures of another shape than the model's.
    """
    method = model.method
    if not isinstance(method, LatentDecoder):
        raise InputError(f"{model.run.path} ({model.recipe.preset}) has no latents to search for, so it cannot be inverted")
    if not 1 <= search.starts <= CANDIDATES or search.steps < 1:
        raise InputError(
            f"inversion takes 1 to {CANDIDATES} starts and at least 1 step, not {search.starts} and {search.steps}"
        )
    check_images(images, model.shape, model.run.path)
    if not len(images):
        return Inversion(latents_of(method, [0])[:0].cpu().numpy(), Cond(), images, np.empty(0))
    requested = search.requested
    if "text" in method.accepts and requested.text is None:
        raise InputError(f"{model.run.path} draws from a caption; say what the pictures show with {option('text')}")
    every_class: Sequence[int] = range(len(model.recipe.data.classes)) if "label" in method.accepts else ()
    classes = every_class if requested.label is None else requested.label.tolist()
    target = to_tensor(images, method.device)
    count = max(search.starts, min(len(classes), MAX_CLASS_STARTS))
    z, labels = _starts(method, classes, requested, target, count, search.seed)
    if search.encoder:
        predicted_z, predicted_labels = _predict_latents(method, classes, requested, target, search.seed)
        z = torch.cat([z, predicted_z[:, None]], 1)
        if labels is not None and predicted_labels is not None:
            labels = torch.cat([labels, predicted_labels[:, None]], 1)
    z, labels = _descend(method, z, labels, requested, target, search.steps, on_progress)
    cond = _with_labels(requested, labels, len(z))
    pictures = to_uint8(render(method, z, cond))
    errors = np.square((pictures.astype(np.float64) - images) * (2 / 255)).mean((1, 2, 3))
    return Inversion(z.cpu().numpy(), cond, pictures, errors)


def pyramid(images: Tensor) -> Tensor:
    """[B, C, H, W] -> [B, F], such that |a − b|² is the mean of the mean squared errors at full, half, quarter … size.

    At small sizes pictures are similar that show the same thing a few pixels apart. So this distance chooses the starts. As the
    loss of the descent it is worse than plain squared error: by 3 dB after 300 steps.
    """
    levels = [images]
    while min(levels[-1].shape[2:]) >= 4:
        levels.append(F.avg_pool2d(levels[-1], 2))
    return torch.cat([level.flatten(1) / math.sqrt(level[0].numel() * len(levels)) for level in levels], 1)


def shell_penalty(z: Tensor) -> Tensor:
    """[B, dim] -> [B]: a small penalty on vectors much longer or shorter than draws of a standard normal.

    Of such draws |z|² has mean dim and standard deviation √(2·dim); the penalty begins at two standard deviations.
    """
    dim = z.shape[1]
    deviations = (z.square().sum(1) - dim).abs() / math.sqrt(2 * dim)
    return 1e-3 * F.relu(deviations - 2).square()


def _with_labels(requested: Cond, labels: Tensor | None, count: int) -> Cond:
    """The requested conditions of `count` pictures, with these `labels` [count]."""
    return replace(requested.repeat(count), label=labels)


# Many parameters: what is searched for, and under which conditions.
def _starts(
    method: Method, classes: Sequence[int], requested: Cond, target: Tensor, starts: int, seed: int
) -> tuple[Tensor, Tensor | None]:
    """Latents [N, starts, dim] and labels [N, starts] of the samples nearest to each of `target` [N, C, H, W].

    The nearest sample of every class stands before the second nearest of any. Labels are None where `classes` is empty.
    """
    count = max(CANDIDATES, 8 * len(classes))
    z = latents_of(method, [fold("invert", seed, number) for number in range(count)])
    labels = torch.tensor(classes, device=z.device)[torch.arange(count) % len(classes)] if classes else None
    samples = []
    for part in batches_of(count, method.chunk):
        some = z[part]
        cond = _with_labels(requested, None if labels is None else labels[part], len(some))
        samples.append(_pooled_pyramid(render(method, some, cond)))
    rows = []
    for part in batches_of(len(target), 64):
        # Without matrix products, whose rounding depends on the batch: a picture's result must not depend on the others.
        distance = torch.cdist(_pooled_pyramid(target[part]), torch.cat(samples), compute_mode="donot_use_mm_for_euclid_dist")
        order = distance.argsort(dim=1, stable=True)
        if labels is not None:
            order = torch.stack([row[_first_of_each(labels[row])] for row in order])
        rows.append(order[:, :starts])
    nearest = torch.cat(rows)
    return z[nearest], None if labels is None else labels[nearest]


def _pooled_pyramid(images: Tensor) -> Tensor:
    """`pyramid` of `images` [B, C, H, W] after pooling to sides of about `POOLED_SIDE`, which takes less memory."""
    return pyramid(F.avg_pool2d(images, max(1, min(images.shape[2:]) // POOLED_SIDE)))


def _first_of_each(labels: Tensor) -> Tensor:
    """Labels [M], best first -> the order [M] in which the best of every class stands before all others."""
    place = torch.arange(len(labels), device=labels.device)
    first = torch.full((int(labels.max()) + 1,), len(labels), device=labels.device).scatter_reduce(0, labels, place, "amin")
    return (place + len(labels) * (first[labels] != place)).argsort()


# Many parameters: what is optimised, and under which conditions.
def _descend(
    method: Method, z: Tensor, labels: Tensor | None, requested: Cond, target: Tensor, steps: int, on_progress: OnProgress
) -> tuple[Tensor, Tensor | None]:
    """Optimises latents [N, starts, dim] with labels [N, starts] -> the best latents [N, dim] and their labels [N].

    In three stages of equal length, between which the worse starts of each picture are dropped (see `invert`).
    """
    rates = [LEARNING_RATE * (0.5 + 0.5 * math.cos(math.pi * step / steps)) for step in range(steps)]
    count, starts, dim = z.shape
    for third, keep in enumerate((-(-starts // 4), 1, 1)):
        part = rates[steps * third // 3 : steps * (third + 1) // 3]
        owners = torch.arange(count, device=z.device).repeat_interleave(z.shape[1])
        flat, flat_labels = z.flatten(0, 1), None if labels is None else labels.flatten()
        results, errors = [], []
        for rows, real in fixed_passes(len(flat), _pass_size(z.device), z.device):
            cond = _with_labels(requested, None if flat_labels is None else flat_labels[rows], len(rows))
            result, error = _optimise(method, flat[rows], cond, target[owners[rows]], part)
            results.append(result[:real])
            errors.append(error[:real])
            on_progress(Progress("searching", int(count * (third + (int(rows[-1]) + 1) / len(flat)) / 3), count))
        best = torch.cat(errors).view(count, -1).argsort(dim=1, stable=True)[:, :keep]
        z = torch.cat(results).view(count, -1, dim).take_along_dim(best[..., None], 1)
        labels = None if labels is None else labels.take_along_dim(best, 1)
    return z[:, 0], None if labels is None else labels[:, 0]


def _pass_size(device: torch.device) -> int:
    """Latents that are optimised in one pass: eight keep a CPU busy, and more would only take memory."""
    return 8 if device.type == "cpu" else 64


def _optimise(method: Method, z: Tensor, cond: Cond, target: Tensor, rates: Sequence[float]) -> tuple[Tensor, Tensor]:
    """One step of Adam with each of `rates`: latents [B, dim] -> new ones, and the squared error [B] of their pictures."""
    assert isinstance(method, LatentDecoder)

    def error(z: Tensor) -> Tensor:
        return (method.picture(z, cond).float() - target).square().flatten(1).mean(1)

    z = z.clone().requires_grad_(True)
    adam = torch.optim.Adam([z], betas=BETAS)
    for rate in rates:
        loss = error(z) + shell_penalty(z) if method.gaussian else error(z)
        (z.grad,) = torch.autograd.grad(loss.sum(), z)
        adam.param_groups[0]["lr"] = rate
        adam.step()
    with torch.no_grad():
        return z.detach(), error(z)


def _predict_latents(
    method: Method, classes: Sequence[int], requested: Cond, target: Tensor, seed: int
) -> tuple[Tensor, Tensor | None]:
    """Latents [N, dim] and labels [N] of `target` [N, C, H, W], predicted by a small encoder that is trained on samples.

    Labels are None where `classes` is empty.
    """
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
        images = render(method, z, _with_labels(requested, numbers[places] if classes else None, len(z)))
        prediction, logits = encoder(images).split([dim, len(classes)], 1)
        loss = (prediction - z).square().mean()
        if classes:
            loss = loss + F.cross_entropy(logits, places)
        adam.param_groups[0]["lr"] = 2e-3 * (0.5 + 0.5 * math.cos(math.pi * step / ENCODER_STEPS))
        adam.zero_grad()
        loss.backward()
        adam.step()
    with torch.no_grad():
        passes = fixed_passes(len(target), _pass_size(device), device)
        output = torch.cat([encoder(target[rows])[:real] for rows, real in passes])
    return output[:, :dim], numbers[output[:, dim:].argmax(1)] if classes else None

"""How a judge is trained: in a minute or a few, on the CPU, from one seed.

With labels it learns to classify, by the method of Jordan, "94% on CIFAR-10 in 3.29 seconds" (2024, section 3): a fixed first
layer that whitens, stochastic gradient descent with Nesterov's momentum, biases that learn 64 times as fast, a rate that rises
and falls in straight lines, and strong label smoothing. Without labels it learns to distinguish pictures, by windows of the
same picture against windows of others (SimCLR, Chen et al. 2020, equation 1). The windows are crops, never resampled, blurred
or recoloured, so that the features stay sensitive to all of those. A judge always trains on the CPU, so that it does not depend
on the device that judges; the same machine and number of threads give the same weights to the bit.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from limner.core import precision
from limner.core.config import Precision
from limner.core.errors import InputError
from limner.core.images import batches_of
from limner.core.precision import exact
from limner.core.progress import OnProgress, Progress, silent
from limner.core.seeds import fold, order, preserve_generators
from limner.metrics.features.judge import TOTAL_VARIANCE, WORKING_SIDE, Judge, JudgeCard
from limner.metrics.features.judge_networks import EMBEDDING, SecondJudgeNet
from limner.metrics.features.pixels import Source, preprocess, take, work_size
from limner.metrics.stats.threads import one_thread

MAX_IMAGES = 65_536
"""Images that are held in memory at working size; of more, a seeded choice."""
PASSES = 25
"""Epochs, within the two bounds that follow."""
MIN_IMAGES_SEEN, MAX_IMAGES_SEEN = 6_000, 120_000
"""Images of a training, repeats counted."""
BATCH, PAIRS = 256, 128
"""Images in a batch with labels, and pairs of windows in one without."""
TEMPERATURE = 0.2
LABEL_SMOOTHING = 0.2
NOISE, BLUR = 10.0, 0.5
"""The largest standard deviations, of 255 and in pixels, of the noise and the blur of pictures in training: people hardly see
them, and a judge must not see more."""
WHITENING_FLOOR = 0.2
"""What is added to the variance of each component of a patch before that is scaled to 1, as a share of their mean: with less,
fine noise that people hardly see would be made larger than all else."""
RATE, MOMENTUM, WEIGHT_DECAY, BIAS_RATE = 1.5e-3, 0.85, 2e-6, 64.0
"""Of the descent: the step for the gradient of the sum of losses at its peak; the decay of the weights, per image of a batch;
the rate of the normalisations' biases, as a multiple of the others'."""
RATE_AT_START, RATE_PEAK_AT, RATE_AT_END = 0.2, 0.23, 0.07
"""The rate at first and at last, as shares of its peak, and the share of the training at which it peaks."""
PROGRESS_SECONDS = 0.5
"""Time between two progress events."""
_ONE_THREAD_PIXELS = 16 * 16  # of a picture, up to which one thread trains
_CALIBRATION = 4096  # images that set the scale of the features
_WHITENING = 1024  # images that set the first layer


# Many parameters: arrays that come from two splits of a set; a class to hold them would only be taken apart again.
def train_judge(
    images: Source,
    indices: NDArray[np.int64] | None,
    labels: NDArray[np.int64] | None,
    classes: int,
    seed: int,
    held_out: tuple[Source, NDArray[np.int64]] | None = None,
    fingerprint: str = "",
    on_progress: OnProgress = silent,
    images_seen: int | None = None,
) -> Judge:
    """A judge trained on the images at `indices` (all, where None) of `images` [N, H, W, C] uint8.

    `labels` [N] belong to `images`, not to `indices`; −1 is "no label", and such images are left out where others have one.
    With fewer than two classes among them the judge is trained without labels. `held_out` only measures its accuracy.
    `on_progress` hears how far the training is. `images_seen` counts repeats; where it is None, `PASSES` decides. Errors:
    `InputError` for fewer than two images, or labels that do not fit.
    """
    rows = np.arange(images.shape[0], dtype=np.int64) if indices is None else np.asarray(indices, dtype=np.int64)
    targets = None if labels is None else np.asarray(labels, dtype=np.int64)
    if targets is not None:
        if len(targets) != images.shape[0] or (len(targets) and int(targets.max()) >= classes):
            raise InputError(f"a judge needs one label below {classes} for each of the {images.shape[0]} images")
        labelled = rows[targets[rows] >= 0]
        targets, rows = (targets, labelled) if len(np.unique(targets[labelled])) >= 2 else (None, rows)
    if len(rows) < 2:
        raise InputError(f"a judge cannot be trained on {len(rows)} images; at least two are needed")
    if len(rows) > MAX_IMAGES:
        rows = np.sort(np.random.default_rng(fold(seed, "judge rows")).choice(rows, MAX_IMAGES, replace=False))
    height, width, channels = (int(size) for size in images.shape[1:])
    work = work_size(height, width, WORKING_SIDE)
    pixels = _resized(images, rows, work)
    images_seen = images_seen or min(max(PASSES * len(rows), MIN_IMAGES_SEEN), MAX_IMAGES_SEEN)
    how = precision.choose(torch.device("cpu"))
    with (
        one_thread(work[0] * work[1] <= _ONE_THREAD_PIXELS),
        precision.own_modes(),
        preserve_generators(torch.device("cpu")),
    ):
        torch.manual_seed(fold(seed, "judge weights"))
        net = SecondJudgeNet(channels, work, classes if targets is not None else 0, norm=True)
        _set_whitening(net, pixels)
        net.train()
        if targets is not None:
            _fit(net, _classification(net, pixels, torch.from_numpy(targets[rows]), seed), images_seen, BATCH, how, on_progress)
        else:
            head = nn.Sequential(nn.GELU(), nn.Linear(EMBEDDING, 64))
            images_seen //= 2  # every picture is looked at twice
            _fit(nn.ModuleList([net, head]), _contrast(net, head, pixels, seed), images_seen, PAIRS, how, on_progress)
        weights = _calibrate(net, pixels)
    shape = (height, width, channels)
    card = JudgeCard(shape, work, classes if targets is not None else 0, seed, fingerprint, len(rows), images_seen, how)
    judge = Judge(card, weights)
    if held_out is not None and targets is not None:
        judge = Judge(replace(card, held_out_accuracy=accuracy(judge, *held_out)), judge.weights)
    return judge


def accuracy(judge: Judge, images: Source, labels: NDArray[np.int64]) -> float:
    """Share of the labelled `images` [N, H, W, C] whose label [N] the judge predicts; −1 is "no label"."""
    logits = judge.logits(images)
    if logits is None:
        raise ValueError("this judge was trained without labels")
    right: NDArray[np.bool_] = (logits.argmax(1).numpy() == labels)[labels >= 0]
    return float(right.mean()) if len(right) else 0.0


def _resized(images: Source, rows: NDArray[np.int64], work: tuple[int, int]) -> NDArray[np.uint8]:
    """[n, h, w, C] uint8 at working size: resized once, and not in every epoch."""
    chunks = []
    for part in batches_of(len(rows), 1024):
        chunk = take(images, rows[part])
        if chunk.shape[1:3] != work:
            with exact("cpu"):
                small = preprocess(chunk, work).add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8)
            chunk = small.permute(0, 2, 3, 1).contiguous().numpy()
        chunks.append(chunk)
    return np.concatenate(chunks)


@torch.no_grad()
def _set_whitening(net: SecondJudgeNet, pixels: NDArray[np.uint8]) -> None:
    """Sets the first layer: the principal components of patches of 2×2 pixels, each of unit variance, with both signs."""
    subset = preprocess(pixels[:: max(1, len(pixels) // _WHITENING)][:_WHITENING], pixels.shape[1:3])
    patches = F.unfold(subset, 2).transpose(1, 2).flatten(0, 1).double()
    mean, covariance = patches.mean(0), torch.cov(patches.T, correction=0)
    variances, components = torch.linalg.eigh(covariance)
    floor = WHITENING_FLOOR * variances.mean() + 1e-8  # directions without variance would become noise
    filters = (components / torch.sqrt(variances + floor)).T.flip(0)
    filters = torch.cat((filters, -filters))
    net.whiten.weight.copy_(filters.reshape(net.whiten.weight.shape))
    assert net.whiten.bias is not None
    net.whiten.bias.copy_(-filters @ mean)
    net.whiten.requires_grad_(False)


# Many parameters: what trains, on what, for how long, and whoever hears of it.
def _fit(
    net: nn.Module,
    loss_of: Callable[[int, int], Tensor],
    images_seen: int,
    batch: int,
    how: Precision,
    on_progress: OnProgress,
) -> None:
    """Minimises the sum of losses `loss_of(first, number)` over `images_seen` images."""
    steps = max(1, images_seen // batch)
    weights = [weight for weight in net.parameters() if weight.requires_grad]
    decay = WEIGHT_DECAY * batch
    biases = [module.bias for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    others = [weight for weight in weights if all(weight is not bias for bias in biases)]
    # The decay is per step and not by the rate: each group's rate is divided out.
    groups = [
        {"params": some, "peak": rate, "weight_decay": decay / rate}
        for some, rate in ((biases, RATE * BIAS_RATE), (others, RATE))
    ]
    optimiser = torch.optim.SGD(groups, RATE, MOMENTUM, nesterov=True)
    began = reported = time.monotonic()
    for step in range(steps):
        if time.monotonic() - reported > PROGRESS_SECONDS:
            reported = time.monotonic()
            left = (reported - began) * (steps - step) / step
            on_progress(Progress("training a judge", step * batch, images_seen, left))
        for group in optimiser.param_groups:
            group["lr"] = group["peak"] * _rate(step / steps)
        with precision.autocast(torch.device("cpu"), how):
            loss = loss_of(step * batch, batch)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()


def _rate(progress: float) -> float:
    """The learning rate as a share of its peak at `progress` in 0..1: two straight lines.

    >>> _rate(0.0), _rate(RATE_PEAK_AT), round(_rate(1.0), 3)
    (0.2, 1.0, 0.07)
    """
    if progress < RATE_PEAK_AT:
        return RATE_AT_START + (1 - RATE_AT_START) * progress / RATE_PEAK_AT
    return RATE_AT_END + (1 - RATE_AT_END) * (1 - progress) / (1 - RATE_PEAK_AT)


def _classification(net: SecondJudgeNet, pixels: NDArray[np.uint8], labels: Tensor, seed: int) -> Callable[[int, int], Tensor]:
    """Cross-entropy with label smoothing, summed over pictures that are shifted by up to two pixels.

    They are never mirrored, since a mirrored digit is no digit.
    """
    count, height, width, _ = pixels.shape
    shift = 2 if min(height, width) >= 16 else 1

    def loss(start: int, size: int) -> Tensor:
        rows = order(fold(seed, "judge"), 0, start, size, count)
        shifts = np.random.default_rng(fold(seed, "shift", start)).integers(-shift, shift + 1, (2, size))
        down, right = (
            _reflected(np.arange(side) + some[:, None], side) for side, some in zip((height, width), shifts, strict=True)
        )
        batch = preprocess(pixels[rows[:, None, None], down[:, :, None], right[:, None, :]], (height, width))
        logits = net.logits(net(_perturbed(batch, fold(seed, "perturbation", start))))
        assert logits is not None  # this net has classes
        return F.cross_entropy(logits.float(), labels[torch.from_numpy(rows)], label_smoothing=LABEL_SMOOTHING, reduction="sum")

    return loss


def _perturbed(batch: Tensor, seed: int) -> Tensor:
    """`batch` [n, C, h, w] with blur and white noise, whose standard deviations are drawn for each picture from 0 to `BLUR` and
    to `NOISE`."""
    random = torch.Generator().manual_seed(seed)
    sigma, strength = torch.rand((2, len(batch), 1, 1, 1), generator=random)
    neighbour = torch.exp(-0.5 / (BLUR * sigma).clamp_min(0.05) ** 2)  # of a Gaussian, one pixel from its middle
    weight = neighbour / (1 + 2 * neighbour)
    for padding, axis in (((0, 0, 1, 1), 2), ((1, 1, 0, 0), 3)):
        padded, side = F.pad(batch, padding, mode="replicate"), batch.shape[axis]
        batch = batch + weight * (padded.narrow(axis, 0, side) + padded.narrow(axis, 2, side) - 2 * batch)
    noise = torch.randn(batch.shape, generator=random) * strength * (NOISE / 127.5)
    return torch.add(batch, noise).contiguous(memory_format=torch.channels_last)


def _reflected(places: NDArray[np.int64], side: int) -> NDArray[np.int64]:
    """Places outside 0..side−1 as their mirror images at the edges.

    >>> _reflected(np.array([-2, 0, 4, 5]), 5).tolist()
    [2, 0, 4, 3]
    """
    mirrored: NDArray[np.int64] = (side - 1) - np.abs((side - 1) - np.abs(places))
    return mirrored


def _contrast(net: SecondJudgeNet, head: nn.Module, pixels: NDArray[np.uint8], seed: int) -> Callable[[int, int], Tensor]:
    """NT-Xent between two random windows, of three quarters of each side, of every picture in the batch."""
    count, height, width, _ = pixels.shape
    tall, wide = -(-3 * height // 4), -(-3 * width // 4)

    def window(rows: NDArray[np.int64], random: np.random.Generator) -> Tensor:
        top = random.integers(0, height - tall + 1, len(rows))[:, None] + np.arange(tall)
        left = random.integers(0, width - wide + 1, len(rows))[:, None] + np.arange(wide)
        return preprocess(pixels[rows[:, None, None], top[:, :, None], left[:, None, :]], (tall, wide))

    def loss(start: int, size: int) -> Tensor:
        # Unique: a picture that is twice in a batch would be a negative example of itself.
        rows = np.unique(order(fold(seed, "judge"), 0, start, size, count))
        random = np.random.default_rng(fold(seed, "windows", start))
        embedding = net(_perturbed(torch.cat((window(rows, random), window(rows, random))), fold(seed, "perturbation", start)))
        with torch.autocast("cpu", enabled=False):
            out = F.normalize(head(embedding.float()), dim=1)
            similarity = out @ out.T / TEMPERATURE
            similarity = similarity.masked_fill(torch.eye(len(out), dtype=torch.bool), -torch.inf)
            return F.cross_entropy(similarity, torch.arange(len(out)).roll(len(rows)), reduction="sum") / 2

    return loss


def _calibrate(net: SecondJudgeNet, pixels: NDArray[np.uint8]) -> dict[str, Tensor]:
    """The folded weights with `centre` and `scale`, which give the features the total variance TOTAL_VARIANCE."""
    net.eval()
    step = max(1, len(pixels) // _CALIBRATION)
    subset = pixels[::step][:_CALIBRATION]
    weights = {name: tensor.half().float() for name, tensor in net.folded().items()}  # as its file holds them
    with torch.device("meta"):  # draws no initial weights, which would advance the global random state
        classes = 0 if net.classify is None else net.classify.out_features
        network = SecondJudgeNet(pixels.shape[3], (pixels.shape[1], pixels.shape[2]), classes)
    network.load_state_dict(weights, assign=True)
    network.eval()
    outputs = []
    with exact("cpu"):
        for part in batches_of(len(subset), 512):
            outputs.append(network(preprocess(subset[part], subset.shape[1:3])).double())
    features = torch.cat(outputs)
    # Equal pictures have no variance; any finite scale will do for them.
    scale = (TOTAL_VARIANCE / features.var(0).sum().clamp_min(1e-12)).sqrt().expand(EMBEDDING)
    return weights | {"centre": features.mean(0).float(), "scale": scale.float().contiguous()}

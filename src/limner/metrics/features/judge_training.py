"""How a judge is trained: in seconds, on the CPU, from one seed.

With labels it learns to classify. Without labels it learns to distinguish pictures, by windows of the same picture against
windows of others (SimCLR, Chen et al. 2020, equation 1). The windows are crops, never resampled, blurred or recoloured, so that
the features stay sensitive to all of those. A judge always trains on the CPU, so that it does not depend on the device that
judges; the same machine and number of threads give the same weights to the bit.
"""

from __future__ import annotations

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
from limner.core.seeds import fold, order, preserve_generators
from limner.metrics.features.judge import HALF_VARIANCE, WIDTHS, WORKING_SIDE, Judge, JudgeCard, JudgeNet
from limner.metrics.features.pixels import Source, preprocess, take, work_size
from limner.metrics.stats.threads import one_thread

MAX_IMAGES = 65_536
"""Images that are held in memory at working size; of more, a seeded choice."""
PASSES = 40
"""Epochs, within the two bounds that follow."""
MIN_IMAGES_SEEN, MAX_IMAGES_SEEN = 20_000, 240_000
"""Images of a training, repeats counted."""
BATCH, PAIRS = 128, 128
"""Images in a batch with labels, and pairs of windows in one without."""
TEMPERATURE = 0.2
_ONE_THREAD_PIXELS = 16 * 16  # of a picture, up to which one thread trains
_CALIBRATION = 4096  # images that set the scale of the features


# Many parameters: arrays that come from two splits of a set; a class to hold them would only be taken apart again.
def train_judge(
    images: Source,
    indices: NDArray[np.int64] | None,
    labels: NDArray[np.int64] | None,
    classes: int,
    seed: int,
    held_out: tuple[Source, NDArray[np.int64]] | None = None,
    fingerprint: str = "",
) -> Judge:
    """A judge trained on the images at `indices` (all, where None) of `images` [N, H, W, C] uint8.

    `labels` [N] belong to `images`, not to `indices`; −1 is "no label", and such images are left out where others have one.
    With fewer than two classes among them the judge is trained without labels. `held_out` only measures its accuracy. Errors:
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
    images_seen = min(max(PASSES * len(rows), MIN_IMAGES_SEEN), MAX_IMAGES_SEEN)
    how = precision.choose(torch.device("cpu"))
    with (
        one_thread(work[0] * work[1] <= _ONE_THREAD_PIXELS),
        precision.own_modes(),
        preserve_generators(torch.device("cpu")),
    ):
        torch.manual_seed(fold(seed, "judge weights"))
        net = JudgeNet(channels, work, classes if targets is not None else 0, norm=True)
        net.train()
        if targets is not None:
            _fit(net, _classification(net, pixels, torch.from_numpy(targets[rows]), images_seen, seed), images_seen, BATCH, how)
        else:
            head = nn.Sequential(nn.ReLU(), nn.Linear(net.embed.out_features, 64))
            images_seen //= 2  # every picture is looked at twice
            _fit(nn.ModuleList([net, head]), _contrast(net, head, pixels, seed), images_seen, PAIRS, how)
    shape = (height, width, channels)
    card = JudgeCard(shape, work, classes if targets is not None else 0, seed, fingerprint, len(rows), images_seen, how)
    judge = Judge(card, _calibrate(net, pixels))
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


def _fit(net: nn.Module, loss_of: Callable[[int, int], Tensor], images_seen: int, batch: int, how: Precision) -> None:
    """Minimises `loss_of(first, number)` over `images_seen` images by AdamW, with a learning rate that rises and then falls to
    0."""
    steps = images_seen // batch
    peak = 4e-3
    optimiser = torch.optim.AdamW(net.parameters(), lr=peak, weight_decay=1e-2, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, peak, total_steps=steps, pct_start=0.2)
    for step in range(steps):
        with precision.autocast(torch.device("cpu"), how):
            loss = loss_of(step * batch, batch)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()


def _classification(
    net: JudgeNet, pixels: NDArray[np.uint8], labels: Tensor, images_seen: int, seed: int
) -> Callable[[int, int], Tensor]:
    """Cross-entropy with 5 % of label smoothing.

    Pictures are shifted by up to two pixels if each is seen more than eight times. They are never mirrored, since a mirrored
    digit is no digit.
    """
    count, height, width, _ = pixels.shape
    shift = (2 if min(height, width) >= 16 else 1) if images_seen > 8 * count else 0

    def loss(start: int, size: int) -> Tensor:
        rows = order(fold(seed, "judge"), 0, start, size, count)
        batch = preprocess(pixels[rows], (height, width))
        if shift:
            down, right = np.random.default_rng(fold(seed, "shift", start)).integers(0, 2 * shift + 1, 2)
            batch = F.pad(batch, (shift,) * 4, mode="replicate")[:, :, down : down + height, right : right + width]
        _, embedding = net(batch.contiguous(memory_format=torch.channels_last))
        logits = net.logits(embedding)
        assert logits is not None  # this net has classes
        return F.cross_entropy(logits.float(), labels[torch.from_numpy(rows)], label_smoothing=0.05)

    return loss


def _contrast(net: JudgeNet, head: nn.Module, pixels: NDArray[np.uint8], seed: int) -> Callable[[int, int], Tensor]:
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
        batch = torch.cat((window(rows, random), window(rows, random))).contiguous(memory_format=torch.channels_last)
        _, embedding = net(batch)
        with torch.autocast("cpu", enabled=False):
            out = F.normalize(head(embedding.float()), dim=1)
            similarity = out @ out.T / TEMPERATURE
            similarity = similarity.masked_fill(torch.eye(len(out), dtype=torch.bool), -torch.inf)
            return F.cross_entropy(similarity, torch.arange(len(out)).roll(len(rows)))

    return loss


def _calibrate(net: JudgeNet, pixels: NDArray[np.uint8]) -> dict[str, Tensor]:
    """The folded weights with `centre` and `scale`, which give each half of the features the total variance HALF_VARIANCE."""
    net.eval()
    step = max(1, len(pixels) // _CALIBRATION)
    subset = pixels[::step][:_CALIBRATION]
    outputs = []
    with exact("cpu"):
        for part in batches_of(len(subset), 512):
            outputs.append(torch.cat(net(preprocess(subset[part], subset.shape[1:3])), 1).double())
        weights = net.folded()
    features = torch.cat(outputs)
    variance = features.var(0)
    texture, content = variance[: WIDTHS[1]].sum(), variance[WIDTHS[1] :].sum()
    # Equal pictures have no variance; any finite scale will do for them.
    scales = [
        (HALF_VARIANCE / total.clamp_min(1e-12)).sqrt().expand(size) for total, size in ((texture, WIDTHS[1]), (content, 64))
    ]
    return weights | {"centre": features.mean(0).float(), "scale": torch.cat(scales).float()}

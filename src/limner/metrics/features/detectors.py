"""Detectors: what turns pictures into the features that the scores compare.

Which there are: `judge` (a small network trained on the data set itself: judge.py, judge_training.py), `inception` (the one of
the published FID: inception.py), any ONNX file (onnx.py), `random-conv` and `pixels` (nothing learned). A learned detector is
blind to what it was not taught; the last two are there to disagree with it. `choice.py` finds one by its name.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from limner.core.digest import digest
from limner.core.errors import InputError, nearest
from limner.core.images import batches_of
from limner.core.precision import exact
from limner.metrics.features.pixels import Source, spell, standard, take, work_size

Shape = tuple[int, int, int]  # height, width, channels


@dataclass(frozen=True)
class Seen:
    """What a detector sees in N images: `features` [N, d] and, where it knows classes, `logits` [N, K]; float32, on the CPU."""

    features: Tensor
    logits: Tensor | None


class Detector(ABC):
    """A frozen function from uint8 pictures of one shape to features."""

    name: str
    shape: Shape  # of the pictures it takes
    work: tuple[int, int]  # the height and width it works at
    dim: int
    checksum: str  # sha256 of weights and architecture: two numbers are comparable where it is equal
    device: torch.device
    chunk = 256  # images looked at together; a last, smaller chunk is padded, so that no result depends on its company

    @property
    def about(self) -> dict[str, str]:
        """How pictures reach it, for whoever reads its numbers."""
        same = self.work == self.shape[:2]
        return {"resize": "none" if same else f"antialiased bilinear to {spell(self.work)}", "range": "-1..1"}

    def prepare(self, images: NDArray[np.uint8]) -> Tensor:
        """[n, H, W, C] uint8 -> what `look` takes, on the device; [n, C, *work] in [−1, 1] unless a detector says otherwise."""
        return standard(images, self.work, self.device)

    @abstractmethod
    def look(self, batch: Tensor) -> tuple[Tensor, Tensor | None]:
        """What `prepare` gives -> features [n, d] and logits [n, K] or None. Called in exact float32 without gradients."""

    def to(self, device: torch.device | str) -> Self:
        """Moves the detector. Numbers agree between devices to rounding."""
        self.device = torch.device(device)
        return self

    def see(self, images: Source) -> Seen:
        """Features and logits of `images` [N, H, W, C] uint8. Errors: `InputError` where their shape is not the detector's."""
        count, shape = int(images.shape[0]), tuple(int(size) for size in images.shape[1:])
        if shape != self.shape:
            raise InputError(
                f"{self.name} compares images of {spell(self.shape)}, and these are {spell(shape)}; "
                "prepare both sets at one size and number of channels"
            )
        features, logits = [torch.empty(0, self.dim)], []
        with exact(self.device.type):
            for rows in batches_of(count, self.chunk):
                batch = self.prepare(take(images, rows))
                real = len(batch)
                batch = F.pad(batch, (0, 0, 0, 0, 0, 0, 0, self.chunk - real)).contiguous(memory_format=torch.channels_last)
                found, classes = self.look(batch)
                features.append(found[:real].float().cpu())
                if classes is not None:
                    logits.append(classes[:real].float().cpu())
        return Seen(torch.cat(features), torch.cat(logits) if logits else None)

    def features(self, images: Source) -> Tensor:
        """[N, H, W, C] uint8 -> [N, d] float32."""
        return self.see(images).features

    def logits(self, images: Source) -> Tensor | None:
        """[N, H, W, C] uint8 -> [N, K] float32, or None where the detector knows no classes."""
        return self.see(images).logits


class Pixels(Detector):
    """The pictures themselves, shrunk to at most 8×8: layout and colour, and nothing finer. Unit: the range 0..1 is 1."""

    name = "pixels"

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.work = work_size(shape[0], shape[1], bound=8, least=2)
        self.dim = self.work[0] * self.work[1] * shape[2]
        self.device = torch.device("cpu")
        self.checksum = digest({}, {"architecture": "pixels-1", "shape": list(shape)})

    def look(self, batch: Tensor) -> tuple[Tensor, Tensor | None]:
        return batch.flatten(1) / 2 + 0.5, None


class RandomConv(Detector):
    """Three layers of fixed random convolutions, each channel averaged over the picture: 32 + 48 + 48 features.

    Untrained features see texture, noise and blur, whatever the data set. Weights are He-normal from one fixed seed; the unit
    is the network's own, and so only values of equal `checksum` may be compared.
    """

    name = "random-conv"
    widths = (32, 48, 48)

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.work = work_size(shape[0], shape[1], bound=32)
        self.dim = sum(self.widths)
        self.device = torch.device("cpu")
        random = torch.Generator().manual_seed(20180111)
        self.weights = []
        for inputs, outputs in zip((shape[2], *self.widths), self.widths, strict=False):
            weight = torch.randn(outputs, inputs, 3, 3, generator=random) * (2 / (9 * inputs)) ** 0.5
            # Half of their mean is taken off the filters of the first layer, so that they answer more to edges and texture:
            # brightness, which `pixels` sees as well, would drown these. Deeper filters stay as drawn.
            self.weights.append(weight - weight.mean((2, 3), keepdim=True) * (0.5 if inputs == shape[2] else 0.0))
        about = {"architecture": "random-conv-1", "shape": list(shape)}
        self.checksum = digest({str(layer): weight for layer, weight in enumerate(self.weights)}, about)

    def to(self, device: torch.device | str) -> Self:
        self.weights = [weight.to(device) for weight in self.weights]
        return super().to(device)

    def look(self, batch: Tensor) -> tuple[Tensor, Tensor | None]:
        found = []
        for layer, weight in enumerate(self.weights):
            if layer and min(batch.shape[2:]) > 2:
                batch = F.avg_pool2d(batch, 2)
            batch = F.relu(F.conv2d(batch, weight, padding=1))
            found.append(batch.mean((2, 3)))
        return torch.cat(found, 1), None


DetectorName = Literal["judge", "random-conv", "pixels"]
UNTRAINED: dict[str, Callable[[Shape], Detector]] = {"random-conv": RandomConv, "pixels": Pixels}
DETECTORS: tuple[DetectorName, ...] = ("judge", "random-conv", "pixels")


def untrained(name: str, shape: Shape) -> Detector:
    """The detector `name`, of those that learn nothing, for pictures of `shape`. A judge is trained or loaded instead."""
    if name not in UNTRAINED:
        raise InputError(f"no detector '{name}'; known are {', '.join(DETECTORS)}{nearest(name, DETECTORS)}")
    return UNTRAINED[name](shape)

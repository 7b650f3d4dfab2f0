"""Detectors: what turns pictures into the features that the scores compare.

`judge` is a small network that was trained on the data set itself (judge.py, judge_training.py), `inception` the network of the
published FID (inception.py), onnx.py opens any ONNX file; `random-conv` and `pixels`, here, learn nothing. A learned detector
ignores what did not matter in its training; the last two are a check on it. `table.py` opens a detector by its name or file.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from limner.core.digest import digest
from limner.core.errors import InputError
from limner.core.extensions import attribute_errors, result_error
from limner.core.images import batches_of
from limner.core.precision import exact
from limner.metrics.features.pixels import Source, format_shape, preprocess, take, work_size

Shape = tuple[int, int, int]  # height, width, channels


@dataclass(frozen=True)
class DetectorOutput:
    """Of N images: `features` [N, d] and, where the detector knows classes, `logits` [N, K]; float32, on the CPU."""

    features: Tensor
    logits: Tensor | None


class Detector(ABC):
    """A frozen function from uint8 pictures of one shape to features.

    A subclass sets all of the attributes and writes `forward`.
    """

    name: str
    shape: Shape
    """Of the pictures that it takes."""
    work: tuple[int, int]
    """Height and width to which pictures are resized for it."""
    dim: int
    """Numbers in a feature vector."""
    checksum: str
    """sha256 of weights and architecture: two scores are comparable where it is equal."""
    device: torch.device
    chunk = 256
    """Images in one forward pass; a last, smaller chunk is padded, so that no result depends on what else is in the chunk."""
    own_classes = False
    """Whether its logits are of the data set's own classes, in their order."""

    @property
    def preprocessing(self) -> dict[str, str]:
        """How pictures are resized and scaled for it, for the report."""
        is_same_size = self.work == self.shape[:2]
        return {"resize": "none" if is_same_size else f"antialiased bilinear to {format_shape(self.work)}", "range": "-1..1"}

    def prepare(self, images: NDArray[np.uint8]) -> Tensor:
        """[n, H, W, C] uint8 -> the input of `forward`, on the device; [n, C, *work] in [−1, 1] by default."""
        return preprocess(images, self.work, self.device)

    @abstractmethod
    def forward(self, batch: Tensor) -> tuple[Tensor, Tensor | None]:
        """The output of `prepare` -> features [n, d] and logits [n, K] or None. Called in full float32 without gradients."""

    def to(self, device: torch.device | str) -> Self:
        """Moves the detector. Numbers agree between devices to rounding."""
        self.device = torch.device(device)
        return self

    def outputs(self, images: Source) -> DetectorOutput:
        """Features and logits of `images` [N, H, W, C] uint8.

        Errors: `InputError` where their shape is not the detector's; `PackageError` where `forward` fails.
        """
        count, shape = int(images.shape[0]), tuple(int(size) for size in images.shape[1:])
        if shape != self.shape:
            raise InputError(
                f"{self.name} compares images of {format_shape(self.shape)}, and these are {format_shape(shape)}; "
                "prepare both sets at one size and number of channels"
            )
        features, logits = [torch.empty(0, self.dim)], []
        with exact(self.device.type):
            for rows in batches_of(count, self.chunk):
                pixels = take(images, rows)
                with attribute_errors(f"the detector '{self.name}'", type(self)):
                    batch, real = self.prepare(pixels), len(pixels)
                    batch = F.pad(batch, (0, 0, 0, 0, 0, 0, 0, self.chunk - real)).contiguous(memory_format=torch.channels_last)
                    vectors, classes = self.forward(batch)
                features.append(self._check_rows(vectors, real, self.dim))
                if classes is not None:
                    logits.append(self._check_rows(classes, real, classes.shape[-1] if isinstance(classes, Tensor) else 0))
        return DetectorOutput(torch.cat(features), torch.cat(logits) if logits else None)

    def _check_rows(self, vectors: Tensor, count: int, width: int) -> Tensor:
        """The first `count` rows of what `forward` gave for a chunk, float32 on the CPU.

        Errors: `PackageError` where they are not [chunk, width], or not finite.
        """
        what, expected = f"the detector '{self.name}'", f"a tensor [{self.chunk}, {width}]"
        if not isinstance(vectors, Tensor):
            raise result_error(what, type(self), vectors, expected)
        if vectors.shape != (self.chunk, width):
            raise result_error(what, type(self), list(vectors.shape), expected)
        rows = vectors[:count].float().cpu()
        if not bool(rows.isfinite().all()):
            raise result_error(what, type(self), "values that are NaN or infinite", "finite numbers")
        return rows

    def features(self, images: Source) -> Tensor:
        """[N, H, W, C] uint8 -> [N, d] float32."""
        return self.outputs(images).features

    def logits(self, images: Source) -> Tensor | None:
        """[N, H, W, C] uint8 -> [N, K] float32, or None where the detector knows no classes."""
        return self.outputs(images).logits


class Pixels(Detector):
    """The pictures themselves, shrunk to at most 8×8 pixels of 0..1: layout and colour, and nothing finer."""

    name = "pixels"

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.work = work_size(shape[0], shape[1], bound=8, min_side=2)
        self.dim = self.work[0] * self.work[1] * shape[2]
        self.device = torch.device("cpu")
        self.checksum = digest({}, {"architecture": "pixels-1", "shape": list(shape)})

    def forward(self, batch: Tensor) -> tuple[Tensor, Tensor | None]:
        return batch.flatten(1) / 2 + 0.5, None


class RandomConv(Detector):
    """Three layers of fixed random convolutions, each channel averaged over the picture: 32 + 48 + 48 features.

    Untrained features respond to texture, noise and blur, whatever the data set. Weights are He-normal from one fixed seed; the
    features have no natural unit, so only values of equal `checksum` may be compared.
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
            # Half of its mean is subtracted from each filter of the first layer, so that it responds more to edges and texture
            # than to brightness, which `pixels` measures already. Deeper filters stay as drawn.
            self.weights.append(weight - weight.mean((2, 3), keepdim=True) * (0.5 if inputs == shape[2] else 0.0))
        architecture = {"architecture": "random-conv-1", "shape": list(shape)}
        self.checksum = digest({str(layer): weight for layer, weight in enumerate(self.weights)}, architecture)

    def to(self, device: torch.device | str) -> Self:
        self.weights = [weight.to(device) for weight in self.weights]
        return super().to(device)

    def forward(self, batch: Tensor) -> tuple[Tensor, Tensor | None]:
        means = []
        for layer, weight in enumerate(self.weights):
            if layer and min(batch.shape[2:]) > 2:
                batch = F.avg_pool2d(batch, 2)
            batch = F.relu(F.conv2d(batch, weight, padding=1))
            means.append(batch.mean((2, 3)))
        return torch.cat(means, 1), None

"""The networks of judges: what a judge is made of, by the name of its architecture.

`judge-2` follows the small networks of fast CIFAR-10 training (Jordan, "94% on CIFAR-10 in 3.29 seconds", 2024, section 3): a
fixed first layer that whitens patches of 2×2 pixels, then three stages of two convolutions. `judge-1` is smaller; runs whose
scores began with such a judge go on with it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EMBEDDING = 64
"""Numbers in the embedding, which the classifier reads."""


class JudgeNet(nn.Module, ABC):
    """[n, C, h, w] in [−1, 1] -> features [n, dim], of which the last 64 are the embedding that the classifier reads."""

    dim: ClassVar[int] = EMBEDDING

    def __init__(self, width: int, classes: int) -> None:
        """`width` is the number of channels that the embedding is made of; with `classes` = 0 there is no classifier."""
        super().__init__()
        self.embed = nn.Linear(width, EMBEDDING)
        self.classify = nn.Linear(EMBEDDING, classes) if classes else None

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor: ...

    @abstractmethod
    def activate(self, embedding: Tensor) -> Tensor:
        """What stands between the embedding and what reads it."""

    def logits(self, features: Tensor) -> Tensor | None:
        """[n, dim] -> [n, classes]; None without a classifier."""
        if self.classify is None:
            return None
        logits: Tensor = self.classify(self.activate(features[:, -EMBEDDING:]))
        return logits


class FirstJudgeNet(JudgeNet):
    """`judge-1`: four convolutions. The first halves the picture, unless its shorter side is below 16 pixels.

    Its features are the channel means of the third layer, and the embedding.
    """

    dim = 64 + EMBEDDING

    def __init__(self, channels: int, work: tuple[int, int], classes: int) -> None:
        super().__init__(128, classes)
        large = min(work) >= 16
        self.stem = _FirstLayer(channels, 32, 5 if large else 3, 2 if large else 1)
        self.down = _FirstLayer(32, 64, 3, 2)
        self.texture = _FirstLayer(64, 64, 3, 1)
        self.content = _FirstLayer(64, 128, 3, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.down(self.stem(x))
        x = x + self.texture(x)
        return torch.cat((x.mean((2, 3)), self.embed(self.content(x).mean((2, 3)))), 1)

    def activate(self, embedding: Tensor) -> Tensor:
        return F.relu(embedding)


class _FirstLayer(nn.Module):
    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv(x))


class SecondJudgeNet(JudgeNet):
    """`judge-2`: a whitening layer and three stages, each of which halves the picture while its shorter side has four pixels.

    `norm`: with batch normalisation, for training; `folded` gives the weights of the same network without.
    """

    widths = (64, 128, 160)

    def __init__(self, channels: int, work: tuple[int, int], classes: int, norm: bool = False) -> None:
        super().__init__(self.widths[-1], classes)
        self.whiten = nn.Conv2d(channels, 8 * channels, 2)
        stages, inputs, side = [], 8 * channels, min(work) - 1
        for outputs in self.widths:
            halves = side >= 4
            stages.append(nn.Sequential(Layer(inputs, outputs, halves, norm), Layer(outputs, outputs, False, norm)))
            inputs, side = outputs, side // 2 if halves else side
        self.stages = nn.Sequential(*stages)

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.embed(self.stages(F.gelu(self.whiten(x))).amax((2, 3)))
        return features

    def activate(self, embedding: Tensor) -> Tensor:
        return F.gelu(embedding) / 9  # small logits at first, as in the reference

    def folded(self) -> dict[str, Tensor]:
        """The weights of the same network without batch normalisation."""
        weights = {
            name: tensor for name, tensor in self.state_dict().items() if name.startswith(("whiten", "embed", "classify"))
        }
        for name, layer in self.named_modules():
            if isinstance(layer, Layer):
                weights |= layer.folded(name)
        return {name: tensor.detach().float().contiguous() for name, tensor in weights.items()}


class Layer(nn.Module):
    """Convolution, halving where asked, and GELU; in training with batch normalisation, which `folded` merges into the weights.

    The normalisation has no gain to learn, so its scale is positive and may move in front of the maximum over places.
    """

    def __init__(self, inputs: int, outputs: int, halves: bool, norm: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=not norm)
        self.halves = halves
        self.norm = nn.BatchNorm2d(outputs, momentum=0.4) if norm else None
        if self.norm is not None:
            self.norm.weight.requires_grad_(False)
            with torch.no_grad():  # the identity at first, for as many channels as there are
                nn.init.dirac_(self.conv.weight[: min(inputs, outputs)])

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        if self.halves:
            x = F.max_pool2d(x, 2)
        return F.gelu(x if self.norm is None else self.norm(x))

    def folded(self, name: str) -> dict[str, Tensor]:
        """Weight and bias of one convolution that does what both did, with the running moments."""
        if self.norm is None or self.norm.running_var is None or self.norm.running_mean is None:
            raise ValueError("nothing to fold")
        gain = self.norm.weight / torch.sqrt(self.norm.running_var + self.norm.eps)
        bias = self.norm.bias - self.norm.running_mean * gain
        return {f"{name}.conv.weight": self.conv.weight * gain[:, None, None, None], f"{name}.conv.bias": bias}


NETWORKS: Mapping[str, type[FirstJudgeNet] | type[SecondJudgeNet]] = {"judge-1": FirstJudgeNet, "judge-2": SecondJudgeNet}
ARCHITECTURE = "judge-2"
"""Of judges that are trained now. A new name whenever the network, its training or its features change."""

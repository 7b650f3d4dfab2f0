"""The network behind the published FID: Inception v3 (Szegedy et al. 2015, arXiv:1512.00567) as TensorFlow shipped it in 2015.

It differs from later ports of Inception v3 in three places, on which every published FID depends: average pooling excludes the
padding from its mean, the last block pools by the maximum where the paper has the mean, and there are 1,008 logits. The names
of its layers are those of the published weights, pt_inception-2015-12-05-6726825d.pth.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SIDE = 299
"""Pixels; the network was trained on pictures of 299×299."""
FEATURES, CLASSES = 2048, 1008
_EPS = 1e-3  # of the published batch normalisation
_NORM = ("weight", "bias", "running_mean", "running_var")

Size = int | tuple[int, int]


class Conv(nn.Conv2d):
    """Convolution and ReLU. The batch normalisation that the published network has between them is folded in."""

    def forward(self, x: Tensor) -> Tensor:
        return F.relu_(super().forward(x))


def conv(inputs: int, outputs: int, kernel: Size, stride: int = 1) -> Conv:
    """Of odd `kernel`, padded to keep its size; unpadded where it halves the size."""
    tall, wide = (kernel, kernel) if isinstance(kernel, int) else kernel
    return Conv(inputs, outputs, kernel, stride, (0, 0) if stride > 1 else (tall // 2, wide // 2))


def average(x: Tensor) -> Tensor:
    """3×3 means that exclude the padding, as TensorFlow's do."""
    return F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)


class InceptionA(nn.Module):
    """35×35: 1×1, 5×5 and two 3×3, and pooling. -> 64 + 64 + 96 + `pooled` channels."""

    def __init__(self, inputs: int, pooled: int) -> None:
        super().__init__()
        self.branch1x1 = conv(inputs, 64, 1)
        self.branch5x5_1 = conv(inputs, 48, 1)
        self.branch5x5_2 = conv(48, 64, 5)
        self.branch3x3dbl_1 = conv(inputs, 64, 1)
        self.branch3x3dbl_2 = conv(64, 96, 3)
        self.branch3x3dbl_3 = conv(96, 96, 3)
        self.branch_pool = conv(inputs, pooled, 1)

    def forward(self, x: Tensor) -> Tensor:
        five = self.branch5x5_2(self.branch5x5_1(x))
        three = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat((self.branch1x1(x), five, three, self.branch_pool(average(x))), 1)


class InceptionB(nn.Module):
    """35×35 -> 17×17: 384 + 96 channels beside the pooled input's."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.branch3x3 = conv(inputs, 384, 3, 2)
        self.branch3x3dbl_1 = conv(inputs, 64, 1)
        self.branch3x3dbl_2 = conv(64, 96, 3)
        self.branch3x3dbl_3 = conv(96, 96, 3, 2)

    def forward(self, x: Tensor) -> Tensor:
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat((self.branch3x3(x), double, F.max_pool2d(x, 3, 2)), 1)


class InceptionC(nn.Module):
    """17×17: 7×7 taken apart into 1×7 and 7×1, of `inner` channels inside. -> 4 · 192 channels."""

    def __init__(self, inputs: int, inner: int) -> None:
        super().__init__()
        self.branch1x1 = conv(inputs, 192, 1)
        self.branch7x7_1 = conv(inputs, inner, 1)
        self.branch7x7_2 = conv(inner, inner, (1, 7))
        self.branch7x7_3 = conv(inner, 192, (7, 1))
        self.branch7x7dbl_1 = conv(inputs, inner, 1)
        self.branch7x7dbl_2 = conv(inner, inner, (7, 1))
        self.branch7x7dbl_3 = conv(inner, inner, (1, 7))
        self.branch7x7dbl_4 = conv(inner, inner, (7, 1))
        self.branch7x7dbl_5 = conv(inner, 192, (1, 7))
        self.branch_pool = conv(inputs, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        single = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        double = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        double = self.branch7x7dbl_5(self.branch7x7dbl_4(double))
        return torch.cat((self.branch1x1(x), single, double, self.branch_pool(average(x))), 1)


class InceptionD(nn.Module):
    """17×17 -> 8×8: 320 + 192 channels beside the pooled input's."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.branch3x3_1 = conv(inputs, 192, 1)
        self.branch3x3_2 = conv(192, 320, 3, 2)
        self.branch7x7x3_1 = conv(inputs, 192, 1)
        self.branch7x7x3_2 = conv(192, 192, (1, 7))
        self.branch7x7x3_3 = conv(192, 192, (7, 1))
        self.branch7x7x3_4 = conv(192, 192, 3, 2)

    def forward(self, x: Tensor) -> Tensor:
        three = self.branch3x3_2(self.branch3x3_1(x))
        seven = self.branch7x7x3_4(self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x))))
        return torch.cat((three, seven, F.max_pool2d(x, 3, 2)), 1)


class InceptionE(nn.Module):
    """8×8: 3×3 split into 1×3 beside 3×1. -> 320 + 768 + 768 + 192 channels. `maximum`: pools by the maximum, as the last block
    does."""

    def __init__(self, inputs: int, maximum: bool) -> None:
        super().__init__()
        self.maximum = maximum
        self.branch1x1 = conv(inputs, 320, 1)
        self.branch3x3_1 = conv(inputs, 384, 1)
        self.branch3x3_2a = conv(384, 384, (1, 3))
        self.branch3x3_2b = conv(384, 384, (3, 1))
        self.branch3x3dbl_1 = conv(inputs, 448, 1)
        self.branch3x3dbl_2 = conv(448, 384, 3)
        self.branch3x3dbl_3a = conv(384, 384, (1, 3))
        self.branch3x3dbl_3b = conv(384, 384, (3, 1))
        self.branch_pool = conv(inputs, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        single = self.branch3x3_1(x)
        double = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        pooled = F.max_pool2d(x, 3, 1, 1) if self.maximum else average(x)
        branches = (
            self.branch1x1(x),
            self.branch3x3_2a(single),
            self.branch3x3_2b(single),
            self.branch3x3dbl_3a(double),
            self.branch3x3dbl_3b(double),
            self.branch_pool(pooled),
        )
        return torch.cat(branches, 1)


class InceptionNet(nn.Module):
    """[n, 3, 299, 299], pixels (x − 128)/128 -> the 2,048 features that FID compares, [n, 2048] ≥ 0."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = conv(3, 32, 3, 2)
        self.Conv2d_2a_3x3 = Conv(32, 32, 3)
        self.Conv2d_2b_3x3 = conv(32, 64, 3)
        self.Conv2d_3b_1x1 = conv(64, 80, 1)
        self.Conv2d_4a_3x3 = Conv(80, 192, 3)
        self.Mixed_5b, self.Mixed_5c, self.Mixed_5d = InceptionA(192, 32), InceptionA(256, 64), InceptionA(288, 64)
        self.Mixed_6a = InceptionB(288)
        self.Mixed_6b, self.Mixed_6c, self.Mixed_6d, self.Mixed_6e = (
            InceptionC(768, 128),
            InceptionC(768, 160),
            InceptionC(768, 160),
            InceptionC(768, 192),
        )
        self.Mixed_7a = InceptionD(768)
        self.Mixed_7b, self.Mixed_7c = InceptionE(1280, maximum=False), InceptionE(FEATURES, maximum=True)
        self.fc = nn.Linear(FEATURES, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(F.max_pool2d(x, 3, 2)))
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(F.max_pool2d(x, 3, 2))))
        x = self.Mixed_6e(self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x)))))
        x = self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(x)))
        return x.mean((2, 3))


def folded(published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The published weights as `InceptionNet` takes them: each layer's batch normalisation merged into its convolution.

    Merged in float64, then rounded once to float32. Errors: `ValueError` where names or shapes are not the network's.
    """
    with torch.device("meta"):
        net = InceptionNet()
    layers = {name: layer for name, layer in net.named_modules() if isinstance(layer, Conv)}
    expected = {"fc.weight": net.fc.weight.shape, "fc.bias": net.fc.bias.shape}
    for name, layer in layers.items():
        expected[f"{name}.conv.weight"] = layer.weight.shape
        expected |= {f"{name}.bn.{part}": torch.Size([layer.out_channels]) for part in _NORM}
    shapes = {name: tensor.shape for name, tensor in published.items()}
    wrong = sorted(name for name in expected.keys() | shapes.keys() if expected.get(name) != shapes.get(name))
    if wrong:
        raise ValueError(f"{len(wrong)} of its tensors are not those of the FID network, the first being {wrong[0]}")
    weights = {name: published[name].float() for name in ("fc.weight", "fc.bias")}
    for name in layers:
        gain, bias, mean, variance = (published[f"{name}.bn.{part}"].double() for part in _NORM)
        gain = gain / torch.sqrt(variance + _EPS)
        kernel = published[f"{name}.conv.weight"].double() * gain[:, None, None, None]
        weights |= {f"{name}.weight": kernel.float(), f"{name}.bias": (bias - mean * gain).float()}
    return weights

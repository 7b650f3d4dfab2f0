"""The judge: a small network trained on the data set itself, then frozen.

Inception features describe small or grey pictures badly; those of a classifier of the data set's own classes are better. They
are the channel means of a middle stage (texture: noise and blur show here) beside its penultimate layer (content). Each half is
scaled so that the real training images have a total variance of 50 in it. This gives a Fréchet distance a unit: images whose
features all lie at the real mean score 100.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from limner.core.digest import digest
from limner.core.documents import parse_json
from limner.core.errors import InputError
from limner.core.files import atomic
from limner.metrics.features.detectors import Detector, Shape

ARCHITECTURE = "judge-1"
"""To be raised whenever the network, its training or its features change."""
WIDTHS = (32, 64, 128)
"""Channels of the three widths of the network."""
EMBEDDING = 64
HALF_VARIANCE = 50.0
"""Total variance of each half of the features over the training images."""
WORKING_SIDE = 32
"""Pixels on the longer side of the pictures that it takes."""


class Layer(nn.Module):
    """Convolution and ReLU; in training with batch normalisation between them, which `folded` merges into the convolution."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, norm: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=not norm)
        self.norm = nn.BatchNorm2d(outputs) if norm else None

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return F.relu(x if self.norm is None else self.norm(x))

    def folded(self, name: str) -> dict[str, Tensor]:
        """Weight and bias of one convolution that does what both did, with the running moments."""
        if self.norm is None or self.norm.running_var is None or self.norm.running_mean is None:
            raise ValueError("nothing to fold")
        gain = self.norm.weight / torch.sqrt(self.norm.running_var + self.norm.eps)
        bias = self.norm.bias - self.norm.running_mean * gain
        return {f"{name}.conv.weight": self.conv.weight * gain[:, None, None, None], f"{name}.conv.bias": bias}


class JudgeNet(nn.Module):
    """[n, C, h, w] in [−1, 1] -> channel means of the middle stage [n, 64] and the embedding [n, 64].

    `classes` = 0: without the classifier. The first layer halves the picture, unless its shorter side is below 16 pixels.
    """

    layers = ("stem", "down", "texture", "content")

    def __init__(self, channels: int, work: tuple[int, int], classes: int, norm: bool = False) -> None:
        super().__init__()
        large = min(work) >= 16
        self.stem = Layer(channels, WIDTHS[0], 5 if large else 3, 2 if large else 1, norm)
        self.down = Layer(WIDTHS[0], WIDTHS[1], 3, 2, norm)
        self.texture = Layer(WIDTHS[1], WIDTHS[1], 3, 1, norm)
        self.content = Layer(WIDTHS[1], WIDTHS[2], 3, 2, norm)
        self.embed = nn.Linear(WIDTHS[2], EMBEDDING)
        self.classify = nn.Linear(EMBEDDING, classes) if classes else None

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.down(self.stem(x))
        x = x + self.texture(x)
        return x.mean((2, 3)), self.embed(self.content(x).mean((2, 3)))

    def logits(self, embedding: Tensor) -> Tensor | None:
        """[n, 64] -> [n, classes]; None without a classifier."""
        logits: Tensor | None = None if self.classify is None else self.classify(F.relu(embedding))
        return logits

    def folded(self) -> dict[str, Tensor]:
        """The weights of the same network without batch normalisation."""
        weights = {name: tensor for name, tensor in self.state_dict().items() if name.startswith(("embed", "classify"))}
        for name in self.layers:
            layer = getattr(self, name)
            weights |= layer.folded(name)
        return {name: tensor.detach().float().contiguous() for name, tensor in weights.items()}


@dataclass(frozen=True)
class JudgeCard:
    """Describes a judge; all of it goes into its file and into its checksum."""

    shape: Shape  # height, width, channels of the pictures
    work: tuple[int, int]  # the height and width to which pictures are resized for it
    classes: int  # 0 where it was trained without labels
    seed: int
    fingerprint: str  # of the data it was trained on, as the caller names it
    trained_on: int  # images
    seen: int  # images, repeats counted
    precision: str  # of the training; features are always float32
    held_out_accuracy: float | None = None
    architecture: str = ARCHITECTURE

    @classmethod
    def read(cls, data: dict[str, Any]) -> JudgeCard:
        """The card that a judge's file holds. Errors: `InputError` for one of another architecture."""
        if set(data) != {field.name for field in fields(cls)} or data["architecture"] != ARCHITECTURE:
            raise InputError(f"is of architecture {data.get('architecture')!r}, and this limner knows {ARCHITECTURE!r}")
        height, width, channels = data["shape"]
        return cls(**{**data, "shape": (height, width, channels), "work": (data["work"][0], data["work"][1])})


class Judge(Detector):
    """A trained judge. `weights` are the folded network's, with `centre` and `scale` [128] of the features."""

    name = "judge"
    own_classes = True
    dim = WIDTHS[1] + EMBEDDING

    def __init__(self, card: JudgeCard, weights: dict[str, Tensor]) -> None:
        self.card, self.shape, self.work = card, card.shape, card.work
        self.device = torch.device("cpu")
        self.weights = {name: tensor.detach().float().cpu().contiguous() for name, tensor in weights.items()}
        self.checksum = digest(self.weights, asdict(card))
        with torch.device("meta"):  # draws no initial weights, which would advance the global random state
            self.net = JudgeNet(card.shape[2], card.work, card.classes)
        expected = {name: tensor.shape for name, tensor in self.net.state_dict().items()}
        expected |= {"centre": torch.Size([self.dim]), "scale": torch.Size([self.dim])}
        if {name: tensor.shape for name, tensor in self.weights.items()} != expected:
            raise InputError("holds weights of other names or shapes than its architecture has")
        self.centre, self.scale = self.weights["centre"], self.weights["scale"]
        self.net.load_state_dict({name: self.weights[name] for name in self.net.state_dict()}, assign=True)
        self.net.eval().requires_grad_(False)

    def to(self, device: torch.device | str) -> Self:
        self.net.to(device)
        self.centre, self.scale = self.centre.to(device), self.scale.to(device)
        return super().to(device)

    def forward(self, batch: Tensor) -> tuple[Tensor, Tensor | None]:
        texture, embedding = self.net(batch)
        return (torch.cat((texture, embedding), 1) - self.centre) * self.scale, self.net.logits(embedding)

    def save(self, path: Path) -> None:
        """Writes the judge as safetensors, atomically; equal judges are equal files."""
        about = json.dumps({"card": asdict(self.card), "checksum": self.checksum}, sort_keys=True)
        with atomic(path) as temporary:
            save_file(self.weights, temporary, {"limner.judge": about})


def load_judge(path: Path) -> Judge:
    """The judge that `Judge.save` wrote to `path`.

    Errors: `InputError` where there is none, or its weights or its card are not those that its checksum was taken of.
    """
    if not path.is_file():
        raise InputError(f"no judge at {path}")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            # Cloned: the tensors are views of a memory map, and reading one crashes the process once the file is truncated.
            weights = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 (not a dict)
        stored = parse_json(metadata["limner.judge"])
        card, checksum = JudgeCard.read(stored["card"]), stored["checksum"]
        judge = Judge(card, weights)
    except (SafetensorError, KeyError, TypeError, ValueError, OSError) as error:
        raise InputError(
            f"{path} is no judge of limner's, or is damaged ({error}); delete it and it will be trained anew"
        ) from error
    except InputError as error:
        raise InputError(f"the judge {path} {error}; delete it and it will be trained anew") from error
    if judge.checksum != checksum:
        raise InputError(f"the judge {path} was changed after it was saved; delete it and it will be trained anew")
    return judge


def judge_key(fingerprint: str, seed: int) -> str:
    """The file name, without its ending, of the judge of this data, seed and architecture."""
    return f"{ARCHITECTURE}-{hashlib.sha256(json.dumps([ARCHITECTURE, fingerprint, seed]).encode()).hexdigest()[:16]}"

"""The judge: a small network trained on the data set itself, then frozen.

Inception features describe small or grey pictures badly; those of a classifier of the data set's own classes are better: its
penultimate layer, before the last nonlinearity. They are scaled so that the real training images have a total variance of 100.
This gives a Fréchet distance a unit: images whose features all lie at the real mean score 100. (The older judge-1 has channel
means of an early layer beside them, which is what `random-conv` is for.)

A judge that was trained without labels, by contrast of pictures, sees what classes do not need; as the detector `contrast` it
stands beside the judge that knows the classes.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from limner.core.digest import digest
from limner.core.documents import parse_json
from limner.core.errors import InputError
from limner.core.files import atomic
from limner.metrics.features.detectors import Detector, Shape
from limner.metrics.features.judge_networks import ARCHITECTURE, NETWORKS

TOTAL_VARIANCE = 100.0
"""Of the features over the training images."""
WORKING_SIDE = 32
"""Pixels on the longer side of the pictures that it takes."""


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
        if set(data) != {field.name for field in fields(cls)} or data["architecture"] not in NETWORKS:
            raise InputError(f"is of architecture {data.get('architecture')!r}, and this limner knows {', '.join(NETWORKS)}")
        height, width, channels = data["shape"]
        return cls(**{**data, "shape": (height, width, channels), "work": (data["work"][0], data["work"][1])})


class Judge(Detector):
    """A trained judge. `weights` are the folded network's, with `centre` and `scale` [dim] of the features."""

    name = "judge"
    """Or "contrast", where it is the one without labels of data that have some."""
    own_classes = True

    def __init__(self, card: JudgeCard, weights: dict[str, Tensor]) -> None:
        self.card, self.shape, self.work = card, card.shape, card.work
        network = NETWORKS[card.architecture]
        self.dim = network.dim
        self.device = torch.device("cpu")
        self.weights = {name: tensor.detach().float().cpu().contiguous() for name, tensor in weights.items()}
        self.checksum = digest(self.weights, asdict(card))
        with torch.device("meta"):  # draws no initial weights, which would advance the global random state
            self.net = network(card.shape[2], card.work, card.classes)
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
        features = self.net(batch)
        return (features - self.centre) * self.scale, self.net.logits(features)

    def save(self, path: Path) -> None:
        """Writes the judge as safetensors, atomically; equal judges are equal files.

        Weights that half precision can hold, as those of training are, take two bytes each.
        """
        about = json.dumps({"card": asdict(self.card), "checksum": self.checksum}, sort_keys=True)
        stored = {
            name: half if torch.equal((half := tensor.half()).float(), tensor) else tensor
            for name, tensor in self.weights.items()
        }
        with atomic(path) as temporary:
            save_file(stored, temporary, {"limner.judge": about})


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


def judge_key(fingerprint: str, seed: int, architecture: str = ARCHITECTURE, *, labelled: bool = True) -> str:
    """The file name, without its ending, of the judge of this data, seed and architecture; `labelled` = False: of the one that
    is trained without labels where there are some."""
    parts = [architecture, fingerprint, seed, *([] if labelled else ["contrast"])]
    return f"{architecture}-{hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]}"

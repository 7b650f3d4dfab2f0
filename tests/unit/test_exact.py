"""Reported numbers are made in plain float32, whatever training allows: the switches, as a method sees them from inside."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import limner
from limner.core.capabilities import Autoencoder, LatentDecoder, LikelihoodBound
from limner.core.cond import Cond
from limner.core.precision import exact
from limner.data.latents import RememberedLatents
from limner.evaluation.likelihood import likelihood
from limner.recipes.settings import compose
from limner.runs.model import Loaded
from limner.tasks import interpolation
from limner.tasks.inversion import Search, invert

SWITCHES: tuple[Any, ...] = (
    torch.backends.cuda.matmul,
    torch.backends.cudnn.conv,  # type: ignore[attr-defined]
    torch.backends.mkldnn.matmul,  # type: ignore[attr-defined]
    torch.backends.mkldnn.conv,  # type: ignore[attr-defined]
)
ALLOWED = ["tf32", "tf32", "bf16", "bf16"]
PLAIN = ["ieee"] * 4
IMAGES = np.zeros((3, 4, 4, 1), np.uint8)


def switches() -> list[str]:
    return [switch.fp32_precision for switch in SWITCHES]


@pytest.fixture(autouse=True)
def _allowed() -> Iterator[None]:
    """Everything that is fast and inexact is allowed, as on a GPU (and more)."""
    before = switches()
    for switch, value in zip(SWITCHES, ALLOWED, strict=True):
        switch.fp32_precision = value
    with torch.autocast("cpu", torch.bfloat16):
        yield
    assert switches() == ALLOWED, "as it was"
    for switch, value in zip(SWITCHES, before, strict=True):
        switch.fp32_precision = value


class Stub(nn.Module, Autoencoder, LatentDecoder, LikelihoodBound):
    """Encodes, decodes, draws and bounds; `seen` notes what is allowed while it does."""

    entries, needs_binary_images, gaussian, accepts, chunk, exact = 2, False, True, frozenset(), 4, True
    device = torch.device("cpu")

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[str, list[Any]] = {}

    def note(self, what: str) -> None:
        self.seen[what] = [*switches(), torch.is_autocast_enabled("cpu"), torch.is_grad_enabled()]

    def encode(self, images: Tensor) -> Tensor:
        self.note("encode")
        return images.flatten(1)[:, :2]

    def decode(self, latents: Tensor) -> Tensor:
        self.note("decode")
        return latents.new_zeros(len(latents), 1, 4, 4)

    def log_density(self, images: Tensor) -> Tensor:
        self.note("log_density")
        return images.new_zeros(len(images))

    def log_weight(self, images: Tensor, noise: Tensor, density: bool = False) -> Tensor:
        self.note("log_weight")
        return noise.sum(1)

    def latents(self, seeds: Sequence[int]) -> Tensor:
        return torch.zeros(len(seeds), 2)

    def picture(self, latents: Tensor, cond: Cond) -> Tensor:
        self.note("picture")
        return latents.sum(1).view(-1, 1, 1, 1).expand(-1, 1, 4, 4)

    def conditions(self, seeds: Sequence[int], requested: Cond) -> Cond:
        return requested


def loaded(method: Stub) -> Loaded:
    recipe = compose("vae", ["data.size=4x4", "data.rules=1", "data.channels=1"])
    return Loaded(
        SimpleNamespace(path="a run", provenance=dict, scores=list, checkpoints=list), SimpleNamespace(images=0), recipe, method
    )  # type: ignore[arg-type]


def remembered(method: Stub) -> None:
    RememberedLatents(method.encode, 3, method.device).recall(np.arange(3), torch.zeros(3, 1, 4, 4))


WAYS: dict[str, tuple[Callable[[Stub], object], set[str]]] = {
    "encode": (lambda method: loaded(method).encode(IMAGES), {"encode"}),
    "reconstruct": (lambda method: loaded(method).reconstruct(IMAGES), {"encode", "decode"}),
    "likelihood": (lambda method: likelihood(loaded(method), IMAGES, 2), {"log_weight", "log_density"}),
    "cache of latents": (remembered, {"encode"}),
    "inversion": (lambda method: invert(loaded(method), IMAGES, Search(starts=1, steps=3)), {"picture"}),
}


@pytest.mark.parametrize("way", WAYS)
def test_what_is_told_is_made_in_plain_float32(way: str) -> None:
    go, passes = WAYS[way]
    method = Stub()
    go(method)
    assert method.seen == {name: [*PLAIN, False, False] for name in passes}


def test_both_kinds_of_ends_are_decoded_in_plain_float32(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """A picture's as its reconstruction is, a seed's as its sample."""
    method = Stub()
    model = loaded(method)
    monkeypatch.setattr(interpolation, "load", lambda *_: model)
    monkeypatch.setattr(
        interpolation, "read_pictures", lambda *_: SimpleNamespace(images=IMAGES, names=["a", "b", "c"], prepared={})
    )
    monkeypatch.setattr(interpolation, "describe_origin", lambda *_, **__: {})
    monkeypatch.setattr(interpolation, "output_folder", lambda *_: nullcontext(tmp_path))
    limner.interpolate("a run", ["a", "b", "c"], steps=2, out=tmp_path / "files")
    assert method.seen["picture"] == [*PLAIN, False, False]
    method.seen.clear()
    limner.interpolate("a run", seeds=[1, 2], steps=2, out=tmp_path / "seeds")
    assert method.seen["picture"] == [*PLAIN, False, False]


def test_the_switches_go_back_after_a_fault() -> None:
    def fault() -> None:
        with exact("cpu"):
            assert switches() == PLAIN
            raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"):
        fault()

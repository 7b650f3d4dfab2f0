"""The detector `inception`: the features of the published FID. Only a Fréchet distance of these may be called by that name.

Everything that moves a FID is as in the original (Heusel et al. 2017, arXiv:1706.08500): the weights, known by size and sha256;
TensorFlow 1's bilinear resize to 299 pixels, which takes corners for centres and does not antialias; pixels (x − 128)/128; and
the network's own ways of pooling (`limner.metrics.features.inception_net`). It was trained on photographs: of drawn or grey
ones it says little.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from limner.core.digest import digest
from limner.core.download import DownloadError, download
from limner.core.errors import InputError
from limner.core.files import atomic, cache_folder
from limner.metrics.features.detectors import Detector, Shape
from limner.metrics.features.inception_net import FEATURES, SIDE, InceptionNet, folded

VARIABLE = "LIMNER_INCEPTION"  # names a file of the weights
_KEY = "limner.inception"


@dataclass(frozen=True)
class Published:
    """A file as its authors published it."""

    name: str
    size: int  # bytes
    sha256: str
    urls: tuple[str, ...]  # tried in this order

    def __str__(self) -> str:
        return f"{self.name} ({self.size:,} bytes, sha256 {self.sha256})"


WEIGHTS = Published(
    name="pt_inception-2015-12-05-6726825d.pth",
    size=95_628_359,
    sha256="6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
    urls=(
        "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth",
        "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth",
    ),
)


class Inception(Detector):
    """Features [N, 2048] and logits [N, 1008] of pictures of `shape`, grey or colour.

    `published`: the weights by their published names; `checksum`: the sha256 of the file they came from. The logits leave out
    the last layer's bias, as every Inception Score since the first (Salimans et al. 2016, arXiv:1606.03498) does.
    Errors: `InputError` for pictures with transparency, and for weights that are not this network's.
    """

    name = "inception"
    work = (SIDE, SIDE)
    dim = FEATURES
    chunk = 16

    def __init__(self, shape: Shape, published: Mapping[str, Tensor], checksum: str) -> None:
        if shape[2] not in (1, 3):
            raise InputError(
                "inception sees grey and colour, not transparency; flatten the pictures first: "
                "limner data prepare SRC --channels 3 --background white"
            )
        self.shape, self.checksum, self.device = shape, checksum, torch.device("cpu")
        with torch.device("meta"):  # no first weights are drawn: nobody's random numbers are disturbed
            self.net = InceptionNet()
        try:
            self.net.load_state_dict(folded(published), assign=True)
        except ValueError as error:
            raise InputError(f"these are not the weights of the FID network: {error}") from error
        self.net.eval().requires_grad_(False)

    @property
    def about(self) -> dict[str, str]:
        same = self.work == self.shape[:2]
        resized = "none" if same else f"TensorFlow 1 bilinear to {SIDE}×{SIDE}, not antialiased"
        return {"resize": resized, "range": "(x - 128)/128", "weights": WEIGHTS.name}

    def to(self, device: torch.device | str) -> Self:
        self.net.to(device)
        self.chunk = 16 if torch.device(device).type == "cpu" else 128
        return super().to(device)

    def prepare(self, images: NDArray[np.uint8]) -> Tensor:
        """[n, H, W, 1 or 3] uint8 -> [n, 3, 299, 299] float32: resized, then (x − 128)/128; grey in all three channels."""
        pixels = torch.from_numpy(images).to(self.device).permute(0, 3, 1, 2).float()
        return ((resize(pixels, self.work) - 128) / 128).expand(-1, 3, -1, -1)

    def look(self, batch: Tensor) -> tuple[Tensor, Tensor | None]:
        features = self.net(batch)
        return features, F.linear(features, self.net.fc.weight)


@lru_cache(maxsize=32)
def _places(source: int, target: int) -> tuple[Tensor, Tensor, Tensor]:
    """Of each of `target` places: the nearest place of the source below it, the one above, and how far it is on the way."""
    place = torch.arange(target, dtype=torch.float32) * torch.tensor(source / target, dtype=torch.float32)
    below = place.long()
    return below, (below + 1).clamp_max(source - 1), place - below.float()


def resize(images: Tensor, size: tuple[int, int]) -> Tensor:
    """[N, C, H, W] float32 -> [N, C, *size] as `tf.image.resize_bilinear` of TensorFlow 1 does it, to the bit on a CPU.

    Pixel i of n stands at i · source/target, not at its centre; only the two nearest pixels of an axis count, however much is
    shrunk. The steps keep TensorFlow's order (along rows first), so that the rounding is its own as well.
    """
    for axis in (3, 2):
        if images.shape[axis] != size[axis - 2]:
            below, above, way = (part.to(images.device) for part in _places(images.shape[axis], size[axis - 2]))
            low, high = images.index_select(axis, below), images.index_select(axis, above)
            images = (high - low).mul_(way if axis == 3 else way[:, None]).add_(low)
    return images


def load_inception(shape: Shape, path: str | Path | None = None) -> Inception:
    """The detector for pictures of `shape`, with the published weights.

    They are read from the file `path`, or else ``$LIMNER_INCEPTION``; else they are downloaded once and kept in the cache.
    Errors: `InputError` where they are to be had from nowhere, or a file's size or sha256 is not theirs.
    """
    chosen = path or os.environ.get(VARIABLE)
    tensors = _read(Path(chosen).expanduser()) if chosen else _cached()
    return Inception(shape, tensors, WEIGHTS.sha256)


def _read(path: Path) -> dict[str, Tensor]:
    """The tensors of the published file at `path`. The bytes that are read are the bytes that were checked."""
    try:
        size = path.stat().st_size
        data = path.read_bytes() if size == WEIGHTS.size else b""
    except OSError as error:
        raise InputError(f"cannot read {path} ({error.strerror}); the FID network's weights are {WEIGHTS}") from error
    found = f"{size:,} bytes" if size != WEIGHTS.size else f"sha256 {hashlib.sha256(data).hexdigest()}"
    if found != f"sha256 {WEIGHTS.sha256}":
        raise InputError(f"{path} is not the FID network's weights: it has {found}, and they are {WEIGHTS}; download it anew")
    # A .pth is a pickle, which can run anything; this reader builds tensors and refuses all else.
    tensors = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    return {name: tensor.contiguous() for name, tensor in tensors.items() if not name.endswith("num_batches_tracked")}


def _cached() -> dict[str, Tensor]:
    """The weights from the cache, downloaded and converted where they are not in it yet."""
    path = cache_folder() / "detectors" / f"inception-{WEIGHTS.sha256[:16]}.safetensors"
    if not path.is_file():
        file = cache_folder() / "downloads" / "inception" / WEIGHTS.name
        if not file.is_file():
            _download(file)
        tensors = _read(file)
        about = json.dumps({"sha256": WEIGHTS.sha256, "checksum": digest(tensors, {})}, sort_keys=True)
        with atomic(path) as temporary:
            save_file(tensors, temporary, {_KEY: about})
        file.unlink(missing_ok=True)
        return tensors
    try:
        with safe_open(path, framework="pt") as handle:
            told = json.loads((handle.metadata() or {})[_KEY])
            # Cloned: they are views of the mapped file, and the process would die with it if it were cut short later.
            tensors = {name: handle.get_tensor(name).clone() for name in handle.keys()}  # noqa: SIM118 (not a dict)
        intact = told == {"sha256": WEIGHTS.sha256, "checksum": digest(tensors, {})}
    except (SafetensorError, KeyError, TypeError, ValueError, OSError):
        intact = False
    if not intact:
        raise InputError(f"{path} is damaged; delete it and the FID network's weights will be downloaded anew")
    return tensors


def _download(path: Path) -> None:
    """Fetches the weights to `path`. Errors: `InputError` where no address gives the published file."""
    try:
        download(WEIGHTS.urls, path, checksum=f"sha256:{WEIGHTS.sha256}", max_bytes=WEIGHTS.size)
    except DownloadError as error:
        raise InputError(
            f"the FID network's weights are to be had neither from the cache nor from the network ({error}); "
            f"get {WEIGHTS} and say where it is: {VARIABLE}=FILE, or --features FILE.pth"
        ) from error

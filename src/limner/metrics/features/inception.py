"""The detector `inception`: the features of the published FID. Only a Fréchet distance in these features may be called FID.

Everything that moves a FID is as in the original (Heusel et al. 2017, arXiv:1706.08500): the weights, verified by size and
sha256; TensorFlow 1's bilinear resize to 299 pixels, which samples at the corners of pixels instead of their centres and does
not antialias; pixels (x − 128)/128; and the network's own ways of pooling (`limner.metrics.features.inception_net`). It was
trained on photographs: of drawings and grey pictures it says little.
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
from limner.core.documents import parse_json
from limner.core.download import DownloadError, download
from limner.core.errors import InputError
from limner.core.files import atomic, cache_folder, sha256
from limner.core.invocation import option
from limner.core.progress import OnProgress, Progress, silent
from limner.metrics.features.detectors import Detector, Shape
from limner.metrics.features.inception_net import FEATURES, SIDE, InceptionNet, folded

WEIGHTS_VARIABLE = "LIMNER_INCEPTION"  # environment variable: the path of a file of the weights
_KEY = "limner.inception"


@dataclass(frozen=True)
class PublishedFile:
    """A file as its authors published it."""

    name: str
    size: int  # bytes
    sha256: str
    urls: tuple[str, ...]  # tried in this order

    def __str__(self) -> str:
        return f"{self.name} ({self.size:,} bytes, sha256 {self.sha256})"


WEIGHTS = PublishedFile(
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
                "inception takes grey and colour pictures, without transparency; flatten the pictures first: "
                "`limner data prepare SRC --channels 3 --background white`"
            )
        self.shape, self.checksum, self.device = shape, checksum, torch.device("cpu")
        with torch.device("meta"):  # draws no initial weights, which would advance the global random state
            self.net = InceptionNet()
        try:
            self.net.load_state_dict(folded(published), assign=True)
        except ValueError as error:
            raise InputError(f"these are not the weights of the FID network: {error}") from error
        self.net.eval().requires_grad_(False)

    @property
    def preprocessing(self) -> dict[str, str]:
        is_same_size = self.work == self.shape[:2]
        resized = "none" if is_same_size else f"TensorFlow 1 bilinear to {SIDE}×{SIDE}, not antialiased"
        return {"resize": resized, "range": "(x - 128)/128", "weights": WEIGHTS.name}

    def to(self, device: torch.device | str) -> Self:
        self.net.to(device)
        self.chunk = 16 if torch.device(device).type == "cpu" else 128
        return super().to(device)

    def prepare(self, images: NDArray[np.uint8]) -> Tensor:
        """[n, H, W, 1 or 3] uint8 -> [n, 3, 299, 299] float32: resized, then (x − 128)/128; grey in all three channels."""
        pixels = torch.from_numpy(images).to(self.device).permute(0, 3, 1, 2).float()
        return ((resize(pixels, self.work) - 128) / 128).expand(-1, 3, -1, -1)

    def forward(self, batch: Tensor) -> tuple[Tensor, Tensor | None]:
        features = self.net(batch)
        return features, F.linear(features, self.net.fc.weight)


@lru_cache(maxsize=32)
def _interpolation(source: int, target: int) -> tuple[Tensor, Tensor, Tensor]:
    """[target] each: index of the source pixel below each target pixel, that of the one above, and the weight of the latter."""
    place = torch.arange(target, dtype=torch.float32) * torch.tensor(source / target, dtype=torch.float32)
    below = place.long()
    return below, (below + 1).clamp_max(source - 1), place - below.float()


def resize(images: Tensor, size: tuple[int, int]) -> Tensor:
    """[N, C, H, W] float32 -> [N, C, *size] as `tf.image.resize_bilinear` of TensorFlow 1 does it, to the bit on a CPU.

    Target pixel i is sampled at i · source/target and not at its centre, from the two nearest pixels of an axis only, however
    much the picture shrinks. The order of the steps is TensorFlow's (along rows first), so that the rounding is equal as well.
    """
    for axis in (3, 2):
        if images.shape[axis] != size[axis - 2]:
            below, above, weight = (part.to(images.device) for part in _interpolation(images.shape[axis], size[axis - 2]))
            low, high = images.index_select(axis, below), images.index_select(axis, above)
            images = (high - low).mul_(weight if axis == 3 else weight[:, None]).add_(low)
    return images


def load_inception(shape: Shape, path: str | Path | None = None, on_progress: OnProgress = silent) -> Inception:
    """The detector for pictures of `shape`, with the published weights.

    They are read from the file `path`, or else from ``$LIMNER_INCEPTION``; else they are downloaded once to the cache, of which
    `on_progress` hears in MiB. Errors: `InputError` where they cannot be had, or a file has another size or sha256.
    """
    file = path or os.environ.get(WEIGHTS_VARIABLE)
    tensors = _read(Path(file).expanduser()) if file else _cached(on_progress)
    return Inception(shape, tensors, WEIGHTS.sha256)


def _read(path: Path) -> dict[str, Tensor]:
    """The tensors of the published file at `path`, which is read once: the bytes that are parsed are those that were
    verified."""
    try:
        size = path.stat().st_size
        data = path.read_bytes() if size == WEIGHTS.size else b""
    except OSError as error:
        raise InputError(f"cannot read {path} ({error.strerror}); the FID network's weights are {WEIGHTS}") from error
    identity = f"{size:,} bytes" if size != WEIGHTS.size else f"sha256 {hashlib.sha256(data).hexdigest()}"
    if identity != f"sha256 {WEIGHTS.sha256}":
        raise InputError(
            f"{path} is not the FID network's weights: it has {identity}, and they are {WEIGHTS}; download it anew"
        )
    # A .pth is a pickle, which can run anything; this reader builds tensors and refuses all else.
    tensors = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    return {name: tensor.contiguous() for name, tensor in tensors.items() if not name.endswith("num_batches_tracked")}


def _cached(on_progress: OnProgress) -> dict[str, Tensor]:
    """The weights from the cache, downloaded and converted where they are not in it, or damaged."""
    path = cache_folder() / "detectors" / f"inception-{WEIGHTS.sha256[:16]}.safetensors"
    tensors = _read_converted(path)
    if tensors is not None:
        return tensors
    if path.exists():
        on_progress(Progress("fetching inception", note=f"{path} is damaged; it is made anew"))
    file = cache_folder() / "downloads" / "inception" / WEIGHTS.name
    if not file.is_file() or sha256(file) != WEIGHTS.sha256:
        _download(file, on_progress)
    tensors = _read(file)
    about = json.dumps({"sha256": WEIGHTS.sha256, "checksum": digest(tensors, {})}, sort_keys=True)
    with atomic(path) as temporary:
        save_file(tensors, temporary, {_KEY: about})
    file.unlink(missing_ok=True)
    return tensors


def _read_converted(path: Path) -> dict[str, Tensor] | None:
    """The tensors that `_cached` wrote to `path`; None where there is no such file, or it is damaged."""
    try:
        with safe_open(path, framework="pt") as handle:
            stored = parse_json((handle.metadata() or {})[_KEY])
            # Cloned: the tensors are views of a memory map, and reading one crashes the process once the file is truncated.
            tensors = {name: handle.get_tensor(name).clone() for name in handle.keys()}  # noqa: SIM118 (not a dict)
        return tensors if stored == {"sha256": WEIGHTS.sha256, "checksum": digest(tensors, {})} else None
    except (SafetensorError, KeyError, TypeError, ValueError, OSError):
        return None


def _download(path: Path, on_progress: OnProgress) -> None:
    """Downloads the weights to `path`. Errors: `InputError` where no address gives the published file."""
    try:
        download(WEIGHTS.urls, path, checksum=f"sha256:{WEIGHTS.sha256}", max_bytes=WEIGHTS.size, on_progress=on_progress)
    except DownloadError as error:
        raise InputError(
            f"the FID network's weights are not in the cache and cannot be downloaded ({error}); "
            f"get {WEIGHTS} and say where it is: {WEIGHTS_VARIABLE}=FILE, or {option('features', 'FILE.pth')}"
        ) from error

"""Pictures that a Python program holds as one array: of NumPy or torch, alone, with labels, or in a mapping.

An array has no name by which it could be read again. Its prepared folder is found by the content: equal pixels, labels and
captions give the same folder.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from limner.core.errors import InputError, nearest
from limner.core.progress import OnProgress, silent
from limner.data.labels import labels_of
from limner.data.listing import Arrays, Listing
from limner.data.options import DataOptions
from limner.data.source import DataSource

ARRAY_LINE = "an array [N, H, W, C] or [N, H, W] of uint8, a tensor [N, C, H, W], a pair (images, labels), or a mapping of them"
KEYS = ("images", "labels", "captions", "classes")
"""What a mapping may hold."""
_ROWS_AT_ONCE = 1024


def is_tensor(value: object) -> bool:
    """Whether `value` is a tensor. Where torch was never imported there is none, so it is not imported to ask."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def is_array_source(source: object) -> bool:
    """Whether `source` is an array, a tensor, a tuple or a mapping; whether it holds pictures shows when it is opened."""
    return isinstance(source, np.ndarray | tuple | Mapping) or is_tensor(source)


@dataclass(eq=False)
class ArraySource(DataSource):
    """N pictures of one shape in memory, or mapped from a file."""

    name: str
    pixels: Arrays
    count: int
    labels: NDArray[np.int64] | None = None
    """[N] into `classes`, -1 for none."""
    classes: tuple[str, ...] = ()
    captions: tuple[str, ...] | None = None

    def identity(self, on_progress: OnProgress = silent) -> str:
        """A SHA-256 of the pixels, labels, classes and captions."""
        digest = hashlib.sha256(json.dumps([self.count, self.pixels.shape, self.classes, self.captions]).encode())
        digest.update(b"-" if self.labels is None else self.labels.astype("<i8").tobytes())
        for start in range(0, self.count, _ROWS_AT_ONCE):
            rows = np.arange(start, min(start + _ROWS_AT_ONCE, self.count))
            digest.update(np.ascontiguousarray(self.pixels.rows(rows)).data)
        return digest.hexdigest()

    def listing(self, options: DataOptions, on_progress: OnProgress = silent) -> Listing:
        labelled = options.labels == "auto"
        return Listing(
            self.pixels,
            np.full(self.count, -1, np.int8),
            self.labels if labelled else None,
            self.classes if labelled else (),
            self.captions,
        )


def open_array(source: Any) -> ArraySource:
    """The source that an array, a tensor, a pair (images, labels), or a mapping of `KEYS` is.

    Arrays are uint8 [N, H, W] or [N, H, W, C] with 1, 3 or 4 channels. Tensors are [N, C, H, W], or [N, H, W] for grey
    pictures, on any device: uint8, or floating point from 0 to 1, of which each value x becomes the nearest of the 256 steps,
    floor(255 x + 1/2). So ``pixels / 255`` in half precision or better gives back the same pixels.

    Labels are as for `labels_of`, captions a sequence of texts, and `classes` the names of the classes. Errors: `InputError` in
    one line.
    """
    what = "the array" if isinstance(source, np.ndarray) else "the tensor" if is_tensor(source) else "the pair"
    images, labels, captions, classes = source, None, None, None
    if isinstance(source, Mapping):
        what = "the mapping"
        images, labels, captions, classes = _mapping_parts(source)
    elif isinstance(source, tuple):
        if len(source) != 2:
            raise InputError(f"a tuple of {len(source)} is no source; give a pair (images, labels)")
        images, labels = source
    pixels, count = pixels_of(images, what)
    numbers, names = (None, ()) if labels is None else labels_of(labels, count, classes, what)
    return ArraySource("array", pixels, count, numbers, names, None if captions is None else _texts(captions, count, what))


def _mapping_parts(source: Mapping[str, Any]) -> tuple[Any, Any, Any, Any]:
    """Images, labels, captions and classes; None for what is absent. Errors: `InputError` for other keys."""
    for key in map(str, source):
        if key not in KEYS:
            raise InputError(
                f"a mapping of pictures has no '{key}'{nearest(key, KEYS)} (there are: {', '.join(KEYS)}; of several data sets "
                "give one)"
            )
    parts = {str(key): value for key, value in source.items() if value is not None}
    if "images" not in parts:
        raise InputError(f"the mapping holds no 'images' but {', '.join(parts) or 'nothing'}; give them under that key")
    if "classes" in parts and "labels" not in parts:
        raise InputError("the mapping names classes and has no labels; give one label for each picture, or leave classes out")
    return parts["images"], parts.get("labels"), parts.get("captions"), parts.get("classes")


def _texts(captions: Sequence[Any], count: int, what: str) -> tuple[str, ...] | None:
    """The captions, "" where there is none; None where no picture has one."""
    texts = tuple("" if caption is None else caption for caption in captions)
    if len(texts) != count:
        raise InputError(f"{what} has {len(texts)} captions and {count} pictures; give one text for each picture")
    strange = next((text for text in texts if not isinstance(text, str)), None)
    if strange is not None:
        raise InputError(f"{what} has the caption {strange!r}, which is no text; give a text, or None for no caption")
    return texts if any(texts) else None


def uint8_advice(images: NDArray[Any]) -> str:
    """How a person makes uint8 of `images` of another type, by the range of their values.

    >>> print(uint8_advice(np.array([0.0, 0.5])))
    round them to 0..255 first; of values x from 0 to 1 take (x * 255).round().astype('uint8')
    >>> print(uint8_advice(np.array([-0.5, 0.5])))
    round them to 0..255 first; of values x from -1 to 1 take ((x + 1) * 127.5).round().astype('uint8')
    >>> print(uint8_advice(np.array([3, 4])))
    round them to 0..255 first
    """
    advice = "round them to 0..255 first"
    if images.dtype.kind not in "bf" or not images.size or not (images.min() >= -1 and images.max() <= 1):
        return advice
    if images.min() >= 0:
        return f"{advice}; of values x from 0 to 1 take (x * 255).round().astype('uint8')"
    return f"{advice}; of values x from -1 to 1 take ((x + 1) * 127.5).round().astype('uint8')"


def pixels_of(images: Any, what: str) -> tuple[Arrays, int]:
    """The pictures of an array or a tensor, read when they are needed, and how many there are. Errors: `InputError`."""
    if is_tensor(images):
        return _tensor_pixels(images, what)
    if not isinstance(images, np.ndarray):
        raise InputError(f"{what} has images of the type {type(images).__name__}; give a NumPy array or a tensor")
    channels = 1 if images.ndim == 3 else images.shape[-1] if images.ndim == 4 else 0
    if channels not in (1, 3, 4) or 0 in images.shape[1:]:
        hint = "; in an array the channels come last" if images.ndim == 4 and images.shape[1] in (1, 3, 4) else ""
        raise InputError(
            f"{what} has images of the shape {list(images.shape)}; give [N, H, W] or [N, H, W, C] with 1, 3 or 4 channels{hint}"
        )
    if images.dtype != np.uint8:
        raise InputError(f"{what} has images of {images.dtype}; {uint8_advice(images)}")
    height, width = images.shape[1:3]

    def rows(indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        block: NDArray[np.uint8] = images[indices]
        return block.reshape(len(indices), height, width, channels)

    return Arrays((height, width, channels), rows), len(images)


def _tensor_pixels(images: Any, what: str) -> tuple[Arrays, int]:
    import torch

    shape = tuple(images.shape)
    channels = 1 if len(shape) == 3 else shape[1] if len(shape) == 4 else 0
    if channels not in (1, 3, 4) or 0 in shape[1:]:
        hint = "; in a tensor the channels come second" if len(shape) == 4 and shape[3] in (1, 3, 4) else ""
        raise InputError(
            f"{what} has images of the shape {list(shape)}; give [N, C, H, W] with 1, 3 or 4 channels, or [N, H, W]{hint}"
        )
    if images.dtype != torch.uint8 and not images.is_floating_point():
        raise InputError(f"{what} has images of {images.dtype}; give uint8, or floating point from 0 to 1")
    height, width = shape[-2:]

    def rows(indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        block = images.detach()[torch.from_numpy(indices).to(images.device)]
        return bytes_of_tensor(block.reshape(len(indices), channels, height, width), what).transpose(0, 2, 3, 1)

    return Arrays((height, width, channels), rows), len(images)


def bytes_of_tensor(values: Any, what: str) -> NDArray[np.uint8]:
    """A tensor of uint8, or of floating point from 0 to 1, as uint8 of the same shape: floor(255 x + 1/2).

    Errors: `InputError` for another type, or values outside 0 to 1.
    """
    import torch

    values = values.detach()
    if values.dtype == torch.uint8:
        plain: NDArray[np.uint8] = values.cpu().numpy()
        return plain
    if not values.is_floating_point():
        raise InputError(f"{what} has values of {values.dtype}; give uint8, or floating point from 0 to 1")
    real = values.to("cpu", torch.float64).numpy()
    if not (np.isfinite(real).all() and (real >= 0).all() and (real <= 1).all()):
        raise InputError(f"{what} has values from {real.min():g} to {real.max():g}; floating point has to be from 0 to 1")
    scaled: NDArray[np.uint8] = np.floor(real * 255 + 0.5).astype(np.uint8)
    return scaled

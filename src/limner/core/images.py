"""Pictures in their two forms: uint8 arrays [N, H, W, C] in files, float tensors [N, C, H, W] in [-1, 1] in networks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from limner.core.files import atomic
from limner.core.picture_texts import SHEET_KEY

SHOWN_SIDE = 96
"""Pixels, about, to which the longer side of a smaller image is enlarged in a grid."""
MAX_ENLARGED_WIDTH = 1600
"""Pixels of a grid's width beyond which its images are not enlarged."""


def to_tensor(images: NDArray[np.uint8], device: torch.device | None = None) -> Tensor:
    """[N, H, W, C] uint8 -> [N, C, H, W] float32 in [-1, 1] on `device` (the CPU where None), channels last in memory.

    >>> to_tensor(np.array([[[[0], [255]]]], dtype=np.uint8))
    tensor([[[[-1.,  1.]]]])
    """
    pixels = torch.from_numpy(np.require(images, requirements="W")).to(device or "cpu")
    return pixels.permute(0, 3, 1, 2).to(torch.float32).mul_(2 / 255).sub_(1)


def to_uint8(images: Tensor) -> NDArray[np.uint8]:
    """[N, C, H, W] in [-1, 1] -> [N, H, W, C] uint8 on the CPU: clipped to that range, and rounded to the nearest value."""
    pixels = images.detach().float().add(1).mul(127.5).round_().clamp_(0, 255).to(torch.uint8)
    array: NDArray[np.uint8] = pixels.permute(0, 2, 3, 1).contiguous().cpu().numpy()
    return array


def grid(images: NDArray[np.uint8], columns: int | None = None, gap: int = 2) -> NDArray[np.uint8]:
    """One picture [H', W', C] of all `images` [N, H, W, C], row by row on white, `gap` pixels apart.

    Where `columns` is None the picture is about square. Small images are enlarged by a whole factor, to about `SHOWN_SIDE`
    pixels, by bicubic interpolation, since squares of one pixel do not look like a digit or a shoe.
    """
    count, height, width, channels = images.shape
    columns = columns or max(1, math.ceil(math.sqrt(count * height / width)))
    zoom = max(1, min(round(SHOWN_SIDE / max(height, width)), MAX_ENLARGED_WIDTH // (columns * (width + gap))))
    if zoom > 1:
        side = (width * zoom, height * zoom)
        enlarged = [np.asarray(to_pillow(image).resize(side, Image.Resampling.BICUBIC)) for image in images]
        images = np.stack(enlarged).reshape(count, *side[::-1], channels)
    height, width = height * zoom, width * zoom
    rows = math.ceil(count / columns)
    sheet = np.full((rows * (height + gap) + gap, columns * (width + gap) + gap, channels), 255, dtype=np.uint8)
    for index, image in enumerate(images):
        top, left = gap + index // columns * (height + gap), gap + index % columns * (width + gap)
        sheet[top : top + height, left : left + width] = image
    return sheet


def to_pillow(image: NDArray[np.uint8]) -> Image.Image:
    """[H, W, C] uint8 with 1, 3 or 4 channels -> the Pillow image of mode L, RGB or RGBA."""
    return Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)


def save_png(path: Path, image: NDArray[np.uint8], text: Mapping[str, str] | None = None) -> None:
    """Writes [H, W, C] to `path` as PNG, atomically, with `text` as iTXt chunks. Errors: `InputError`, as `files.atomic`."""
    info = PngInfo()
    for key, value in (text or {}).items():
        info.add_itxt(key, value.encode("utf-8", "backslashreplace").decode())  # a file's name may hold bytes that are no text
    with atomic(path) as temporary:
        to_pillow(image).save(temporary, format="PNG", pnginfo=info)


def save_sheet(path: Path, sheet: NDArray[np.uint8], text: Mapping[str, str] | None = None) -> None:
    """`save_png` of a sheet [H, W, C] of several pictures, whose text says that it is one. Errors: as `save_png`."""
    save_png(path, sheet, {SHEET_KEY: "several pictures", **(text or {})})


def side_by_side(*sheets: NDArray[np.uint8], gap: int = 12) -> NDArray[np.uint8]:
    """One picture of several [H, W, C] with equal C, left to right on white; `gap` pixels of white follow each of them."""
    height = max(sheet.shape[0] for sheet in sheets)
    parts: list[NDArray[np.uint8]] = []
    for sheet in sheets:
        padding = ((0, height - sheet.shape[0]), (0, gap if parts or len(sheets) > 1 else 0), (0, 0))
        parts.append(np.pad(sheet, padding, constant_values=255))
    return np.concatenate(parts, axis=1)


def batches_of(count: int, size: int) -> Sequence[slice]:
    """Slices of `size` that together cover the rows 0 … count-1; the last one may be shorter.

    >>> batches_of(5, 2)
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]

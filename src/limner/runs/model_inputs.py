"""Checks and converts what a person gives to a loaded model in Python: pictures and latents."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from limner.core.errors import InputError
from limner.core.images import to_tensor

MAX_VALUE = 1.5
"""A float tensor with a larger value is no picture in [-1, 1]; a search among pictures may pass these ends by a little."""


def check_images(images: object, shape: tuple[int, int, int], model: object) -> None:
    """Errors: `InputError` for what is no array [N, *shape] uint8, the pictures (H, W, C) of `model`."""
    if not isinstance(images, np.ndarray):
        raise InputError(f"pictures are an array [N, H, W, C] of uint8, not {type(images).__name__}")
    if images.dtype != np.uint8:
        raise InputError(
            f"arrays of pictures are uint8, from 0 to 255, and these are {images.dtype}; of values x from 0 to 1 give "
            "(255 * x).round().astype('uint8')"
        )
    if images.ndim != 4 or images.shape[1:] != shape:
        own = tuple(images.shape[1:]) if images.ndim == 4 else f"those of an array {list(images.shape)}"
        raise InputError(f"pictures of {model} have the shape {shape} behind their number, not {own}")


def tensor_of_images(images: object, shape: tuple[int, int, int], model: object, device: torch.device) -> Tensor:
    """[N, C, H, W] in [-1, 1] of pictures in one of the forms that `Loaded.encode` takes; `shape` is (H, W, C).

    Errors: `InputError` for pictures of another type or shape, and for values far outside of [-1, 1].
    """
    if not isinstance(images, Tensor):
        check_images(images, shape, model)
        assert isinstance(images, np.ndarray)
        return to_tensor(images, device)
    height, width, channels = shape
    if images.ndim != 4 or tuple(images.shape[1:]) != (channels, height, width):
        raise InputError(f"tensors for {model} are [N, {channels}, {height}, {width}], not {list(images.shape)}")
    if images.dtype == torch.uint8:
        return images.to(torch.float32) * (2 / 255) - 1
    if not images.is_floating_point():
        raise InputError(f"tensors of pictures are uint8 from 0 to 255 or float in [-1, 1], not {images.dtype}")
    _check_finite(images, "pictures")
    images = images.to(torch.float32)
    if images.numel() and bool((images.detach().abs() > MAX_VALUE).any()):
        raise InputError(
            f"float tensors of pictures are in [-1, 1], and these reach {float(images.detach().abs().max()):g}; "
            "of values x from 0 to 255 give x / 127.5 - 1"
        )
    return images


def tensor_of_latents(
    latents: object, shape: tuple[int, ...] | None, vocabulary: int | None, model: object, device: torch.device
) -> Tensor:
    """`latents` as a tensor on `device`; `shape` is that of one picture's latents (None: `model` has none).

    `vocabulary` is the number of codes, None where latents are real numbers. Errors: `InputError` for another type or shape,
    and for values that are no codes or not finite.
    """
    if not isinstance(latents, Tensor | np.ndarray):
        raise InputError(f"latents are a tensor or an array, such as `encode` gives, not {type(latents).__name__}")
    try:
        tensor = (latents if isinstance(latents, Tensor) else torch.from_numpy(latents)).to(device)
    except TypeError as error:  # an array of texts or objects
        raise InputError(f"latents are numbers, not an array of {latents.dtype}") from error
    if shape is None:
        return tensor
    if tuple(tensor.shape[1:]) != shape or not tensor.ndim:
        raise InputError(f"latents of {model} are [N, {', '.join(map(str, shape))}], not {list(tensor.shape)}")
    if vocabulary is None:
        if not tensor.is_floating_point():
            raise InputError(f"latents of {model} are floating point, not {tensor.dtype}; give latents.float()")
        _check_finite(tensor, "latents")
        tensor = tensor.to(torch.float32)  # NumPy's own floating point is float64
    else:
        if tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool:
            raise InputError(f"latents of {model} are whole numbers of codes, int64, not {tensor.dtype}")
        if tensor.numel() and not 0 <= int(tensor.min()) <= int(tensor.max()) < vocabulary:
            raise InputError(
                f"codes of {model} are from 0 to {vocabulary - 1}, and these go from {int(tensor.min())} to {int(tensor.max())}"
            )
    return tensor


def _check_finite(values: Tensor, what: str) -> None:
    count = int((~torch.isfinite(values.detach())).sum())
    if count:
        raise InputError(f"{count:,} of {values.numel():,} values of the {what} are NaN or infinite; give finite numbers")


def check_given(picture: Any, shape: tuple[int, int, int] | None, model: object) -> NDArray[np.uint8]:
    """The given picture, checked; `shape` is (C', H, W). Errors: `InputError` for what is no array [H, W, C'] uint8."""
    expected = None if shape is None else (*shape[1:], shape[0])
    if not isinstance(picture, np.ndarray):
        raise InputError(f"the given picture is an array {expected} (height, width, channels), not {type(picture).__name__}")
    if picture.dtype != np.uint8 or expected is None or picture.shape != expected:
        raise InputError(
            f"the given picture is {picture.dtype} of the shape {picture.shape}; {model} takes uint8 of the shape "
            f"{expected} (height, width, channels)"
        )
    return picture

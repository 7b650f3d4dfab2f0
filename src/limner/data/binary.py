"""Black and white for grey: each pixel drawn once, as the data of likelihood studies are (Salakhutdinov & Murray 2008)."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray


def binarised(pixels: NDArray[np.uint8], seed: int) -> NDArray[np.uint8]:
    """[n, H, W, C] -> the same shape of 0 and 255: a pixel is white with probability grey/255.

    The draws of a picture are a function of its own pixels and of `seed`, so that they depend on no order; they are raw PCG64
    bits, the same on every machine.
    """
    drawn = np.empty_like(pixels)
    for row, picture in enumerate(pixels):
        key = np.frombuffer(hashlib.sha256(picture.tobytes()).digest(), "<u4")
        bits = np.random.PCG64(np.random.SeedSequence([seed, *key.tolist()])).random_raw(picture.size)
        uniform = (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53
        drawn[row] = np.where(uniform.reshape(picture.shape) * 255 < picture, 255, 0)
    return drawn

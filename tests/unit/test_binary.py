"""Black and white drawn for grey."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from limner import InputError
from limner.data.pictures import binarised
from limner.data.prepare import prepare
from made import encoded, textured, write


def test_a_pixel_is_white_as_often_as_it_is_bright() -> None:
    grey = np.repeat(np.array([0, 1, 64, 128, 254, 255], np.uint8), 4000).reshape(1, 6, 4000, 1)
    drawn = binarised(grey, 0)
    assert set(np.unique(drawn)) == {0, 255}
    shares = (drawn == 255).mean((0, 2, 3))
    assert shares[0] == 0
    assert shares[-1] == 1
    np.testing.assert_allclose(shares, grey[0, :, 0, 0] / 255, atol=0.03)


def test_draws_belong_to_the_picture_and_the_seed() -> None:
    images = np.stack([textured(seed, 12, 10, 1) for seed in range(5)])
    drawn = binarised(images, 0)
    assert np.array_equal(drawn[::-1], binarised(images[::-1].copy(), 0))
    assert np.array_equal(drawn[3], binarised(images[3:4], 0)[0])
    assert not np.array_equal(drawn, binarised(images, 1))
    assert drawn[0].tobytes()[:24].hex() == GOLDEN


GOLDEN = "000000ff0000ffffffff0000ff0000ffffff00ffffff0000"


def test_a_set_is_prepared_in_black_and_white(tmp_path: Path) -> None:
    for number in range(8):
        write(tmp_path / "set" / f"{number}.png", encoded(textured(number, 16, 16, 1)))
    plain, binary = prepare(tmp_path / "set", size=16), prepare(tmp_path / "set", size=16, binary=True)
    assert plain.shape == binary.shape == (16, 16, 1)
    assert plain.fingerprint != binary.fingerprint
    assert "binary" not in plain.manifest["options"]
    assert binary.manifest["options"]["binary"] is True
    everything = np.arange(8)
    assert np.array_equal(binary.images.gather(everything), binarised(plain.images.gather(everything), 0))
    with pytest.raises(InputError, match="one channel"):
        prepare(tmp_path / "set", size=16, binary=True, channels=3)
    with pytest.raises(InputError, match="already prepared, with binary False"):
        prepare(plain.path, binary=True)

"""Pictures between files and networks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from limner.core.images import batches_of, grid, save_png, side_by_side, to_tensor, to_uint8


def test_every_value_survives_the_round_trip() -> None:
    values = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    tensor = to_tensor(values)
    assert tensor.dtype == torch.float32
    assert float(tensor.min()) == -1.0
    assert float(tensor.max()) == 1.0
    assert np.array_equal(to_uint8(tensor), values)
    for kind in (torch.float64, torch.float16):
        assert np.array_equal(to_uint8(tensor.to(kind)), values)


def test_axes_and_memory() -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 5, 7, 3), dtype=np.uint8)
    tensor = to_tensor(images)
    assert tensor.shape == (2, 3, 5, 7)
    assert tensor.is_contiguous(memory_format=torch.channels_last)
    assert float(tensor[1, 2, 3, 4]) == pytest.approx(int(images[1, 3, 4, 2]) * 2 / 255 - 1, abs=1e-6)
    assert np.array_equal(to_uint8(tensor), images)
    frozen = images.copy()
    frozen.flags.writeable = False
    assert torch.equal(to_tensor(frozen), tensor)
    tensor.add_(1)
    assert images.max() <= 255
    assert np.array_equal(images, frozen), "the array is not written to"


def test_rounded_and_clipped() -> None:
    values = torch.tensor([-2.0, -1.0, -0.996, -0.0039, 0.0039, 0.999, 3.0]).view(1, 1, 1, -1)
    assert to_uint8(values).flatten().tolist() == [0, 0, 1, 127, 128, 255, 255]


def test_grid_holds_every_image_at_its_place() -> None:
    images = np.stack([np.full((90, 70, 3), 10 * i, np.uint8) for i in range(5)])
    sheet = grid(images, columns=3, gap=2)
    assert sheet.shape == (2 * 92 + 2, 3 * 72 + 2, 3)
    for i in range(5):
        top, left = 2 + i // 3 * 92, 2 + i % 3 * 72
        assert (sheet[top : top + 90, left : left + 70] == 10 * i).all()
    assert (sheet[:2] == 255).all()
    assert (sheet[:, 72:74] == 255).all()
    assert (sheet[94:184, 146:216] == 255).all(), "an empty place is white"


@pytest.mark.parametrize(
    ("side", "count", "zoom"), [(8, 64, 12), (28, 64, 3), (32, 100, 3), (64, 4, 2), (28, 10_000, 1), (80, 1, 1)]
)
def test_small_images_are_enlarged_to_what_a_person_can_see(side: int, count: int, zoom: int) -> None:
    image = np.random.default_rng(0).integers(0, 250, (1, side, side, 1), dtype=np.uint8)
    sheet = grid(np.repeat(image, count, 0))
    columns = int(count**0.5)
    assert sheet.shape == (columns * (side * zoom + 2) + 2, columns * (side * zoom + 2) + 2, 1)
    enlarged = Image.fromarray(image[0, ..., 0]).resize((side * zoom, side * zoom), Image.Resampling.BICUBIC)
    assert np.array_equal(sheet[-side * zoom - 2 : -2, -side * zoom - 2 : -2, 0], np.asarray(enlarged))


@pytest.mark.parametrize("channels", [1, 3])
def test_tiny_images_are_enlarged_smoothly(channels: int) -> None:
    """A ramp stays a ramp: every step between neighbours is small, where whole pixels would jump; and it ends where it did."""
    ramp = np.broadcast_to(np.arange(8, dtype=np.uint8)[None, None, :, None] * 30, (1, 8, 8, channels))
    sheet = grid(np.ascontiguousarray(ramp))[2:-2, 2:-2].astype(int)
    assert sheet.shape == (96, 96, channels)
    assert np.abs(np.diff(sheet, axis=1)).max() < 10
    assert sheet.min() <= 3
    assert sheet.max() >= 207


@pytest.mark.parametrize(("count", "columns"), [(1, 1), (64, 8), (10, 4)])
def test_grid_is_nearly_square(count: int, columns: int) -> None:
    sheet = grid(np.zeros((count, 80, 80, 1), np.uint8))
    assert sheet.shape[1] == columns * 82 + 2


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_png_round_trip_with_and_without_text(channels: int, tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (5, 7, channels), dtype=np.uint8)
    save_png(tmp_path / "told.png", image, {"seed": "7", "recipe": '{"ü": "日本"}'})
    with Image.open(tmp_path / "told.png") as file:
        assert file.text == {"seed": "7", "recipe": '{"ü": "日本"}'}  # type: ignore[attr-defined]
        assert np.array_equal(np.asarray(file).reshape(image.shape), image)
    save_png(tmp_path / "silent.png", image)
    with Image.open(tmp_path / "silent.png") as file:
        assert file.text == {}  # type: ignore[attr-defined]
        assert np.array_equal(np.asarray(file).reshape(image.shape), image)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["silent.png", "told.png"]


def test_side_by_side() -> None:
    left, right = np.full((4, 3, 1), 10, np.uint8), np.full((6, 2, 1), 20, np.uint8)
    both = side_by_side(left, right, gap=1)
    assert both.shape[0] == 6
    assert (both[:4, :3] == 10).all()
    assert (both[4:, :3] == 255).all()
    assert (both[:, 4:6] == 20).all()
    assert (both[:, 3] == 255).all()


def test_batches_cover_everything_once() -> None:
    for count, size in ((0, 4), (1, 4), (8, 4), (9, 4)):
        places = [place for part in batches_of(count, size) for place in range(count)[part]]
        assert places == list(range(count))

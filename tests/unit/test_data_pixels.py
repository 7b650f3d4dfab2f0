"""What a file says of its pixels is done once, and as browsers do it: orientation, range, colour profile, transparency."""

from __future__ import annotations

import io
import os
import struct
import threading
import time
import tracemalloc
import zipfile
import zlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms, features

import made
from limner.core.errors import InputError
from limner.core.progress import Progress, silent
from limner.data.items import picture_file
from limner.data.options import DataOptions
from limner.data.pictures import Shaping, Unreadable, look, read
from limner.data.prepare import check, prepare, prepare_source
from limner.data.reading import bytes_of
from limner.data.reuse import cache_key
from limner.data.threads import ByteBudget, Job, in_parallel
from limner.recipes.recipe import DataConfig
from limner.tasks.inputs import read_pictures
from limner.training.resolve import resolve_request
from limner.training.train import TrainRequest

WHITE = (255, 255, 255)
MARK = np.zeros((8, 16), np.uint8)
MARK[:2, :4] = 255
"""A picture with a white corner, 8 high and 16 wide."""
UPRIGHT = {  # EXIF 2.3, tag 0x0112
    1: MARK,
    2: MARK[:, ::-1],
    3: MARK[::-1, ::-1],
    4: MARK[::-1],
    5: MARK.T,
    6: MARK[::-1].T,
    7: MARK[::-1, ::-1].T,
    8: MARK.T[::-1],
}


def shaped(data: bytes, size: tuple[int, int], channels: int = 3, **options: Any) -> NDArray[np.uint8]:
    return read(data, Shaping(size, "crop", channels, WHITE, **options))[0]


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png16(values: NDArray[np.uint16], *chunks: bytes) -> bytes:
    """A PNG of 16 bits with 1 to 4 channels [H, W, C], and chunks of its own before the pixels."""
    height, width, channels = values.shape
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(chunks) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def with_chunks(data: bytes, *chunks: bytes) -> bytes:
    """A PNG with chunks of its own after the header."""
    return data[:33] + b"".join(chunks) + data[33:]


def tiff(values: NDArray[Any], photometric: int, *, order: str = "<", planar: int = 1, bits: int | None = None) -> bytes:
    """An uncompressed TIFF [H, W, C] of whole numbers."""
    height, width, channels = values.shape
    if bits == 12:
        data = np.packbits(np.unpackbits(values.astype(">u2").view(np.uint8)).reshape(-1, 16)[:, 4:]).tobytes()
    else:
        parts = [values] if planar == 1 else [values[..., at : at + 1] for at in range(channels)]
        data = b"".join(np.ascontiguousarray(part).astype(values.dtype.newbyteorder(order)).tobytes() for part in parts)
    count = 1 if planar == 1 else channels
    offsets = [8 + at * len(data) // count for at in range(count)]
    tags = {
        256: [width],
        257: [height],
        258: [bits or values.itemsize * 8] * channels,
        259: [1],
        262: [photometric],
        273: offsets,
        277: [channels],
        278: [height],
        279: [len(data) // count] * count,
        284: [planar],
    }
    data += b"\0" * (len(data) % 2)
    extra, entries = b"", b""
    for tag, numbers in tags.items():
        packed = struct.pack(f"{order}{len(numbers)}I", *numbers)
        if len(numbers) > 1:
            extra, packed = extra + packed, struct.pack(f"{order}I", 8 + len(data) + len(extra))
        entries += struct.pack(f"{order}HHI", tag, 4, len(numbers)) + packed
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8 + len(data) + len(extra))
    return head + data + extra + struct.pack(f"{order}H", len(tags)) + entries + b"\0" * 4


def turned(form: str, turn: int) -> bytes:
    """`MARK` in a file whose orientation is `turn`."""
    exif = Image.Exif()
    exif[0x0112] = turn
    image = Image.fromarray(MARK)
    if form == "TIFF":
        return made.encoded(image, "TIFF", tiffinfo={0x0112: turn})
    if form == "TIFF, compressed":
        return made.encoded(image, "TIFF", tiffinfo={0x0112: turn}, compression="tiff_lzw")
    if form == "PNG, at its end":
        data = made.encoded(image)
        return data[:-12] + chunk(b"eXIf", exif.tobytes()[6:]) + data[-12:]
    if form == "PNG, as XMP":
        xmp = f'<x:xmpmeta><rdf:Description tiff:Orientation="{turn}"/></x:xmpmeta>'.encode()
        return with_chunks(made.encoded(image), chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp))
    if form == "MPO":
        return made.encoded(image.convert("RGB"), "MPO", exif=exif, save_all=True, append_images=[image.convert("RGB")])
    options: dict[str, Any] = {"WEBP": {"lossless": True}, "AVIF": {"quality": 100}}.get(form, {})
    return made.encoded(image.convert("RGB"), form, exif=exif, **options)


@pytest.mark.parametrize("turn", [2, 3, 5, 6, 8])
@pytest.mark.parametrize(
    "form", ["TIFF", "TIFF, compressed", "JPEG", "PNG", "PNG, at its end", "PNG, as XMP", "WEBP", "MPO", "AVIF"]
)
def test_an_orientation_is_applied_once_in_every_format(form: str, turn: int) -> None:
    if form == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow reads no AVIF")
    data, upright = turned(form, turn), UPRIGHT[turn]
    assert np.abs(shaped(data, upright.shape, 1)[..., 0].astype(int) - upright).mean() < 8
    header, info = look(data), read(data, Shaping((4, 4), "crop", 1, WHITE))[1]
    assert (header.height, header.width) == (info.height, info.width) == upright.shape


@pytest.mark.parametrize("form", ["TIFF", "PNG, at its end", "JPEG"])
def test_a_picture_of_a_data_set_is_upright_too(form: str) -> None:
    """As items of a torch data set are: opened by Pillow, and not decoded yet."""
    data = picture_file(Image.open(io.BytesIO(turned(form, 6))), "it")
    assert np.abs(shaped(data, (16, 8), 1)[..., 0].astype(int) - UPRIGHT[6]).mean() < 8


def test_a_run_of_before_keeps_its_pixels() -> None:
    """Rules 1: TIFFs turned twice, values scaled by their file, profiles passed over."""
    twice = shaped(turned("TIFF", 6), UPRIGHT[3].shape, 1, rules=1)
    assert (twice[..., 0] == UPRIGHT[3]).all()
    header = look(turned("TIFF", 6), rules=1)
    assert (header.height, header.width) == MARK.shape
    dark = made.encoded(Image.fromarray(np.full((4, 4), 255, np.uint16)))
    assert (shaped(dark, (4, 4), 1, rules=1) == 1).all()
    colours = made.encoded(Image.new("RGB", (4, 4), (60, 200, 80)), icc_profile=adobe_like())
    assert (shaped(colours, (4, 4), rules=1) == (60, 200, 80)).all()


def values(top: int, seed: int, channels: int = 1) -> NDArray[np.uint16]:
    drawn = np.random.default_rng(seed).integers(0, top + 1, (8, 8, channels)).astype(np.uint16)
    drawn[0, :2] = [[0], [top]]
    return drawn


WIDE_FILES = {
    "png": png16,
    "tif": lambda numbers: made.encoded(Image.fromarray(numbers[..., 0]), "TIFF"),
    "rgb.png": lambda numbers: png16(np.repeat(numbers, 3, axis=2)),
    "rgba.png": lambda numbers: png16(np.concatenate([*[numbers] * 3, np.full_like(numbers, 65535)], axis=2)),
    "la.png": lambda numbers: png16(np.concatenate([numbers, np.full_like(numbers, 65535)], axis=2)),
    "rgb.tif": lambda numbers: tiff(np.repeat(numbers, 3, axis=2), 2),
    "big-endian.tif": lambda numbers: tiff(np.repeat(numbers, 3, axis=2), 2, order=">"),
}


@pytest.mark.parametrize("form", WIDE_FILES)
@pytest.mark.parametrize(("highest", "white"), [(255, 255), (900, 1023), (4000, 4095), (16000, 16383), (30000, 65535)])
def test_whole_numbers_share_the_scale_that_holds_the_largest_of_the_set(
    form: str, highest: int, white: int, tmp_path: Path
) -> None:
    """The darkest file alone would be of fewer bits."""
    sets = [values(highest // 20, 0), values(highest, 1)]
    for number, numbers in enumerate(sets):
        made.write(tmp_path / "set" / f"{number}.{form}", WIDE_FILES[form](numbers))
    dataset = prepare(tmp_path / "set", split="none", channels=1)
    wanted = np.rint(np.stack(sets) * (255 / white))
    assert np.abs(dataset.images.gather(np.arange(2)) - wanted).max() <= 1
    assert dataset.value_range == (0, white)
    text = f"from 0 to {highest}: 0 is black and {white} white; data.value_range=LOW,HIGH"
    assert [text in note for note in dataset.notes].count(True) == 1, dataset.notes


@pytest.mark.parametrize(
    ("arrays", "limits"),
    [
        (((0, 0.5), (0.25, 1)), (0, 1)),
        (((0, 0.5), (10, 200)), (0, 255)),
        (((-2, 0), (0, 6)), (-2, 6)),
        (((0, 4), (100, 3000)), (0, 3000)),
    ],
)
def test_floating_point_shares_one_scale(
    arrays: tuple[tuple[float, float], ...], limits: tuple[float, float], tmp_path: Path
) -> None:
    for number, span in enumerate(arrays):
        made.write(tmp_path / f"{number}.tiff", made.encoded(Image.fromarray(np.array([span] * 2, np.float32)), "TIFF"))
    dataset = prepare(tmp_path, split="none")
    wanted = np.rint((np.array(arrays) - limits[0]) * 255 / (limits[1] - limits[0]))
    assert np.abs(dataset.images.gather(np.arange(2))[:, 0, :, 0] - wanted).max() <= 1
    assert dataset.value_range == limits


def test_a_range_can_be_chosen_and_is_recorded(tmp_path: Path) -> None:
    for number in range(3):
        made.write(tmp_path / "s" / f"{number}.png", png16(values(3000, number)))
    own, chosen = prepare(tmp_path / "s"), prepare(tmp_path / "s", value_range="0,1000")
    assert (own.images.gather(np.array([0])) <= 187).all()
    assert (chosen.images.gather(np.array([0])) == 255).any()
    assert "cut off" in " ".join(chosen.notes)
    recorded = DataConfig(source=str(tmp_path / "s"), value_range=own.value_range)
    assert prepare(own.path, value_range=recorded.value_range).path == own.path, "a recorded range is that of the set"
    assert DataOptions.of({"value_range": "0,4095"}) == DataOptions.of({"value_range": (0, 4095)})
    assert "value_range" not in DataOptions().as_json(), "sets of before are found again"
    for wrong in ("4095", "5,5", "9,1", "0,nan", 3, "a,b"):
        with pytest.raises(InputError, match=r"value_range .* is not a range; give two numbers"):
            DataOptions.of({"value_range": wrong})


def test_a_run_records_the_range_and_reads_pictures_by_it(tmp_path: Path) -> None:
    for number in range(12):
        made.write(tmp_path / "s" / f"{number}.png", png16(values(4000, number)))
    request = TrainRequest(source=str(tmp_path / "s"), preset="gan", images=64, settings=("score.points=0",))
    recipe, dataset, _ = resolve_request(request, silent)
    assert recipe.data.low_and_high == (0, 4095)
    assert prepare_source(recipe.data.source, recipe.data.options()).fingerprint == dataset.fingerprint
    model: Any = SimpleNamespace(recipe=recipe, shape=dataset.shape)
    single = made.write(tmp_path / "dark.png", png16(np.full((8, 8, 1), 200, np.uint16)))  # by itself it would be of 8 bits
    assert (read_pictures(model, [single]).images == 12).all()
    older: Any = SimpleNamespace(recipe=recipe.model_copy(update={"data": DataConfig(rules=1)}), shape=dataset.shape)
    assert (read_pictures(older, [single]).images == 1).all()


def test_wide_given_pictures_share_the_scale(tmp_path: Path) -> None:
    made.paired(tmp_path, 4)
    for number in range(4):
        made.write(tmp_path / "given" / f"{number:03d}.png", png16(np.full((24, 24, 1), 100 * (number + 1), np.uint16)))
    given = prepare(tmp_path, split="none").given_images
    assert given is not None
    assert given.gather(np.arange(4))[:, 0, 0, 0].tolist() == [25, 50, 75, 100]


def test_the_second_pass_is_for_those_of_another_scale_alone(tmp_path: Path) -> None:
    for number in range(6):
        made.write(tmp_path / f"{number}.png", png16(values(60000 if number else 100, number)))
    events: list[Progress] = []
    check(tmp_path, on_progress=events.append)
    assert [event.total for event in events if event.what == "scaling wide values"] == [1]


def test_a_scale_that_a_file_declares_is_its_own(tmp_path: Path) -> None:
    """A TIFF of 12 bits, and a PGM, whose header names its white."""
    assert (shaped(tiff(np.full((2, 2, 1), 2048, np.uint16), 1, bits=12), (2, 2), 1) == 128).all()
    assert (shaped(b"P5 2 2 4095\n" + struct.pack(">4H", *[200] * 4), (2, 2), 1) == 12).all()
    assert (shaped(b"P5 2 2 65535\n" + struct.pack(">4H", *[200] * 4), (2, 2), 1) == 1).all()


@pytest.mark.parametrize("white", [1000, 200])
def test_white_is_zero(white: int) -> None:
    """Of 8 bits Pillow turns the values round, of more it does not."""
    scale = 1023 if white == 1000 else 255
    dark = shaped(tiff(np.array([[[0], [white]]], np.uint16), 0), (1, 2), 1)
    assert np.abs(dark[0, :, 0] - np.array([255, 255 - 255 * white / scale])).max() <= 1
    assert (shaped(tiff(np.array([[[0], [200]]], np.uint8), 0), (1, 2), 1)[0, :, 0] == (255, 55)).all()
    one_bit = made.encoded(Image.new("1", (8, 1), 1), "TIFF", tiffinfo={262: 0})
    assert (shaped(one_bit, (1, 8), 1) == np.asarray(Image.open(io.BytesIO(one_bit)).convert("L"))[..., None]).all()


def test_colours_of_16_bits_in_planes_are_not_guessed() -> None:
    with pytest.raises(Unreadable, match="separate planes"):
        shaped(tiff(values(65535, 0, 3), 2, planar=2), (8, 8))


@pytest.mark.parametrize(
    ("data", "clear"),
    [
        (png16(np.array([[[7], [500]]], np.uint16), chunk(b"tRNS", struct.pack(">H", 500))), [False, True]),
        (
            png16(np.array([[[7, 8, 9], [5, 6, 700]]], np.uint16), chunk(b"tRNS", struct.pack(">3H", 5, 6, 700))),
            [False, True],
        ),
        (png16(np.array([[[7, 65535], [5, 0]]], np.uint16)), [False, True]),
        (png16(np.array([[[7, 8, 9, 65535], [5, 6, 7, 0]]], np.uint16)), [False, True]),
    ],
)
def test_transparency_of_16_bits(data: bytes, clear: list[bool]) -> None:
    pixels, info = read(data, Shaping((1, 2), "crop", 4, WHITE))
    assert info.transparent
    assert (pixels[0, :, 3] == np.where(clear, 0, 255)).all()
    assert read(data, Shaping((1, 2), "crop", 3, (1, 2, 3)))[0][0, 1].tolist() == [1, 2, 3]


@pytest.mark.parametrize(("bits", "value"), [(2, 1), (4, 3)])
def test_a_clear_value_of_few_bits(bits: int, value: int) -> None:
    per_byte = 8 // bits
    rows = b"\0" + bytes([sum((value if at == 0 else 2) << (8 - bits - at * bits) for at in range(per_byte))])
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", per_byte, 1, bits, 0, 0, 0, 0))
    ending = chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    data = b"\x89PNG\r\n\x1a\n" + head + chunk(b"tRNS", struct.pack(">H", value)) + ending
    assert shaped(data, (1, per_byte), 4)[0, :, 3].tolist() == [0] + [255] * (per_byte - 1)


def test_a_palette_with_a_clear_value_for_each_colour() -> None:
    image = Image.new("P", (2, 1), 0)
    image.putpalette([0, 128, 0, 0, 0, 255])
    image.putpixel((1, 0), 1)
    assert shaped(made.encoded(image, transparency=bytes([255, 0])), (1, 2))[0].tolist() == [[0, 128, 0], [255, 255, 255]]


def profile(space: bytes, tags: dict[bytes, bytes]) -> bytes:
    offset = 128 + 4 + 12 * len(tags)
    table, body = struct.pack(">I", len(tags)), b""
    for name, value in tags.items():
        table += name + struct.pack(">II", offset + len(body), len(value))
        body += value + b"\0" * (-len(value) % 4)
    head = struct.pack(">I4sI4s4s4s", offset + len(body), b"test", 0x02100000, b"mntr", space, b"XYZ ")
    head += struct.pack(">6H", 2020, 1, 1, 0, 0, 0) + b"acsp" + b"\0" * 28
    head += b"".join(struct.pack(">i", round(one * 65536)) for one in (0.9642, 1, 0.8249))
    return head.ljust(128, b"\0") + table + body


def tag_xyz(*numbers: float) -> bytes:
    return b"XYZ \0\0\0\0" + b"".join(struct.pack(">i", round(one * 65536)) for one in numbers)


def tag_gamma(gamma: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256))


def adobe_like(gamma: float = 2.2) -> bytes:
    """A wide gamut: the primaries of Adobe RGB (1998)."""
    columns = {
        b"rXYZ": tag_xyz(0.60974, 0.31111, 0.01947),
        b"gXYZ": tag_xyz(0.20528, 0.62567, 0.06087),
        b"bXYZ": tag_xyz(0.14919, 0.06322, 0.74457),
    }
    curves = dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), tag_gamma(gamma))
    return profile(b"RGB ", {b"desc": _DESCRIPTION, b"wtpt": tag_xyz(0.9642, 1, 0.8249)} | columns | curves)


_DESCRIPTION = b"desc\0\0\0\0" + struct.pack(">I", 5) + b"test\0" + b"\0" * 78


def grey_profile(gamma: float) -> bytes:
    return profile(b"GRAY", {b"desc": _DESCRIPTION, b"wtpt": tag_xyz(0.9642, 1, 0.8249), b"kTRC": tag_gamma(gamma)})


def srgb_encoded(linear: float) -> float:
    """IEC 61966-2-1, in 0..255."""
    return 255 * (12.92 * linear if linear <= 0.0031308 else 1.055 * linear ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize("form", ["PNG", "TIFF", "WEBP", "palette", "RGBA", "JPEG", "large JPEG"])
def test_a_wide_gamut_becomes_srgb(form: str) -> None:
    side = 600 if form == "large JPEG" else 16  # a large one is decoded at a part of its size
    image, icc = Image.new("RGB", (side, side), (60, 200, 80)), adobe_like()
    wanted = ImageCms.profileToProfile(image, ImageCms.ImageCmsProfile(io.BytesIO(icc)), ImageCms.createProfile("sRGB"))
    assert wanted is not None
    colour = np.array(wanted.getpixel((0, 0)))
    options: dict[str, Any] = {"WEBP": {"lossless": True}, "JPEG": {"quality": 100}, "large JPEG": {"quality": 100}}
    ready = {"palette": image.quantize(2), "RGBA": image.convert("RGBA")}.get(form, image)
    kind = {"palette": "PNG", "RGBA": "PNG", "large JPEG": "JPEG"}.get(form, form)
    pixels, info = read(made.encoded(ready, kind, icc_profile=icc, **options.get(form, {})), Shaping((8, 8), "crop", 3, WHITE))
    assert info.profile == "used"
    assert np.abs(pixels.astype(int) - colour).max() <= (2 if "JPEG" in form else 0)


def test_transparency_survives_a_profile() -> None:
    data = made.encoded(Image.new("RGBA", (4, 4), (60, 200, 80, 100)), icc_profile=adobe_like())
    assert shaped(data, (4, 4), 4)[0, 0].tolist() == [0, 201, 67, 100]


def test_a_grey_profile_keeps_grey_grey() -> None:
    data = made.encoded(Image.new("L", (4, 4), 100), icc_profile=grey_profile(1.0))
    pixels = shaped(data, (4, 4))
    assert (pixels == pixels[..., :1]).all()
    assert abs(int(pixels[0, 0, 0]) - srgb_encoded(100 / 255)) <= 1


def test_a_profile_of_srgb_changes_no_bit() -> None:
    image = Image.fromarray(made.textured(1))
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert (shaped(made.encoded(image, icc_profile=icc), (24, 24)) == np.asarray(image)).all()


def test_lab_without_a_profile() -> None:
    transform = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    lab = transform.apply(Image.new("RGB", (4, 4), (200, 60, 30)))
    assert np.abs(shaped(made.encoded(lab, "TIFF"), (4, 4)).astype(int) - (200, 60, 30)).max() <= 2


@pytest.mark.parametrize(
    ("mode", "icc"), [("RGB", b"no profile"), ("RGB", adobe_like()[:200]), ("L", adobe_like()), ("RGB", grey_profile(1.0))]
)
def test_a_profile_that_cannot_be_used_is_ignored_and_said(mode: str, icc: bytes, tmp_path: Path) -> None:
    for number in range(3):
        image = Image.fromarray(made.textured(number)).convert(mode)
        made.write(tmp_path / f"{number}.png", made.encoded(image, icc_profile=icc))
        assert (shaped(made.encoded(image, icc_profile=icc), (24, 24)) == np.asarray(image.convert("RGB"))).all()
    assert any(note.startswith("3 of 3 pictures have a colour profile that is damaged") for note in check(tmp_path).notes)


def chrm(*numbers: float) -> bytes:
    return chunk(b"cHRM", struct.pack(">8I", *(round(one * 100_000) for one in numbers)))


SRGB_CHRM = chrm(0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
ADOBE_CHRM = chrm(0.3127, 0.329, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06)


def gama(number: float) -> bytes:
    return chunk(b"gAMA", struct.pack(">I", round(number * 100_000)))


def test_png_chunks_of_colour() -> None:
    """PNG specification, third edition, 4.3: sRGB counts before gAMA and cHRM, an ICC profile before all."""
    colour = (60, 200, 80)
    plain = made.encoded(Image.new("RGB", (2, 2), colour))
    usual = [chunk(b"sRGB", b"\0") + gama(1.0), gama(0.45455), gama(0.45455) + SRGB_CHRM, SRGB_CHRM, gama(0)]
    for chunks in usual:
        assert (shaped(with_chunks(plain, chunks), (2, 2)) == colour).all(), chunks
    linear = shaped(with_chunks(plain, gama(1.0)), (2, 2))[0, 0]
    assert np.abs(linear - np.array([srgb_encoded(one / 255) for one in colour])).max() <= 1
    wide = shaped(with_chunks(plain, gama(1 / 2.2) + ADOBE_CHRM), (2, 2))[0, 0]
    assert wide[0] < 10
    assert abs(int(wide[2]) - 67) <= 3  # as with the ICC profile of the same colours
    grey = shaped(with_chunks(made.encoded(Image.new("L", (2, 2), 100)), gama(1.0)), (2, 2), 1)
    assert np.abs(grey - srgb_encoded(100 / 255)).max() <= 1
    half = png16(np.full((2, 2, 1), 32768, np.uint16), gama(1.0))
    assert np.abs(shaped(half, (2, 2), 1) - srgb_encoded(0.5)).max() <= 1
    icc = made.encoded(Image.new("RGB", (2, 2), colour), icc_profile=adobe_like())
    assert (shaped(with_chunks(icc, gama(1.0)), (2, 2))[0, 0] == (0, 201, 67)).all()


def test_gamma_of_a_picture_of_a_data_set() -> None:
    data = with_chunks(made.encoded(Image.new("RGB", (2, 2), (60, 200, 80))), gama(1.0))
    again = picture_file(Image.open(io.BytesIO(data)), "it")
    assert np.abs(shaped(again, (2, 2)).astype(int) - shaped(data, (2, 2))).max() <= 1


def test_inks() -> None:
    """Photoshop stores the inks of a JPEG inverted, of a TIFF not."""
    inks = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    for form in ("TIFF", "JPEG"):
        assert np.abs(shaped(made.encoded(inks, form), (16, 16)).astype(int) - (255, 0, 0)).max() <= 3


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP", "TIFF"])
def test_the_first_frame_is_taken_and_the_others_said(form: str, tmp_path: Path) -> None:
    for number in range(2):
        frames = [Image.new("RGB", (16, 16), (200, 10 + 90 * number, 30)), Image.new("RGB", (16, 16), (0, 0, 255))]
        options: dict[str, Any] = {"lossless": True} if form == "WEBP" else {}
        data = made.encoded(frames[0], form, save_all=True, append_images=frames[1:], **options)
        assert (shaped(data, (16, 16)) == (200, 10 + 90 * number, 30)).all()
        made.write(tmp_path / f"{number}.{form.lower()}", data)
    assert "2 of 2 pictures hold several frames or pages; the first of each is taken" in check(tmp_path).notes


def icons(folder: Path, colour: str = "white") -> Path:
    """Shapes of one colour on clear ground."""
    for number in range(4):
        image = Image.new("RGBA", (16, 16), (*Image.new("RGB", (1, 1), colour).getpixel((0, 0)), 0))  # type: ignore[misc]
        image.paste(colour, (number, number, number + 6, number + 6))
        made.write(folder / f"{number}.png", made.encoded(image))
    return folder


@pytest.mark.parametrize(("colour", "options", "other"), [("white", {}, "black"), ("black", {"background": "black"}, "white")])
def test_blank_pictures_are_said_with_the_settings(colour: str, options: dict[str, Any], other: str, tmp_path: Path) -> None:
    folder = icons(tmp_path / "icons", colour)
    for notes in (check(folder, **options).notes, prepare(folder, **options).notes):
        blank = next(note for note in notes if "alike" in note)
        assert blank.startswith("all 4 pictures are alike, of one colour all over")
        assert f"data.background={other}" in blank
        assert "data.channels=4" in blank
    assert not any("alike" in note or "blank" in note for note in check(folder, background=other).notes)
    assert not any("alike" in note or "transparent" in note for note in check(folder, channels=4).notes)


def test_some_blank_pictures_and_equal_ones(tmp_path: Path) -> None:
    made.folder(tmp_path / "some", {"": 8})
    icons(tmp_path / "some" / "more")
    assert any(note.startswith("4 of 12 pictures are blank") for note in check(tmp_path / "some").notes)
    for name in "ab":
        made.write(tmp_path / "same" / f"{name}.png", made.encoded(made.textured(1)))
    assert "all 2 pictures are alike; there is little to learn from them" in check(tmp_path / "same").notes
    zeros = check(np.zeros((5, 8, 8, 1), np.uint8)).notes
    assert "all 5 pictures are alike, of one colour all over; there is little to learn from them" in zeros


def test_transparency_is_counted_and_the_setting_named(tmp_path: Path) -> None:
    made.folder(tmp_path, {"plain": 3})
    icons(tmp_path / "clear", "red")
    text = "4 of 7 pictures have transparent pixels, which are filled with #102030; data.channels=4 keeps transparency"
    assert any(note.startswith(text) for note in check(tmp_path, background="#102030").notes)
    clear = np.full((5, 8, 8, 4), 90, np.uint8)
    clear[:, 0] = np.arange(5)[:, None, None]
    assert any(note.startswith("5 of 5 pictures have transparent") for note in check(clear).notes)
    assert (
        "no picture has a transparent pixel; data.channels=3 says the same in less"
        in check(tmp_path / "plain", channels=4).notes
    )


def test_crop_stretch_and_enlargement_are_said(tmp_path: Path) -> None:
    for number in range(2):
        made.write(tmp_path / f"{number}.png", made.encoded(made.textured(number, 48, 64)))
    made.write(tmp_path / "square.png", made.encoded(made.textured(9, 48, 48)))
    notes = " | ".join(check(tmp_path, size=32).notes)
    assert "2 of 3 pictures are cropped to their middle (up to 25% of a picture is lost, from 48x64 to 32x32" in notes
    assert "data.fit=pad" in notes
    assert "enlarged" not in notes
    assert not check(tmp_path, size=32, fit="pad").notes
    assert "2 of 3 pictures change their proportions" in " | ".join(check(tmp_path, size=32, fit="stretch").notes)
    large = check(tmp_path, size=640, fit="pad").notes
    assert large == (
        "3 of 3 pictures are enlarged, such as 48x48 to 640x640, which adds no detail; data.size=48 enlarges less",
    )
    whole = check(np.random.default_rng(0).integers(0, 256, (9, 8, 8, 3), np.uint8))
    assert whole.notes == ()


def test_notes_are_in_the_manifest_and_the_summary(tmp_path: Path) -> None:
    dataset = prepare(icons(tmp_path / "icons"))
    assert dataset.notes == tuple(dataset.manifest["notes"]) == check(tmp_path / "icons").notes == check(dataset.path).notes
    assert check(tmp_path / "icons").summary()["notes"] == list(dataset.notes)


def test_bytes_under_way_are_bounded() -> None:
    """However many threads: half of what would be held otherwise, and one that is larger than all goes alone."""
    held, peak, lock = [0], [0], threading.Lock()
    budget = ByteBudget(100)

    def work(size: int) -> int:
        with budget.hold(size):
            with lock:
                held[0] += min(size, 100)
                peak[0] = max(peak[0], held[0])
            time.sleep(0.0005)
            with lock:
                held[0] -= min(size, 100)
        return size

    sizes = [30, 60, 500, 10, 90] * 20
    read_ahead: list[int] = []

    def jobs() -> Any:
        for size in sizes:
            read_ahead.append(size)
            yield Job(lambda size=size: work(size), size)

    done: list[int] = []
    for size in in_parallel(jobs(), 8, 200):
        assert sum(read_ahead[len(done) :]) <= 200 + 500
        done.append(size)
    assert done == sizes
    assert 60 < peak[0] <= 100


def test_large_members_of_an_archive_are_not_held_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("limner.data.reading._WAITING_BYTES", 2**21)
    monkeypatch.setattr("limner.data.reading._PAYLOAD_BYTES", 2**20)
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for number in range(24):
            archive.writestr(f"{number}.png", bytes(2**20))
        for number in range(2):
            archive.writestr(f"ok{number}.png", made.encoded(made.textured(number)))
    tracemalloc.start()
    try:
        report = check(tmp_path / "bomb.zip", workers=2)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert report.images == 2
    assert peak < 10 * 2**20, "24 of them were held at once"


def test_large_pictures_are_worked_on_in_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    """A strip is to the bit what the whole would be."""
    rng = np.random.default_rng(0)
    files = [
        made.encoded(Image.fromarray(rng.integers(0, 256, (40, 30, 4), np.uint8))),
        made.encoded(Image.fromarray(rng.integers(0, 256, (40, 30, 3), np.uint8)).quantize(8), transparency=3),
        made.encoded(Image.fromarray(rng.normal(size=(40, 30)).astype(np.float32)), "TIFF"),
        made.encoded(Image.fromarray(rng.integers(0, 256, (40, 30, 3), np.uint8)), icc_profile=adobe_like()),
        png16(values(3000, 0, 4)),
    ]
    whole = [shaped(data, (20, 20), channels) for data in files for channels in (1, 3, 4)]
    monkeypatch.setattr("limner.data.pictures._STRIP_PIXELS", 100)
    monkeypatch.setattr("limner.data.wide._STRIP_PIXELS", 100)
    strips = [shaped(data, (20, 20), channels) for data in files for channels in (1, 3, 4)]
    assert all((one == other).all() for one, other in zip(whole, strips, strict=True))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
def test_what_is_no_regular_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(Unreadable, match="not a regular file"):
        bytes_of(tmp_path / "pipe.png")


def test_values_in_the_key_of_a_prepared_set() -> None:
    """Another range is another set."""

    class Pets:
        name = "pets"

        def identity(self, on_progress: Any = None) -> str:
            return "a"

    keys = {cache_key(Pets(), DataOptions.of({"value_range": limits})) for limits in (None, "0,255", "0,256")}  # type: ignore[arg-type]
    assert len(keys) == 3

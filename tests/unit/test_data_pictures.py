"""One picture in any mode becomes the right pixels, and what cannot be read says why."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

import made
from limner.core.errors import InputError
from limner.data.options import parse_size
from limner.data.pictures import PIXEL_LIMIT, Shaping, Unreadable, look, parse_background, read
from limner.data.prepare import check
from limner.data.unread import HEIF_REASON

WHITE = (255, 255, 255)


def shaped(image: Image.Image | bytes, size=(8, 8), channels=3, fit="crop", background=WHITE, form="PNG", **options):
    data = image if isinstance(image, bytes) else made.encoded(image, form, **options)
    return read(data, Shaping(size, fit, channels, background))[0]


def filled(mode, colour, size=(8, 8)):
    return Image.new(mode, size, colour)


@pytest.mark.parametrize(
    ("image", "form", "wanted"),
    [
        (filled("1", 1), "PNG", (255, 255, 255)),
        (filled("L", 77), "PNG", (77, 77, 77)),
        (filled("LA", (0, 128)), "PNG", (127, 127, 127)),
        (filled("RGB", (10, 20, 30)), "PNG", (10, 20, 30)),
        (filled("RGBA", (255, 0, 0, 128)), "PNG", (255, 127, 127)),
        (filled("RGBA", (255, 0, 0, 0)), "PNG", (255, 255, 255)),
        (filled("CMYK", (0, 255, 255, 0)), "TIFF", (255, 0, 0)),
        (filled("I;16", 257 * 200), "PNG", (200, 200, 200)),
        (filled("I;16", 65535), "TIFF", (255, 255, 255)),
        (filled("I", 257 * 90), "TIFF", (90, 90, 90)),
        (filled("F", 0.5), "TIFF", (128, 128, 128)),
        (filled("F", 200.0), "TIFF", (200, 200, 200)),
        (filled("YCbCr", (128, 128, 128)), "TIFF", (128, 128, 128)),
    ],
)
def test_modes(image, form, wanted):
    pixels = shaped(image, form=form)
    assert pixels.shape == (8, 8, 3)
    assert pixels.dtype == np.uint8
    assert (pixels == wanted).all(), pixels[0, 0]


def test_palette_and_its_transparency():
    image = Image.new("P", (8, 8), 0)
    image.putpalette([0, 128, 0, 0, 0, 255])
    image.paste(1, (0, 0, 4, 8))
    assert (shaped(image)[:, :4] == (0, 0, 255)).all()
    clear = shaped(image, background=(250, 240, 230), transparency=1)
    assert (clear[:, :4] == (250, 240, 230)).all()
    assert (clear[:, 4:] == (0, 128, 0)).all()


def test_grey_with_a_transparent_value():
    assert (shaped(filled("L", 9), transparency=9) == 255).all()


def test_first_frame_of_an_animation():
    frames = [Image.new("P", (8, 8), number) for number in range(2)]
    for frame in frames:
        frame.putpalette([255, 0, 0, 0, 255, 0])
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    assert (shaped(buffer.getvalue()) == (255, 0, 0)).all()


@pytest.mark.parametrize(
    ("turn", "corner"),  # where the marked top left corner of the stored picture must appear
    [(1, (0, 0)), (2, (0, -1)), (3, (-1, -1)), (4, (-1, 0)), (5, (0, 0)), (6, (0, -1)), (7, (-1, -1)), (8, (-1, 0))],
)
def test_exif_orientation_moves_the_marked_corner(turn, corner):
    image = Image.new("RGB", (16, 8))
    image.putpixel((0, 0), (255, 255, 255))
    exif = Image.Exif()
    exif[0x0112] = turn
    size = (8, 16) if turn < 5 else (16, 8)
    pixels = shaped(image, size=size, exif=exif)
    assert (pixels[corner] == 255).all()
    assert pixels.sum() == 3 * 255
    seen = look(made.encoded(image, exif=exif))
    assert (seen.height, seen.width) == size


def test_one_channel_and_four():
    assert shaped(filled("RGB", (255, 0, 0)), channels=1).tolist() == np.full((8, 8, 1), 76).tolist()
    kept = shaped(filled("RGBA", (9, 8, 7, 100)), channels=4)
    assert (kept == (9, 8, 7, 100)).all()
    assert (shaped(filled("L", 5), channels=4) == (5, 5, 5, 255)).all()


def test_the_resize_is_antialiased():
    board = (np.indices((64, 64)).sum(axis=0) % 2 * 255).astype(np.uint8)
    small = shaped(Image.fromarray(board), size=(8, 8))
    assert np.abs(small.astype(int) - 127.5).max() <= 1.5  # the mean of black and white; without antialiasing 0 or 255


def test_transparency_is_laid_down_before_the_resize():
    # White where opaque, black where clear, on white: any grey at all would be a halo from the hidden black.
    pixels = np.zeros((64, 64, 4), np.uint8)
    pixels[16:48, 16:48] = 255
    assert (shaped(Image.fromarray(pixels), size=(13, 13)) == 255).all()
    kept = shaped(Image.fromarray(pixels), size=(13, 13), channels=4)
    assert (kept[..., :3][kept[..., 3] > 0] >= 250).all()  # premultiplied: edges keep their own colour


def test_crop_pad_and_stretch():
    wide = np.zeros((20, 60, 3), np.uint8)
    wide[:, :20], wide[:, 20:40], wide[:, 40:] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    image = Image.fromarray(wide)
    crop = shaped(image, size=(20, 20))
    assert (crop == (0, 255, 0)).all()
    pad = shaped(image, size=(30, 30), fit="pad", background=(1, 2, 3))
    assert (pad[:10] == (1, 2, 3)).all()
    assert (pad[20:] == (1, 2, 3)).all()
    assert (pad[15, 1] == (255, 0, 0)).all()
    assert (pad[15, 28] == (0, 0, 255)).all()
    stretch = shaped(image, size=(60, 30), fit="stretch")
    assert (stretch[30, 1] == (255, 0, 0)).all()
    assert (stretch[30, 28] == (0, 0, 255)).all()


def test_a_crop_whose_edge_is_rounded_past_the_picture():
    """500/(9/500) rounds to more than 500: a box that begins below 0 by 3e-14, which Pillow refuses."""
    image = Image.new("RGB", (500, 667), (10, 20, 30))
    assert (shaped(image, size=(8, 9)) == (10, 20, 30)).all()
    for side in range(8, 130):
        assert shaped(image, size=(side, 9)).shape == (side, 9, 3)


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("size", [(1, 1), (5, 31), (96, 64)])
def test_any_size_also_enlarged(fit, size):
    assert shaped(Image.fromarray(made.textured(3, 17, 40)), size=size, fit=fit).shape == (*size, 3)
    assert shaped(Image.new("RGB", (1, 500)), size=size, fit=fit).shape == (*size, 3)


def test_draft_decoding_of_large_jpegs_changes_next_to_nothing():
    pixels = made.textured(5, 800, 1200)
    data = made.encoded(pixels, "JPEG", quality=95)
    quick = shaped(data, size=(32, 32)).astype(int)
    whole = np.asarray(Image.open(io.BytesIO(data)).resize((32, 32), Image.Resampling.LANCZOS, box=(200, 0, 1000, 800)))
    assert np.abs(quick - whole).mean() < 1


@pytest.mark.parametrize("name", made.faults())
def test_faults_have_a_reason(name):
    with pytest.raises(Unreadable, match=r"\w{3}"):
        shaped(made.faults()[name])


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_bomb_is_refused_before_it_is_decoded(monkeypatch):
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("it was decoded"))
    for side in (50_000, int(PIXEL_LIMIT**0.5) + 1):
        with pytest.raises(Unreadable, match="too many"):
            shaped(made.bomb_png(side))


def test_formats_that_start_other_programs_stay_shut():
    with pytest.raises(Unreadable, match="not a picture"):
        shaped(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n")


@pytest.mark.parametrize(("text", "size"), [("96", (96, 96)), ("64x96", (64, 96)), (" 8 X 9 ", (8, 9))])
def test_sizes(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["0", "-3", "64x0", "big", "", "64x64x3", "1e3", "99999"])
def test_sizes_that_are_none(text):
    with pytest.raises(InputError, match="size"):
        parse_size(text)


def test_backgrounds():
    assert parse_background("#102030") == (16, 32, 48)
    with pytest.raises(InputError, match="background"):
        parse_background("no-such-colour")


HEIC = bytes(3) + b"\x18ftypheic" + bytes(4) + b"mif1heic"


def test_pictures_of_formats_that_are_not_read_are_named(tmp_path):
    """A telephone's pictures were "other files", without a word; and under the name of a JPEG no picture at all."""
    made.write(tmp_path / "new" / "IMG_1.HEIC", HEIC)
    with pytest.raises(InputError, match=r"holds no picture.*1 picture is in a format .*IMG_1\.HEIC; convert to JPEG or PNG"):
        check(tmp_path / "new")
    made.folder(tmp_path / "new", {"a": 3})
    for name in ("IMG_2.heif", "raw.CR2", "drawing.svg"):
        made.write(tmp_path / "new" / name, HEIC)
    made.write(tmp_path / "new" / "a" / "renamed.jpg", HEIC)
    report = check(tmp_path / "new")
    note = "4 pictures are in a format that is not read: IMG_1.HEIC, IMG_2.heif, drawing.svg, raw.CR2; convert to JPEG or PNG"
    assert note in report.notes
    assert [(one.file, one.reason) for one in report.rejected] == [("a/renamed.jpg", HEIF_REASON)]
    assert report.images == 3
    with pytest.raises(Unreadable, match="HEIF"):
        look(HEIC)

"""What is judged, whatever it comes as: array files, folders, prepared ones, samples of a run, and pictures out of Python."""

from __future__ import annotations

import io
import shutil
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

import limner
from contract.helpers import run_of
from limner import load
from limner.core.cond import Cond
from limner.core.errors import InputError
from limner.core.files import cache_folder
from limner.core.progress import Progress
from limner.data.dataset import Dataset
from limner.data.npz import read_npz
from limner.data.prepare import prepare
from limner.evaluation.inputs import (
    EvaluationInput,
    SampledImages,
    common_reference,
    held_out_split,
    materialised,
    model_or_none,
    open_images,
    open_samples,
    prepare_reference,
)
from limner.evaluation.spool import images_from_arrays, on_disk
from limner.metrics.features.pixels import ImageSubset, take
from limner.runs.model import Loaded
from made import encoded, folder, textured, write

Pixels = NDArray[np.uint8]
PICTURES = np.stack([textured(seed, 8, 8, 1) for seed in range(30)])


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return prepare("digits")


def npz(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


def saved(folder: Path, images: Pixels, name: Callable[[int], str] = "{:03d}.png".format) -> Path:
    for number, one in enumerate(images):
        write(folder / name(number), encoded(Image.fromarray(one.squeeze())))
    return folder


# ---- array files --------------------------------------------------------------------------------------------------------


def test_an_array_file_with_and_without_labels(tmp_path: Path, digits: Dataset) -> None:
    images, labels = read_npz(npz(tmp_path / "a.npz", images=PICTURES))
    assert np.array_equal(images, PICTURES)
    assert labels is None
    told = np.arange(30, dtype=np.uint8) % 10
    found = open_images(npz(tmp_path / "b.npz", images=PICTURES, labels=told), digits)
    assert np.array_equal(take(found.images, slice(0, 30)), PICTURES)
    assert found.labels is not None
    assert (found.labels.dtype, found.labels.tolist()) == (np.int64, told.tolist())
    none = open_images(npz(tmp_path / "c.npz", images=PICTURES, labels=np.full(30, -1)), digits).labels
    assert none is not None
    assert set(none.tolist()) == {-1}


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_an_array_file_stays_on_disk(save: Callable[..., None], tmp_path: Path) -> None:
    """Behind another array, so that it does not begin where files begin; nothing of it is left when it is let go."""
    save(tmp_path / "a.npz", before=np.arange(999), images=PICTURES, labels=np.arange(30))
    images, labels = read_npz(tmp_path / "a.npz")
    assert isinstance(images, np.memmap)
    assert not images.flags.writeable
    assert np.array_equal(images, PICTURES)
    assert labels is not None
    assert labels.tolist() == list(range(30))
    spool = cache_folder() / "spool"
    assert not spool.is_dir() or not list(spool.iterdir())


def test_an_array_file_in_columns_or_of_nothing(tmp_path: Path) -> None:
    images, _ = read_npz(npz(tmp_path / "a.npz", images=np.asfortranarray(PICTURES)))
    assert np.array_equal(images, PICTURES)
    assert read_npz(npz(tmp_path / "b.npz", images=PICTURES[:0]))[0].shape == (0, 8, 8, 1)


def saved_as(path: Path, old: bytes, new: bytes, pixels: NDArray[Any] = PICTURES) -> Path:
    """An array file of `pixels` that has `new` for `old`."""
    data = io.BytesIO()
    np.save(data, pixels)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("images.npy", data.getvalue().replace(old, new))
    return path


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        (b"(90, 8, 8, 1)", "it should have 5,760 bytes of numbers, and has 1,920"),
        (b"(9" + b"0" * 30 + b", 8, 8, 1)", "it should have 576,0"),
        (b"(4611686018427387904, 4, 1, 1)", "it should have 18,446,"),
        (b"(30, 8, 8, 1", ""),
    ],
)
def test_an_array_file_that_lies(shape: bytes, words: str, tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    path = saved_as(tmp_path / "a.npz", b"(30, 8, 8, 1), }" + b" " * (len(shape) - 13), shape + b", }")
    with pytest.raises(InputError, match=f"holds no array 'images' that can be read: .*{words}") as error:
        read_npz(path)
    assert "\n" not in str(error.value)
    assert not recwarn.list


def test_an_array_file_that_was_packed_otherwise_and_damaged(tmp_path: Path) -> None:
    data = io.BytesIO()
    np.save(data, PICTURES)
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("images.npy", data.getvalue())
    assert np.array_equal(read_npz(tmp_path / "a.npz")[0], PICTURES)
    with pytest.raises(InputError, match="holds no array 'images' that can be read"):
        read_npz(damaged(tmp_path / "a.npz"))


def test_an_array_file_to_be_refused_is_not_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    large = np.ones((4, 512, 512, 3), np.float32)
    large[0, 3, 3, 1] = np.inf
    monkeypatch.setattr("limner.data.npz._BYTES", 1 << 10)
    seen: list[int] = []
    read = zipfile.ZipExtFile.read
    monkeypatch.setattr(zipfile.ZipExtFile, "read", lambda self, n=-1: seen.append(n) or read(self, n))
    with pytest.raises(InputError, match="uint8, not float32; some of them are no finite numbers"):
        read_npz(npz(tmp_path / "a.npz", images=large))
    assert sum(seen) < 2 * large[0].nbytes


def damaged(path: Path) -> Path:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    return path


def packed(path: Path, **arrays: Any) -> Path:
    np.savez_compressed(path, **arrays)
    return path


NAN = np.where(PICTURES > 9, np.nan, PICTURES).astype(np.float32)
BAD_FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "gone": (lambda path: path, "no file at"),
    "text": (lambda path: path.write_text("hello"), "holds no array 'images'"),
    "empty": (lambda path: path.write_bytes(b""), "holds no array 'images'"),
    "another key": (lambda path: npz(path, pictures=PICTURES), "holds no array 'images'"),
    "objects": (lambda path: npz(path, images=np.array([{}], dtype=object)), "Object arrays cannot be loaded"),
    "one byte": (lambda path: damaged(npz(path, images=PICTURES)), "holds no array 'images' that can be read: Bad CRC"),
    "one byte, packed": (lambda path: damaged(packed(path, images=PICTURES)), "holds no array 'images'"),
    "not finite": (lambda path: npz(path, images=NAN), "uint8, not float32; some of them are no finite numbers"),
    "floats": (lambda path: npz(path, images=PICTURES / 255), "uint8, not float64; round them to 0..255 first"),
    "whole numbers": (lambda path: npz(path, images=PICTURES.astype(np.int64)), "uint8, not int64; round them"),
    "no channels": (lambda path: npz(path, images=PICTURES[..., 0]), r"\[N, H, W, C\] .*, not uint8 \[30, 8, 8\]"),
    "two channels": (lambda path: npz(path, images=PICTURES.repeat(2, 3)), r"1, 3 or 4 channels, not uint8 \[30, 8, 8, 2\]"),
    "few labels": (lambda path: npz(path, images=PICTURES, labels=[1, 2]), "one whole number for each of the 30"),
    "odd labels": (lambda path: npz(path, images=PICTURES, labels=np.zeros(30)), "one whole number for each of the 30"),
    "huge labels": (
        lambda path: npz(path, images=PICTURES, labels=np.full(30, 2**64 - 1, np.uint64)),
        "one whole number for each",
    ),
    "labels above": (lambda path: npz(path, images=PICTURES, labels=np.full(30, 10)), "go from 10 to 10; the data have 10"),
    "labels below": (lambda path: npz(path, images=PICTURES, labels=np.full(30, -2)), "from -2 to -2; .* and -1 is for none"),
    "another size": (lambda path: npz(path, images=PICTURES[:, :7]), "the shape 7×8×1, and the real ones are 8×8×1"),
    "another mode": (lambda path: npz(path, images=PICTURES.repeat(3, 3)), "the shape 8×8×3, and the real ones are 8×8×1"),
}


@pytest.mark.parametrize("fault", BAD_FILES)
def test_a_bad_array_file_is_one_line(fault: str, tmp_path: Path, digits: Dataset) -> None:
    make, words = BAD_FILES[fault]
    make(tmp_path / "a.npz")
    with pytest.raises(InputError, match=words) as error:
        open_images(tmp_path / "a.npz", digits)
    assert "\n" not in str(error.value)


def test_a_bad_array_file_packed_badly(tmp_path: Path) -> None:
    """A member whose deflated bytes are no deflated bytes: zlib's own error, which is no OSError."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, images=PICTURES)
    data = bytearray(buffer.getvalue())
    with zipfile.ZipFile(io.BytesIO(bytes(data))) as file:
        entry = file.infolist()[0]
    start = entry.header_offset + 30 + len(entry.filename) + int.from_bytes(data[28:30], "little")
    data[start] = 0xFF
    (tmp_path / "a.npz").write_bytes(data)
    with pytest.raises(InputError, match="holds no array 'images'"):
        read_npz(tmp_path / "a.npz")


@pytest.mark.parametrize("shape", [(30, 8, 8, 1), (30, 8, 8)])
def test_an_npy_file_is_judged_as_an_npz_is(tmp_path: Path, digits: Dataset, shape: tuple[int, ...]) -> None:
    path = tmp_path / "a.NPY"
    with path.open("wb") as file:
        np.save(file, PICTURES.reshape(shape))
    assert model_or_none(path) is None
    assert (
        prepare_reference(path, "digits").shape == common_reference([tmp_path, path], [None, None], "digits").shape == (8, 8, 1)
    )
    read, expected = open_images(path, digits), open_images(npz(tmp_path / "a.npz", images=PICTURES), digits)
    assert np.array_equal(take(read.images, slice(0, 30)), take(expected.images, slice(0, 30)))
    assert (read.labels, read.notes) == (expected.labels, expected.notes)


def test_an_npy_file_of_other_numbers_is_refused(tmp_path: Path, digits: Dataset) -> None:
    np.save(tmp_path / "a.npy", PICTURES / 255)
    with pytest.raises(
        InputError,
        match=r"a\.npy must be uint8, not float64; round them to 0..255 first; of values x from 0 to 1 take",
    ):
        open_images(tmp_path / "a.npy", digits)
    (tmp_path / "b.npy").write_bytes(b"text")
    with pytest.raises(InputError, match=r"b\.npy holds no array that can be read"):
        open_images(tmp_path / "b.npy", digits)


def test_an_archive_is_judged_as_its_folder_is(tmp_path: Path, digits: Dataset) -> None:
    folder = saved(tmp_path / "pictures", PICTURES)
    archive = Path(shutil.make_archive(str(tmp_path / "packed"), "zip", folder))
    assert model_or_none(archive) is None
    read, expected = open_images(archive, digits), open_images(folder, digits)
    assert np.array_equal(take(read.images, slice(0, 30)), take(expected.images, slice(0, 30)))


def test_a_folder_with_the_name_of_a_built_in_set_is_the_folder(
    tmp_path: Path, digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(tmp_path / "digits", PICTURES)
    monkeypatch.chdir(tmp_path)
    assert model_or_none("digits") is None
    assert open_images(Path("digits"), digits).images.shape == PICTURES.shape


def test_a_reference_is_prepared_as_an_array_file_is(tmp_path: Path) -> None:
    path = npz(tmp_path / "a.npz", images=np.zeros((4, 12, 10, 3), np.uint8))
    assert prepare_reference(path, "digits").shape == (12, 10, 3)
    assert prepare_reference(tmp_path, "digits").shape == (8, 8, 1)
    with pytest.raises(InputError, match="is not a run, so say what it is to be compared with: data=SRC"):
        prepare_reference(path, None)


# ---- folders ------------------------------------------------------------------------------------------------------------


def test_a_folder_without_classes(tmp_path: Path, digits: Dataset) -> None:
    found = open_images(saved(tmp_path, PICTURES), digits)
    assert np.array_equal(take(found.images, slice(0, 30)), PICTURES), "all of them, in the order of their names"
    assert (found.labels, found.notes) == (None, ())


def test_sub_folders_are_classes_where_the_reference_knows_their_names(tmp_path: Path, digits: Dataset) -> None:
    names = ("7", "other", "3")
    folder = saved(tmp_path / "some", PICTURES, lambda number: f"{names[number % 3]}/{number:03d}.png")
    found = open_images(folder, digits)
    assert found.labels is not None
    there = {one.tobytes(): int(label) for one, label in zip(take(found.images, slice(0, 30)), found.labels, strict=True)}
    assert [there[one.tobytes()] for one in PICTURES] == [(7, -1, 3)[number % 3] for number in range(30)]
    strangers = saved(tmp_path / "none", PICTURES, lambda number: f"{'ab'[number % 2]}/{number:03d}.png")
    assert open_images(strangers, digits).labels is None


def test_a_folder_of_another_size_says_so(tmp_path: Path, digits: Dataset) -> None:
    large = np.stack([textured(seed, 16, 12, 3) for seed in range(3)])
    found = open_images(saved(tmp_path, large), digits)
    assert found.images.shape == (3, 8, 8, 1)
    assert found.notes[0] == "pictures were brought from 16×12 to 8×8 (crop, Lanczos)"
    assert "cropped" in found.notes[1], "as the preparation says it"


def test_a_prepared_folder_is_taken_whole(tmp_path: Path, digits: Dataset) -> None:
    made = prepare(saved(tmp_path / "raw", PICTURES), size=(8, 8), channels=1, out=tmp_path / "made")
    assert len(made.splits) > 1
    found = open_images(tmp_path / "made", digits)
    assert found.images.shape == PICTURES.shape
    assert {one.tobytes() for one in take(found.images, slice(0, 30))} == {one.tobytes() for one in PICTURES}


@pytest.mark.parametrize("size", [(9, 8), (16, 16)])
def test_mixed_sizes_are_refused_with_the_command_that_mends_them(
    size: tuple[int, int], tmp_path: Path, digits: Dataset
) -> None:
    folder = saved(tmp_path, PICTURES)
    write(folder / "zz.png", encoded(textured(99, *size, 1)))
    with pytest.raises(InputError) as error:
        open_images(folder, digits)
    told = str(error.value)
    assert f"000.png is 8×8, zz.png {size[0]}×{size[1]}" in told
    assert f"limner data prepare {folder} --size 8x8 --split none --out DIR" in told


def test_an_empty_folder(tmp_path: Path, digits: Dataset) -> None:
    assert model_or_none(tmp_path) is None
    with pytest.raises(InputError, match="is empty; give a folder or archive with pictures"):
        open_images(tmp_path, digits)


def test_what_is_not_there_is_no_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere"):
        model_or_none(tmp_path / "nowhere")
    assert model_or_none(tmp_path / "nowhere.npz") is None  # its own line comes when it is read


def test_the_split_that_was_held_out(tmp_path: Path, digits: Dataset) -> None:
    assert held_out_split(digits) == "test"
    raw = saved(tmp_path / "raw", PICTURES)
    assert held_out_split(prepare(raw, split="none", out=tmp_path / "all")) == "train"
    assert held_out_split(prepare(raw, split="0.4", out=tmp_path / "two")) == "val"
    assert held_out_split(prepare(raw, split="0.33,0.34", out=tmp_path / "three")) == "test"


# ---- pictures out of Python ---------------------------------------------------------------------------------------------


def singles() -> Iterable[Pixels]:
    yield from PICTURES


def uneven() -> Iterable[Pixels]:
    yield PICTURES[:7]
    yield PICTURES[7]
    yield PICTURES[8:8]
    yield PICTURES[8:]


@pytest.mark.parametrize(
    "pictures",
    [lambda: PICTURES, singles, uneven, lambda: list(PICTURES), lambda: torch.from_numpy(PICTURES), lambda: [PICTURES]],
    ids=["array", "singles", "uneven batches", "list", "tensor", "list of one"],
)
def test_arrays_and_iterables_are_the_same_pictures(pictures: Callable[[], Any]) -> None:
    with images_from_arrays(pictures()) as found:
        assert np.array_equal(found, PICTURES)
    spool = cache_folder() / "spool"
    assert not spool.exists() or not list(spool.iterdir())


BAD_PICTURES: dict[str, tuple[Callable[[], Any], str]] = {
    "none": (lambda: iter(()), "there is no picture to be judged"),
    "floats": (lambda: iter(PICTURES / 255), "element 0 of the pictures must be uint8, not float64; round them"),
    "not finite": (lambda: [PICTURES[0], NAN[0]], "element 1 of the pictures must be uint8, not float32; some of them"),
    "another size": (lambda: [PICTURES[0], PICTURES[0, :7]], "element 1 of the pictures is 7×8×1, and the first is 8×8×1"),
    "numbers": (lambda: [1, 2], "element 0 of the pictures must be uint8"),
    "words": (lambda: ["a"], "element 0 of the pictures must be uint8"),
    "float array": (lambda: NAN, "the pictures must be uint8, not float32; some of them are no finite numbers"),
    "one picture's array": (lambda: PICTURES[0], r"the pictures must be uint8 \[N, H, W, C\]"),
}


@pytest.mark.parametrize("fault", BAD_PICTURES)
def test_bad_pictures_are_one_line_and_leave_nothing(fault: str) -> None:
    make, words = BAD_PICTURES[fault]
    with pytest.raises(InputError, match=words), images_from_arrays(make()):
        raise AssertionError("let through")
    spool = cache_folder() / "spool"
    assert not spool.exists() or not list(spool.iterdir())


def test_a_file_s_trouble_is_not_laid_on_the_spool() -> None:
    def mine() -> Iterable[Pixels]:
        yield PICTURES[0]
        raise PermissionError(13, "Permission denied", "my-own.png")

    with pytest.raises(PermissionError, match=r"my-own\.png"), images_from_arrays(mine()):
        raise AssertionError("let through")


def test_a_spool_that_cannot_be_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIMNER_CACHE", str(write(tmp_path / "file", b"")))
    with pytest.raises(InputError, match=r"cannot write .*spool"), on_disk(iter([PICTURES]), None, (8, 8, 1)):
        raise AssertionError("let through")


# ---- order and samples --------------------------------------------------------------------------------------------------


def test_files_come_in_a_seeded_order_with_their_labels() -> None:
    labels = np.arange(30)
    with (
        materialised(EvaluationInput(PICTURES, labels, ("a note",)), None) as every,
        materialised(EvaluationInput(PICTURES, labels), 12) as some,
    ):
        rows = every.labels
        assert rows is not None
        assert some.labels is not None
        assert sorted(rows.tolist()) == labels.tolist() != rows.tolist()
        assert np.array_equal(take(every.images, slice(0, 30)), PICTURES[rows])
        assert some.labels.tolist() == rows[:12].tolist(), "fewer are the first of them"
        assert np.array_equal(take(some.images, np.array([3, 1])), PICTURES[rows[[3, 1]]])
        assert every.notes == ("a note",)


def test_the_order_is_that_of_what_files_show() -> None:
    labels, shuffled = np.arange(30), np.random.default_rng(3).permutation(30)
    with (
        materialised(EvaluationInput(PICTURES, labels), 20) as one,
        materialised(EvaluationInput(PICTURES[shuffled], labels[shuffled]), 20) as other,
    ):
        assert np.array_equal(take(one.images, slice(0, 20)), take(other.images, slice(0, 20)))
        assert one.labels is not None
        assert other.labels is not None
        assert one.labels.tolist() == other.labels.tolist()


def test_rows_of_rows() -> None:
    found = ImageSubset(ImageSubset(PICTURES, np.array([5, 6, 7, 8])), np.array([3, 0]))
    assert found.shape == (2, 8, 8, 1)
    assert np.array_equal(take(found, slice(0, 2)), PICTURES[[8, 5]])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    return load(run_of("cgan", tmp_path_factory.mktemp("runs")).path)


def test_samples_are_those_of_their_seeds(model: Loaded) -> None:
    judged = open_samples(model, 300, model.recipe.data.classes, first=40)
    assert isinstance(judged.images, SampledImages)
    assert judged.labels is not None
    events: list[Progress] = []
    with materialised(judged, 300, events.append) as found:
        images = take(found.images, slice(0, 300))
        assert np.array_equal(images[[0, 7, 299]], model.sample([40, 47, 339]))
        assert found.labels is judged.labels
        spool = cache_folder() / "spool"
        assert len(list(spool.iterdir())) == 1
    assert not list(spool.iterdir())
    assert [(event.what, event.done, event.total) for event in events] == [
        ("drawing 300 samples", done, total) for done, total in ((0, 0), (256, 300), (300, 300))
    ]
    for name in ("3", "8"):
        row = judged.labels.tolist().index(int(name))
        assert np.array_equal(model.sample([40 + row], label=name)[0], images[row]), "the class that the seed draws"


def test_a_split_of_a_few_pictures_is_nothing_to_compare_with(tmp_path: Path) -> None:
    few = prepare(folder(tmp_path / "few", {"a": 21}), out=tmp_path / "packed")
    assert 0 < min(len(rows) for rows in few.splits.values()) < 10
    assert held_out_split(few) == "train"


def test_classes_of_a_run_are_those_of_the_reference_by_name() -> None:
    class Method:
        accepts = frozenset({"label"})

        def conditions(self, seeds: range, requested: Cond) -> Cond:
            return Cond(label=torch.arange(len(seeds)) % 3)

    model: Any = SimpleNamespace(
        method=Method(), shape=(8, 8, 1), recipe=SimpleNamespace(data=SimpleNamespace(classes=("cat", "dog", "cow")))
    )
    labels = open_samples(model, 6, ("cow", "bird", "cat")).labels
    assert labels is not None
    assert labels.tolist() == [2, -1, 0, 2, -1, 0]
    assert open_samples(model, 6, ("fish", "bird")).labels is None


def test_arrays_are_judged_against_arrays() -> None:
    images = np.random.default_rng(0).integers(0, 256, (60, 8, 8, 1), dtype=np.uint8)
    result = limner.evaluate(images[:30], data=images[30:], features="pixels", metrics="frechet")
    assert result.count == 30
    assert result.metrics["frechet"]["value"] > 0
    with pytest.raises(InputError, match=r"^what "):
        limner.compare([images[:30], images[30:]], data="digits")
    with pytest.raises(InputError, match="an empty text names no pictures"):
        limner.check("")
    with pytest.raises(InputError, match="seeds -1: a seed is a whole number from 0"):
        limner.sample("runs/1", seeds=[-1])

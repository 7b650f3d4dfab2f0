"""Pictures that a program holds: arrays, tensors, array files, torch and Hugging Face data sets; all go the way of a folder."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

import made
from limner.core.errors import InputError
from limner.core.progress import Progress
from limner.data.dataset import Dataset
from limner.data.items import READING_ITEMS
from limner.data.memory import open_array
from limner.data.options import DataOptions
from limner.data.prepare import check, prepare
from limner.data.sources import describe_source, find_source, is_data_set


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LIMNER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def pictures(count: int = 20, channels: int = 3) -> NDArray[np.uint8]:
    return np.stack([made.textured(seed, 12, 10, channels) for seed in range(count)])


def pixels_of(dataset: Dataset) -> NDArray[np.uint8]:
    return dataset.images.gather(np.arange(len(dataset.images)))


def as_folder(root: Path, images: NDArray[np.uint8], labels: list[int]) -> Path:
    """The same pictures as files, in the same order."""
    for row, (picture, label) in enumerate(zip(images, labels, strict=True)):
        made.write(root / str(label) / f"{row:03d}.png", made.encoded(picture))
    return root


def test_an_array_is_prepared_as_its_folder(tmp_path: Path) -> None:
    images, labels = pictures(), sorted([0, 1, 2, 3] * 5)
    images[7] = images[3]  # a duplicate
    folder = prepare(as_folder(tmp_path / "set", images, labels), split="0.2,0.2")
    array = prepare((images, labels), split="0.2,0.2")
    assert array.fingerprint == folder.fingerprint
    assert (pixels_of(array) == pixels_of(folder)).all()
    assert array.classes == folder.classes == ("0", "1", "2", "3")
    assert array.manifest["duplicates"] == folder.manifest["duplicates"] == {"exact": 1, "near": 0}
    assert array.splits == folder.splits
    assert array.manifest["source"] == "tuple in memory"


@pytest.mark.parametrize(
    "options", [{"size": 8}, {"size": "8x9", "fit": "pad"}, {"channels": 1}, {"limit": 7}, {"binary": True}]
)
def test_options_mean_the_same_for_arrays(options: dict[str, Any], tmp_path: Path) -> None:
    images = pictures()
    folder = prepare(as_folder(tmp_path / "set", images, [0] * 20), **options)
    assert prepare(images, **options).fingerprint == folder.fingerprint
    assert check(images, **options).fingerprint == folder.fingerprint


def test_transparency_of_an_array_is_laid_on_the_background(tmp_path: Path) -> None:
    images = pictures(channels=4)
    folder = as_folder(tmp_path / "set", images, [0] * 20)
    for options in ({}, {"background": "#102030"}, {"channels": 4}, {"channels": 1}):
        assert prepare(images, **options).fingerprint == prepare(folder, **options).fingerprint, options
    assert prepare(images).shape == (12, 10, 3)
    assert check(images).modes == {"RGBA": 20}


def test_equal_pictures_are_one_prepared_folder(cache: Path) -> None:
    grey = pictures(channels=1)
    first = prepare(grey)
    assert first.shape == (12, 10, 1)
    tensor = torch.from_numpy(grey).permute(0, 3, 1, 2)
    for same in (
        grey[..., 0],
        np.asfortranarray(grey),
        tensor,
        tensor[:, 0],
        tensor / 255,
        (tensor / 255).half(),
        (tensor / 255).double().requires_grad_(),
        {"images": grey},
        (grey, None),
    ):
        assert prepare(same).path == first.path
    assert len(list((cache / "data").iterdir())) == 1
    changed = grey.copy()
    changed[5, 3, 3] ^= 1
    others = [changed, grey[::-1], (grey, [0, 1] * 10), {"images": grey, "captions": ["a"] * 20}]
    assert len({first.path, *(prepare(other).path for other in others)}) == 5


def test_a_mapping_has_labels_captions_and_classes() -> None:
    images, captions = pictures(6), ["one", None, "three", "", "five", "six"]
    source = {"images": images, "labels": torch.tensor([1, 0, -1, 1, 0, 2]), "captions": captions, "classes": ["a", "b", "c"]}
    data = prepare(source, split="none")
    assert data.classes == ("a", "b", "c")
    assert data.labels is not None
    assert data.labels.tolist() == [1, 0, -1, 1, 0, 2]
    assert data.captions == ("one", "", "three", "", "five", "six")
    assert prepare({**source, "labels": None, "classes": None}, split="none").classes == ()
    assert prepare(source, split="none", labels="none").labels is None
    named = prepare((images, np.array(["cat", "dog", "cat", "10", "9", "cat"])), split="none")
    assert named.classes == ("9", "10", "cat", "dog")


def test_a_float_picture_is_rounded_to_the_nearest_step() -> None:
    values = torch.tensor([0.0, 0.49 / 255, 0.51 / 255, 254.49 / 255, 1.0]).repeat(2, 1, 5, 1)
    assert pixels_of(prepare(values))[0, 0, :, 0].tolist() == [0, 0, 1, 254, 255]


IMAGES = np.zeros((3, 5, 5, 3), np.uint8)
BAD: dict[str, tuple[Callable[[], object], str]] = {
    "a number": (lambda: 42, "an object of the type int is no source of pictures; give one of: the name of a data set"),
    "nothing": (lambda: None, "type NoneType is no source"),
    "floats of NumPy": (lambda: IMAGES.astype(np.float32), "images of float32; round them"),
    "two axes": (lambda: IMAGES[0, 0], r"shape \[5, 3\]; give \[N, H, W\]"),
    "channels in front": (lambda: IMAGES.transpose(0, 3, 1, 2), "in an array the channels come last"),
    "channels at the end": (lambda: torch.from_numpy(IMAGES), "in a tensor the channels come second"),
    "whole numbers of torch": (lambda: torch.zeros(3, 1, 4, 4, dtype=torch.int64), "torch.int64; give uint8, or floating"),
    "above one": (lambda: torch.full((3, 1, 4, 4), 1.5), "values from 1.5 to 1.5; floating point has to be from 0 to 1"),
    "not finite": (lambda: torch.full((3, 1, 4, 4), torch.nan), "from 0 to 1"),
    "too few labels": (lambda: (IMAGES, [0, 1]), "the pair has 2 labels and 3 pictures"),
    "labels of two kinds": (lambda: (IMAGES, [0, "a", 1]), "labels of two kinds"),
    "real labels": (lambda: (IMAGES, np.array([0.0, 1.0, 2.0])), "label 0 is 0.0; labels are whole numbers"),
    "one-hot labels": (lambda: (IMAGES, np.eye(3)), "labels of 2 axes"),
    "labels below": (lambda: (IMAGES, [0, 1, -2]), "label 2 is -2"),
    "a label without a class": (lambda: {"images": IMAGES, "labels": [0, 1, 2], "classes": ["a", "b"]}, "the label 2"),
    "a class twice": (lambda: {"images": IMAGES, "labels": [0, 1, 1], "classes": ["a", "a"]}, "names a class twice"),
    "classes alone": (lambda: {"images": IMAGES, "classes": ["a", "b"]}, "names classes and has no labels"),
    "an unknown key": (lambda: {"images": IMAGES, "label": [0, 1, 1]}, "no 'label'; did you mean 'labels'"),
    "several data sets": (lambda: {"train": IMAGES, "test": IMAGES}, "no 'train'.*of several data sets give one"),
    "no pictures": (lambda: {"labels": [0]}, "holds no 'images' but labels"),
    "captions of another length": (lambda: {"images": IMAGES, "captions": ["a"]}, "1 captions and 3 pictures"),
    "captions that are numbers": (lambda: {"images": IMAGES, "captions": [1, 2, 3]}, "the caption 1, which is no text"),
    "three parts": (lambda: (IMAGES, [0, 1, 1], ["a"]), "a tuple of 3 is no source"),
    "an empty list": (list, "the list holds no pictures"),
    "a list of numbers": (lambda: [1, 2], "item 0 of the list is a picture of the type int"),
    "a list of pairs and more": (lambda: [(IMAGES[0], 1, 2)], "item 0 of the list has 3 parts"),
    "a batch with too few labels": (lambda: [(IMAGES, [1])], "item 0 of the list has 3 pictures and 1 labels"),
    "one picture": (lambda: IMAGES[:1], "single usable picture"),
    "none": (lambda: IMAGES[:0], "no usable picture"),
}


@pytest.mark.parametrize("fault", BAD)
def test_what_is_no_source_is_one_line(fault: str, cache: Path) -> None:
    source, words = BAD[fault]
    with pytest.raises(InputError, match=words) as caught:
        prepare(source())
    assert "\n" not in str(caught.value)
    assert not list(cache.glob("data/*"))


@pytest.mark.parametrize("name", ["images.npy", "IMAGES.NPY", "images.npz"])
def test_array_files_are_sources(name: str, tmp_path: Path) -> None:
    images = pictures()
    with (tmp_path / name).open("wb") as file:
        if name.endswith("npz"):
            np.savez(file, images=images, labels=np.arange(20) % 3)
        else:
            np.save(file, images)
    data = prepare(tmp_path / name)
    assert data.name == name.partition(".")[0]
    assert data.fingerprint == prepare((images, np.arange(20) % 3) if name.endswith("npz") else images).fingerprint
    listing = find_source(tmp_path / name).listing(DataOptions())
    assert is_data_set(tmp_path / name)
    assert isinstance(open_array(images).pixels.rows(np.arange(2)), np.ndarray)
    assert len(listing) == 20
    with (tmp_path / name).open("ab") as file:
        file.write(b"x")  # the file has changed, so that it is read again
    if not name.endswith("npz"):
        assert prepare(tmp_path / name).fingerprint == data.fingerprint


def test_an_array_file_that_is_none_is_one_line(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{}], object), allow_pickle=True)
    np.save(tmp_path / "b.npy", np.zeros((3, 4, 4)))
    made.write(tmp_path / "c.npy", b"")
    np.savez(tmp_path / "d.npz", pictures=IMAGES)
    (tmp_path / "d.npz").rename(tmp_path / "d.npy")
    np.savez(tmp_path / "e.npz", pictures=IMAGES)
    for name, words in {
        "a.npy": "no array that can be read.*Python objects",
        "b.npy": "images of float64",
        "c.npy": "no array that can be read",
        "d.npy": "it is an archive of arrays",
        "e.npz": "holds no array 'images' but pictures",
    }.items():
        with pytest.raises(InputError, match=words) as caught:
            prepare(tmp_path / name)
        assert "\n" not in str(caught.value)


class Items(torch.utils.data.Dataset[Any]):
    """A torch data set of these items; `reads` counts how often each was asked for."""

    def __init__(self, items: list[Any], classes: list[str] | None = None) -> None:
        self.items, self.reads = items, [0] * len(items)
        if classes is not None:
            self.classes = classes

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        self.reads[index] += 1
        item = self.items[index]
        if isinstance(item, Exception):
            raise item
        return item


def test_a_torch_data_set_is_prepared_as_its_folder(tmp_path: Path) -> None:
    images, labels = pictures(), sorted([0, 1] * 10)
    folder = prepare(as_folder(tmp_path / "set", images, labels))
    forms: list[Callable[[NDArray[np.uint8]], object]] = [
        Image.fromarray,
        lambda picture: picture,
        lambda picture: torch.from_numpy(picture).permute(2, 0, 1),
        lambda picture: torch.from_numpy(picture).permute(2, 0, 1) / 255,
    ]
    for form in forms:
        source = Items([(form(picture), label) for picture, label in zip(images, labels, strict=True)])
        data = prepare(source)
        assert data.fingerprint == folder.fingerprint
        assert source.reads == [1] * 20, "a data set that draws its pictures anew is asked once"
        assert data.name == "items"
    assert data.manifest["source"] == "Items in memory"
    assert prepare(Items([torch.from_numpy(one[..., 0]) for one in images])).shape == (12, 10, 1)
    assert prepare(torch.utils.data.TensorDataset(torch.zeros(3, 1, 4, 4))).shape == (4, 4, 1)


def test_items_of_every_size_and_mode(tmp_path: Path) -> None:
    made.write(tmp_path / "set" / "0.png", made.encoded(made.textured(0, 30, 20)))
    items: list[Any] = []
    for number, mode in enumerate(("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I", "F", "I;16", "HSV")):
        image = Image.fromarray(made.textured(number, 20 + number, 20)).convert("L" if mode == "I;16" else "RGB").convert(mode)
        items.append((image, mode))
    report = check(Items(items))
    assert report.images == 12
    assert report.heights == (20, 25, 31)
    assert set(report.classes) == {mode for _, mode in items}
    turned = Image.fromarray(made.textured(3, 20, 30))
    file = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    turned.save(file, "JPEG", exif=exif, quality=95)
    made.write(tmp_path / "turned" / "0.jpg", file.getvalue())
    made.write(tmp_path / "turned" / "1.png", made.encoded(made.textured(1, 30, 20)))
    there = [Image.open(tmp_path / "turned" / name) for name in ("0.jpg", "1.png")]
    assert prepare(Items(there)).fingerprint == prepare(tmp_path / "turned").fingerprint, "upright, as a file is"


def test_damaged_items_are_set_aside_by_name(tmp_path: Path) -> None:
    whole = made.encoded(np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8))
    cut = Image.open(io.BytesIO(whole[: len(whole) // 2]))  # its header is whole
    items = [*(Image.fromarray(one) for one in pictures(4)), FileNotFoundError("no such file: 4.png"), cut]
    data = prepare(Items(items))
    assert len(data.images) == 4
    reasons = {one["file"]: one["reason"] for one in data.manifest["rejected"]}
    assert reasons.keys() == {"item 4", "item 5"}
    assert reasons["item 4"] == "no such file: 4.png"
    with pytest.raises(ZeroDivisionError):  # a fault of the program, which is not hidden
        prepare(Items([*items, ZeroDivisionError()]))


def test_items_that_are_none_are_one_line() -> None:
    class Stream(torch.utils.data.IterableDataset[Any]):
        def __iter__(self) -> Any:
            return iter(())

    good = Image.fromarray(made.textured(0))
    for source, words in [
        (Items([good, "a.png"]), "item 1 of Items is a picture of the type str"),
        (Items([good, (good, 1, 2)]), "item 1 of Items has 3 parts"),
        (Items([good, np.zeros((4, 4))]), "item 1 of Items is an array of float64"),
        (Items([good, np.zeros((3, 5, 5), np.uint8)]), r"item 1 of Items has the shape \[3, 5, 5\]"),
        (Items([good, torch.full((1, 4, 4), 2.0)]), "item 1 of Items has values from 2 to 2"),
        (Items([(good, 0), (good, 0.5)]), "Items: label 1 is 0.5"),
        (Items([(good, 0), (good, 2)], ["a", "b"]), "the label 2, and its classes are a, b"),
        (Stream(), "Stream has no length"),
    ]:
        with pytest.raises(InputError, match=words) as caught:
            prepare(source)
        assert "\n" not in str(caught.value)


class ClassLabel(SimpleNamespace):
    """As `datasets` has it."""


class Value(SimpleNamespace):
    """As `datasets` has it."""


Picture = type("Image", (SimpleNamespace,), {})


class HuggingFace:
    """The interface of `datasets.Dataset`, by columns; in any format but the plain one, pictures are no pictures."""

    def __init__(self, features: dict[str, Any], columns: dict[str, list[Any]], form: str | None = "torch") -> None:
        self.features, self.columns, self.form = features, columns, form
        self.column_names = list(features)
        self.info = SimpleNamespace(dataset_name="my/pets")

    def with_format(self, type: str | None) -> HuggingFace:
        return HuggingFace(self.features, self.columns, type)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {name: values[index] if self.form is None else None for name, values in self.columns.items()}


def test_a_hugging_face_data_set() -> None:
    images = [Image.fromarray(one) for one in pictures(6)]
    features = {"image": Picture(), "label": ClassLabel(names=["cat", "dog"]), "text": Value()}
    columns: dict[str, list[Any]] = {"image": images, "label": [0, 1, 1, 0, -1, 1], "text": ["a", None, "c", "d", "e", "f"]}
    events: list[Progress] = []
    data = prepare(HuggingFace(features, columns), split="none", on_progress=events.append)
    assert data.name == "my-pets"
    assert data.classes == ("cat", "dog")
    assert data.labels is not None
    assert data.labels.tolist() == [0, 1, 1, 0, -1, 1]
    assert data.captions == ("a", "", "c", "d", "e", "f")
    assert (pixels_of(data) == pictures(6)).all()
    assert (events[0].what, events[0].done, events[0].total) == (READING_ITEMS, 6, 6)
    assert describe_source(HuggingFace(features, columns)) == "HuggingFace in memory"

    undecoded = {"picture": [{"bytes": made.encoded(one), "path": None} for one in images]}
    assert (pixels_of(prepare(HuggingFace({"picture": Picture()}, undecoded), split="none")) == pictures(6)).all()
    gone = {"picture": [*undecoded["picture"], {"bytes": None, "path": "/nowhere/x.png"}]}
    assert check(HuggingFace({"picture": Picture()}, gone)).rejected[0].file == "item 6"


def test_columns_that_do_not_say_are_one_line() -> None:
    images = [Image.fromarray(one) for one in pictures(3)]
    for features, words in [
        ({"text": Value()}, r"no column of pictures \(its columns: text\)"),
        ({"a": Picture(), "b": Picture()}, r"several columns of pictures \(a, b\); rename the one to use 'image'"),
        ({"a": Picture(), "b": ClassLabel(names=["x"]), "c": ClassLabel(names=["y"])}, "several columns of classes"),
    ]:
        columns = dict.fromkeys(features, images)
        with pytest.raises(InputError, match=words):
            prepare(HuggingFace(features, columns))


def test_nothing_is_left_of_a_copy_of_items(cache: Path) -> None:
    prepare(Items([Image.fromarray(one) for one in pictures(3)]))
    assert not list((cache / "spool").iterdir())

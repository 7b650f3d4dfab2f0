"""Pictures that a program gives item by item: lists, torch's `Dataset`, and the `Dataset` of Hugging Face's `datasets`.

Such a data set may decode, crop or draw its pictures anew whenever it is asked, so each item is asked for once. Its picture is
written into a temporary file without loss, and read from there as a file of a folder is. Neither library is imported.
"""

from __future__ import annotations

import hashlib
import io
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from limner.core.errors import InputError
from limner.core.files import cache_folder, make_folder, os_errors_as_input_errors, read_regular_file, slug
from limner.core.progress import OnProgress, Progress, silent
from limner.data.labels import labels_of, plain_label
from limner.data.listing import Entry, Fault, Files, Listing, Payload
from limner.data.memory import bytes_of_tensor, is_tensor, uint8_advice
from limner.data.options import DataOptions
from limner.data.pictures import Unreadable, upright
from limner.data.source import DataSource

TORCH_LINE = "a torch Dataset of pictures or pairs (picture, label)"
HUGGING_FACE_LINE = "a Hugging Face Dataset with a column of pictures"
LIST_LINE = "a list of arrays, tensors or Pillow images, or of batches of them"
READING_ITEMS = "reading the data set"
_PNG_MODES = frozenset({"1", "L", "LA", "P", "RGB", "RGBA", "I;16"})
_TIFF_MODES = frozenset({"I", "F", "CMYK", "YCbCr", "LAB"})
_CAPTION_COLUMNS = ("text", "caption")
_ITEMS_PER_EVENT = 64


@dataclass(frozen=True)
class Item:
    """A picture as the data set gives it, with its label and caption where it has them."""

    picture: Any
    label: int | str | None = None
    caption: str = ""


@runtime_checkable
class HuggingFaceDataset(Protocol):
    """What is used of `datasets.Dataset`."""

    features: Mapping[str, Any]
    column_names: Sequence[str]

    def with_format(self, type: str | None) -> HuggingFaceDataset:
        """The same data set with items in another format; None: as Python's and Pillow's own types."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Mapping[str, Any]: ...


def is_torch_dataset(source: object) -> bool:
    """Whether `source` is a `torch.utils.data.Dataset`."""
    data = sys.modules.get("torch.utils.data")
    return data is not None and isinstance(source, data.Dataset)


def is_hugging_face_dataset(source: object) -> bool:
    """Whether `source` has the interface of `datasets.Dataset`."""
    return isinstance(source, HuggingFaceDataset)


def open_torch_dataset(source: Any) -> ItemSource:
    """Items are pictures or pairs (picture, label), labels are as for `labels_of`.

    A list `classes` of the data set, as torchvision's have it, names the classes. Errors: `InputError` for a data set that can
    only be iterated over.
    """
    name = type(source).__name__
    if not hasattr(source, "__len__") or not hasattr(source, "__getitem__"):
        raise InputError(f"the data set {name} has no length; give one whose items can be counted and asked for by number")
    classes = getattr(source, "classes", None)
    names = tuple(map(str, classes)) if isinstance(classes, list | tuple) else None

    def item(row: int) -> Item:
        value = source[row]
        picture, *rest = value if isinstance(value, tuple | list) else (value,)
        if len(rest) > 1:
            raise InputError(f"item {row} of {name} has {len(value)} parts; an item is a picture, or a pair (picture, label)")
        return Item(picture, plain_label(rest[0], f"{name}: label {row}") if rest else None)

    return ItemSource(slug(name.lower(), ascii_only=True).strip("-.") or "data", name, len(source), item, names)


def is_list(source: object) -> bool:
    """Whether `source` is a list; what it holds shows when it is opened."""
    return isinstance(source, list)


def open_list(source: list[Any]) -> ItemSource:
    """Pictures, or batches of pictures, each alone or in a pair with its label or labels.

    Labels are as for `labels_of`. Errors: `InputError` for an empty list, and for a batch with another number of labels.
    """
    items: list[Item] = []
    for number, value in enumerate(source):
        content, *rest = value if isinstance(value, tuple) else (value,)
        if len(rest) > 1:
            raise InputError(f"item {number} of the list has {len(value)} parts; give pictures, or pairs (picture, label)")
        is_batch = getattr(content, "ndim", 0) == 4
        pictures = list(content) if is_batch else [content]
        labels = list(rest[0]) if rest and is_batch else rest or [None] * len(pictures)
        if len(labels) != len(pictures):
            raise InputError(
                f"item {number} of the list has {len(pictures)} pictures and {len(labels)} labels; give one for each"
            )
        what = f"label of item {number}"
        items += [
            Item(picture, None if label is None else plain_label(label, what))
            for picture, label in zip(pictures, labels, strict=True)
        ]
    if not items:
        raise InputError("the list holds no pictures; give arrays [H, W, C] or [N, H, W, C], tensors, or Pillow images")
    return ItemSource("list", "the list", len(items), items.__getitem__)


def open_hugging_face_dataset(source: HuggingFaceDataset) -> ItemSource:
    """Pictures come from the column of the type Image, labels from that of the type ClassLabel or from one called ``label``,
    and captions from a column of texts called ``text`` or ``caption``.

    Errors: `InputError` where there is no column of pictures, or several of a kind and none of the usual name.
    """
    features = source.features
    images = [column for column, feature in features.items() if type(feature).__name__ == "Image"]
    pictures = _one_column(images, "image", "pictures")
    if pictures is None:
        columns = ", ".join(source.column_names) or "none"
        raise InputError(f"the data set has no column of pictures (its columns: {columns}); give one of the type Image")
    coded = [column for column, feature in features.items() if type(feature).__name__ == "ClassLabel"]
    label = _one_column(coded, "label", "classes") or ("label" if "label" in features else None)
    names = tuple(features[label].names) if label in coded else None
    caption = next((column for column in _CAPTION_COLUMNS if column in features), None)
    plain = source.with_format(None)  # pictures as Pillow's, whatever format the data set was set to

    def item(row: int) -> Item:
        value = plain[row]
        text = value[caption] if caption is not None else None
        if text is not None and not isinstance(text, str):
            raise InputError(f"item {row} has the {caption} {text!r}, which is no text; rename that column")
        number = None if label is None else plain_label(value[label], f"item {row}: {label}")
        return Item(value[pictures], number, text or "")

    about = getattr(getattr(source, "info", None), "dataset_name", None)
    title = slug(str(about or ""), ascii_only=True).strip("-.")
    return ItemSource(title or "data", "the data set", len(source), item, names)


def _one_column(columns: Sequence[str], usual: str, what: str) -> str | None:
    """The only one of `columns`, or the one of the usual name; None where there is none."""
    if len(columns) > 1 and usual not in columns:
        raise InputError(f"the data set has several columns of {what} ({', '.join(columns)}); rename the one to use '{usual}'")
    return (usual if usual in columns else columns[0]) if columns else None


class ItemSource(DataSource):
    """The `count` items that `read_item` gives by number. They are read once, when anything is asked about them."""

    def __init__(
        self, name: str, title: str, count: int, read_item: Callable[[int], Item], classes: tuple[str, ...] | None = None
    ) -> None:
        self.name, self.title, self.count, self.read_item, self.classes = name, title, count, read_item, classes
        self._copy: ItemCopy | None = None

    def identity(self, on_progress: OnProgress = silent) -> str:
        """A SHA-256 of the pictures, labels, captions and class names."""
        copy = self._read(on_progress)
        digest = hashlib.sha256(json.dumps([self.classes, copy.labels, copy.captions]).encode())
        for _, payload in copy.tree.read(copy.tree.names):
            part = payload if isinstance(payload, bytes) else repr(payload).encode()
            digest.update(hashlib.sha256(part).digest())
        return digest.hexdigest()

    def listing(self, options: DataOptions, on_progress: OnProgress = silent) -> Listing:
        copy = self._read(on_progress)
        labels: NDArray[np.int64] | None = None
        classes: tuple[str, ...] = ()
        if options.labels == "auto" and any(label is not None for label in copy.labels):
            labels, classes = labels_of(copy.labels, self.count, self.classes, self.title)
        return Listing(
            Files(copy.tree, copy.tree.names),
            np.full(self.count, -1, np.int8),
            labels,
            classes,
            tuple(copy.captions) if any(copy.captions) else None,
        )

    def _read(self, on_progress: OnProgress) -> ItemCopy:
        if self._copy is None:
            self._copy = copy_items(self, on_progress)
        return self._copy


@dataclass(frozen=True)
class ItemCopy:
    """What all items held: their pictures as files, and of each its label (None: none) and its caption ("": none)."""

    tree: SpooledTree
    labels: list[int | str | None]
    captions: list[str]


def copy_items(source: ItemSource, on_progress: OnProgress) -> ItemCopy:
    """Asks for every item once. A picture that cannot be read is set aside later, with the reason."""
    base = cache_folder() / "spool"
    with os_errors_as_input_errors(base):
        make_folder(base)
        file = tempfile.TemporaryFile(dir=base)  # noqa: SIM115  # it goes when the tree does
    tree = SpooledTree(Path(source.name), file)
    labels: list[int | str | None] = []
    captions: list[str] = []
    for row in range(source.count):
        name = f"item {row}"
        try:
            item = source.read_item(row)
            payload: bytes | Fault = picture_file(item.picture, f"{name} of {source.title}")
        except (OSError, Unreadable, Image.DecompressionBombError) as error:  # a damaged or missing file behind the data set
            item, payload = Item(None), Fault(" ".join(str(error or type(error).__name__).split()))
        with os_errors_as_input_errors(base):
            tree.add(name, payload)
        labels.append(item.label)
        captions.append(item.caption)
        if (row + 1) % _ITEMS_PER_EVENT == 0 or row + 1 == source.count:
            on_progress(Progress(READING_ITEMS, row + 1, source.count))
    return ItemCopy(tree, labels, captions)


class SpooledTree:
    """Files one after the other in one temporary file, which is gone when the tree is."""

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self.path, self._file = path, file
        self._places: dict[str, tuple[int, int] | Fault] = {}

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Of all files, in the order in which they were added."""
        return tuple(self._places)

    def add(self, name: str, payload: bytes | Fault) -> None:
        """Appends a file, or what is wrong with it. Errors: `OSError` where the disk is full."""
        if isinstance(payload, Fault):
            self._places[name] = payload
            return
        self._places[name] = (self._file.tell(), len(payload))
        self._file.write(payload)

    def entries(self) -> Sequence[Entry]:
        """The files with their sizes in bytes."""
        return [Entry(name, 0 if isinstance(place, Fault) else place[1]) for name, place in self._places.items()]

    def read(self, names: Sequence[str]) -> Iterator[tuple[str, Payload]]:
        """Each of `names` with its bytes."""
        for name in names:
            place = self._places[name]
            if isinstance(place, Fault):
                yield name, place
            else:
                self._file.seek(place[0])
                yield name, self._file.read(place[1])

    def identity(self, on_progress: OnProgress = silent) -> str:
        """The name of the data set; `ItemSource.identity` is about the content."""
        return str(self.path)


def picture_file(picture: Any, what: str) -> bytes:
    """A picture of Pillow, NumPy or torch as the bytes of a file that holds the same pixels.

    Arrays are uint8 [H, W] or [H, W, 1, 3 or 4]; tensors [C, H, W] or [H, W], of uint8 or floating point from 0 to 1. A mapping
    with ``bytes`` or ``path``, as Hugging Face has for pictures that are not decoded, is the file itself. Errors: `InputError`
    for anything else; `Unreadable` or `OSError` for a picture that is damaged or not there.
    """
    if isinstance(picture, Mapping) and (picture.get("bytes") is not None or picture.get("path") is not None):
        data = picture.get("bytes")
        return bytes(data) if data is not None else read_regular_file(Path(picture["path"]))
    image = upright(picture) if isinstance(picture, Image.Image) else Image.fromarray(_pixels(picture, what))
    if image.mode not in _PNG_MODES | _TIFF_MODES:
        image = image.convert("RGBA" if image.has_transparency_data or image.mode in ("La", "RGBa") else "RGB")
    buffer = io.BytesIO()
    if image.mode in _PNG_MODES:
        image.save(buffer, "PNG", compress_level=1)
    else:
        image.save(buffer, "TIFF")
    return buffer.getvalue()


def _pixels(picture: Any, what: str) -> Any:
    """[H, W] or [H, W, 3 or 4] uint8. Errors: `InputError`."""
    if is_tensor(picture):
        pixels = bytes_of_tensor(picture, what)
        pixels = pixels.transpose(1, 2, 0) if pixels.ndim == 3 else pixels
    elif isinstance(picture, np.ndarray):
        pixels = picture
        if pixels.dtype != np.uint8:
            raise InputError(f"{what} is an array of {pixels.dtype}; {uint8_advice(pixels)}")
    else:
        raise InputError(
            f"{what} is a picture of the type {type(picture).__name__}; give a Pillow image, a NumPy array or a tensor"
        )
    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] not in (1, 3, 4)) or 0 in pixels.shape:
        raise InputError(
            f"{what} has the shape {list(picture.shape)}; an array is [H, W] or [H, W, C], a tensor [H, W] or [C, H, W], with "
            "1, 3 or 4 channels"
        )
    return np.ascontiguousarray(pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels)

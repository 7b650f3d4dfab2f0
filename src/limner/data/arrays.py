"""Files of uncompressed pixels: IDX (the MNIST layout) and the CIFAR-10 binary layout, either may be in a gzip file.

Sources: http://yann.lecun.com/exdb/mnist (IDX), https://www.cs.toronto.edu/~kriz/cifar.html (binary version).
"""

from __future__ import annotations

import gzip
import io
import math
import mmap
import re
import tarfile
import tempfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from limner.core.errors import InputError
from limner.core.files import cache_folder, check_regular, make_folder, os_errors_as_input_errors, read_errors_as_input_errors
from limner.core.progress import OnProgress, silent
from limner.data.content import content_digest
from limner.data.listing import Arrays, Listing
from limner.data.options import SPLITS, DataOptions
from limner.data.source import DataSource
from limner.data.trees import dataset_name

IDX_ENDINGS = tuple(f"images{mark}idx{axes}-ubyte{gzip}" for mark in "-." for axes in "34" for gzip in ("", ".gz"))
"""How the names of IDX files of pictures end; the file of their labels is beside them (`label_names`)."""
_IDX_IMAGES = re.compile(r"^(?P<stem>.*?)images[-.]idx[34]-ubyte(\.gz)?$", re.IGNORECASE)
_CIFAR_SIDE = 32
_CIFAR_CLASSES = "batches.meta.txt"
_CIFAR_RECORD = 1 + 3 * _CIFAR_SIDE**2
_MAX_BYTES = 2**34
_MAX_BYTES_IN_MEMORY = 2**28  # MNIST's training pictures are 2**25.5
_MAX_CIFAR_BYTES = 2**32  # CIFAR-10 has 2**27.5
_MAX_LABELS_BEYOND = 2**20  # so that a wrong number of labels is still told as such
_BLOCK = 2**20


@dataclass(frozen=True)
class SplitPixels:
    """The pixels [n, H, W, C] uint8 of one split, with labels [n] where there are any."""

    split: str
    images: NDArray[np.uint8]
    labels: NDArray[np.int64] | None


def idx_files(folder: Path) -> list[Path]:
    """The IDX image files directly in `folder`; only one of a file and its gzip."""
    paths = sorted(path for path in folder.iterdir() if _IDX_IMAGES.match(path.name) and path.is_file())
    return [path for path in paths if not (path.suffix.lower() == ".gz" and path.with_suffix("") in paths)]


def is_idx_folder(source: object) -> bool:
    """Whether `source` is a folder with IDX files of pictures in it."""
    return isinstance(source, Path) and source.is_dir() and bool(idx_files(source))


def is_cifar(source: object) -> bool:
    """Whether `source` is a folder with the batches of CIFAR-10's binary version."""
    return isinstance(source, Path) and (source / "data_batch_1.bin").is_file()


def read_idx(path: Path, max_count: int = _MAX_BYTES) -> NDArray[np.uint8]:
    """An IDX file of unsigned bytes with any number of axes; a large one is mapped, in a temporary copy where it is compressed.

    Errors: `InputError` when it is not one, or not whole, or has more than `max_count` numbers.
    """
    try:
        check_regular(path)
        with path.open("rb") as raw:
            is_compressed = raw.read(2) == b"\x1f\x8b"
        with gzip.open(path, "rb") if is_compressed else path.open("rb") as handle:
            shape = _idx_shape(path, handle, max_count)
            count, start = math.prod(shape), handle.tell()
            data: bytes | mmap.mmap = b""
            size = -1 if is_compressed else path.stat().st_size - start
            if size == count > _MAX_BYTES_IN_MEMORY:
                return np.memmap(path, np.uint8, "r", start, shape)
            if is_compressed or size == count:
                data = handle.read(count + 1) if count <= _MAX_BYTES_IN_MEMORY else _spooled(handle, count + 1)
                size = len(data)  # one more than stated, to notice a file that is too long
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"cannot read {path} ({error}); get a fresh copy") from error
    if size != count:
        raise InputError(f"{path} has {'more' if size > count else 'fewer'} bytes than its header states; get a fresh copy")
    return np.frombuffer(data, np.uint8).reshape(shape)


def _idx_shape(path: Path, handle: io.BufferedIOBase, max_count: int) -> tuple[int, ...]:
    """The shape in the header of an IDX file of unsigned bytes. Errors: `InputError`."""
    head = handle.read(4)
    if len(head) < 4 or head[:2] != b"\0\0" or not 1 <= head[3] <= 4:
        raise InputError(f"{path} is not an IDX file (wrong magic number); get a fresh copy")
    if head[2] != 0x08:
        raise InputError(
            f"{path} holds numbers of IDX type 0x{head[2]:02x}; limner reads unsigned bytes (0x08) alone, so save it "
            "again as uint8"
        )
    shape = tuple(int(side) for side in np.frombuffer(handle.read(4 * head[3]), ">u4"))
    if len(shape) != head[3] or not 0 < math.prod(shape) <= max_count:
        raise InputError(f"{path} states the shape {shape}, which cannot be; get a fresh copy")
    return shape


def _spooled(handle: io.BufferedIOBase, max_bytes: int) -> mmap.mmap | bytes:
    """The next `max_bytes` bytes, or as many as there are, in a temporary file that goes with the result.

    A few megabytes of gzip may hold gigabytes. Errors: `InputError` where the cache has no room for them.
    """
    base = cache_folder() / "spool"
    make_folder(base)
    with os_errors_as_input_errors(base):
        copy = tempfile.TemporaryFile(dir=base)  # noqa: SIM115  # it goes when the map does
    with copy:
        rest = max_bytes
        while rest and (block := handle.read(min(rest, _BLOCK))):  # damage in the source is not the spool's fault
            with os_errors_as_input_errors(base):
                copy.write(block)
            rest -= len(block)
        with os_errors_as_input_errors(base):
            copy.flush()
        return mmap.mmap(copy.fileno(), 0, access=mmap.ACCESS_READ) if rest < max_bytes else b""


def read_idx_part(images: Path, split: str | None = None) -> SplitPixels:
    """An image file and its label file beside it. Errors: `InputError` when they do not belong together."""
    match = _IDX_IMAGES.match(images.name)
    stem = match["stem"].lower() if match else ""
    pixels = read_idx(images)
    if pixels.ndim not in (3, 4) or (pixels.ndim == 4 and pixels.shape[3] not in (1, 3)):
        raise InputError(f"{images} has the shape {pixels.shape}; pictures are [N, H, W] or [N, H, W, 1 or 3]")
    labels = None
    beside = labels_beside(images)
    if beside:
        labels = read_idx(beside[0], max_count=len(pixels) + _MAX_LABELS_BEYOND).astype(np.int64)
        if labels.shape != pixels.shape[:1]:
            raise InputError(f"{beside[0]} has {labels.size} labels, {images.name} {len(pixels)} pictures; get fresh copies")
    if split is None:
        split = "test" if "t10k" in stem or "test" in stem else "val" if "val" in stem else "train"
    return SplitPixels(split, pixels[..., None] if pixels.ndim == 3 else pixels, labels)


def label_names(images: str) -> tuple[str, ...]:
    """What the label file of an IDX image file may be called, as it is and gzip-wrapped; nothing for any other file."""
    if not _IDX_IMAGES.match(images):
        return ()
    name = re.sub(r"\.gz$", "", images, flags=re.IGNORECASE)
    name = re.sub(r"images([-.])idx[34]", r"labels\1idx1", name, flags=re.IGNORECASE)
    return name, name + ".gz"


def labels_beside(images: Path) -> list[Path]:
    """The label files that lie beside an IDX image file."""
    return [path for path in map(images.with_name, label_names(images.name)) if path.is_file()]


def cifar_files(folder: Path) -> list[Path]:
    """The files of a folder in the CIFAR-10 binary layout: batches, and the names of the classes."""
    others = [folder / "test_batch.bin", folder / _CIFAR_CLASSES]
    return [path for path in [*sorted(folder.glob("data_batch_*.bin")), *others] if path.is_file()]


def read_cifar(folder: Path) -> tuple[list[SplitPixels], tuple[str, ...]]:
    """The parts and class names of a folder in the CIFAR-10 binary layout. Errors: `InputError` for a file that is damaged."""
    paths = cifar_files(folder)
    with read_errors_as_input_errors(folder):
        total = sum(path.stat().st_size for path in paths)
        if total > _MAX_CIFAR_BYTES:
            raise InputError(f"{folder} has {total:,} bytes in the CIFAR layout; at most {_MAX_CIFAR_BYTES:,} are read")
        files = {path.name: path.read_bytes() for path in paths}
    return _cifar_parts(str(folder), files, files.pop(_CIFAR_CLASSES, b""))


def read_cifar_archive(path: Path) -> tuple[list[SplitPixels], tuple[str, ...]]:
    """The same from the official `cifar-10-binary.tar.gz`, without extracting it."""
    files: dict[str, bytes] = {}
    try:
        with tarfile.open(path, "r:*") as archive:
            for member in archive:
                handle = archive.extractfile(member) if member.isreg() and member.size <= 10_000 * _CIFAR_RECORD else None
                if handle:
                    files[member.name.rsplit("/", 1)[-1]] = handle.read()
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise InputError(f"cannot read {path} ({error}); remove it and try again") from error
    return _cifar_parts(str(path), files, files.pop(_CIFAR_CLASSES, b""))


def _cifar_parts(where: str, files: Mapping[str, bytes], meta: bytes) -> tuple[list[SplitPixels], tuple[str, ...]]:
    parts: list[SplitPixels] = []
    for split, start in (("train", "data_batch_"), ("test", "test_batch")):
        batches = [(name, files[name]) for name in sorted(files) if name.startswith(start) and name.endswith(".bin")]
        for name, data in batches:
            if not data or len(data) % _CIFAR_RECORD:
                raise InputError(f"{where}: {name} has {len(data)} bytes, not a multiple of {_CIFAR_RECORD}; get a fresh copy")
        if batches:
            records = np.frombuffer(b"".join(data for _, data in batches), np.uint8).reshape(-1, _CIFAR_RECORD)
            planes = records[:, 1:].reshape(-1, 3, _CIFAR_SIDE, _CIFAR_SIDE)
            labels = records[:, 0].astype(np.int64)
            if labels.max() > 9:
                raise InputError(f"{where} has the label {labels.max()}; CIFAR-10 labels are 0 to 9, so get a fresh copy")
            parts.append(SplitPixels(split, np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), labels))
    if not parts:
        raise InputError(f"{where} holds no CIFAR-10 batches (data_batch_1.bin ...); get a fresh copy")
    return parts, tuple(line.strip() for line in io.StringIO(meta.decode("utf-8", "replace")) if line.strip())


class IdxSource(DataSource):
    """The IDX files in a folder, or one IDX file of pictures with the labels beside it."""

    def __init__(self, path: Path) -> None:
        self.path, self.name = path, dataset_name(path.name)

    def identity(self, on_progress: OnProgress = silent) -> str:
        images = idx_files(self.path) if self.path.is_dir() else [self.path]
        files = sorted({path.name for one in images for path in (one, *labels_beside(one))})
        return content_digest(self.path, files, on_progress)

    def listing(self, options: DataOptions, on_progress: OnProgress = silent) -> Listing:
        images = idx_files(self.path) if self.path.is_dir() else [self.path]
        return as_listing(str(self.path), [read_idx_part(path) for path in images], (), labelled=options.labels == "auto")


class CifarSource(DataSource):
    """A folder in the CIFAR-10 binary layout."""

    def __init__(self, path: Path) -> None:
        self.path, self.name = path, dataset_name(path.name)

    def identity(self, on_progress: OnProgress = silent) -> str:
        return content_digest(self.path, [path.name for path in cifar_files(self.path)], on_progress)

    def listing(self, options: DataOptions, on_progress: OnProgress = silent) -> Listing:
        parts, classes = read_cifar(self.path)
        return as_listing(str(self.path), parts, classes, labelled=options.labels == "auto")


def as_listing(where: str, parts: Sequence[SplitPixels], classes: tuple[str, ...], *, labelled: bool = True) -> Listing:
    """Joins parts, in the order of `SPLITS`, into one listing with published splits. Errors: `InputError` where they differ."""
    parts = sorted(parts, key=lambda part: SPLITS.index(part.split))
    shapes = sorted({part.images.shape[1:] for part in parts})
    if len(shapes) != 1:
        raise InputError(f"{where} holds pictures of different shapes {shapes}; keep one shape per folder")
    starts = np.cumsum([0, *(len(part.images) for part in parts)])

    def rows(indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        pixels = np.empty((len(indices), *shapes[0]), np.uint8)
        for part, start, stop in zip(parts, starts[:-1], starts[1:], strict=True):
            here = (indices >= start) & (indices < stop)
            pixels[here] = part.images[indices[here] - start]
        return pixels

    hints = np.concatenate([np.full(len(part.images), SPLITS.index(part.split), np.int8) for part in parts])
    labels = None
    if labelled and all(part.labels is not None for part in parts):
        labels = np.concatenate([part.labels for part in parts if part.labels is not None])
        classes = classes or tuple(str(number) for number in range(int(labels.max()) + 1))
        if labels.max() >= len(classes):
            raise InputError(f"{where} has the label {labels.max()} but only {len(classes)} class names; get fresh copies")
    return Listing(Arrays(shapes[0], rows), hints, labels, classes if labels is not None else (), published=True)

"""Published data sets by name: read from the folders of ``LIMNER_DATA``, or downloaded and checked.

A local copy is checked by its structure only (magic numbers, counts, sizes), for gzip wrappers differ between honest copies.
Checksums: MD5 of the official files, as the authors' pages and Fashion-MNIST's README publish them.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from limner.core.cache import hold
from limner.core.download import DownloadError, download
from limner.core.errors import InputError
from limner.core.files import cache_folder
from limner.core.progress import OnProgress, Progress, silent
from limner.data import arrays
from limner.data.content import remembered
from limner.data.listing import Listing

_IDX_FILES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)
_CIFAR_FOLDER = "cifar-10-batches-bin"
_MAX_FILE_BYTES = 2**30  # bytes; the largest of them, CIFAR-10's, has 170 million


@dataclass(frozen=True)
class PublishedSet:
    """A published data set: where it may lie, where it comes from, and what it consists of."""

    line: str
    folders: tuple[str, ...]
    """Below a folder of LIMNER_DATA; the first that holds the files is taken."""
    mirrors: tuple[str, ...]
    files: dict[str, str]
    """File name -> MD5."""
    side: int
    """Height and width in pixels."""
    counts: tuple[int, int]
    """Pictures of train and of test."""
    classes: tuple[str, ...]
    content: str
    """`content_of` the official files."""


PUBLISHED_SETS: Mapping[str, PublishedSet] = {
    "mnist": PublishedSet(
        line="70,000 handwritten digits, 28x28 grey, 10 classes",
        folders=("mnist", "MNIST/raw", "mnist/raw", "MNIST"),
        mirrors=("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/"),
        files=dict(
            zip(
                _IDX_FILES,
                (
                    "f68b3c2dcbeaaa9fbdd348bbdeb94873",
                    "d53e105ee54ea40749a09fcbcd1e9432",
                    "9fb629c4189551a2d022fa330f9573f3",
                    "ec29112dd5afa0611ce80d1b7f02629c",
                ),
                strict=True,
            )
        ),
        side=28,
        counts=(60_000, 10_000),
        classes=tuple("0123456789"),
        content="10ec21a57290832ecf3d89cdc547eafe10145f1c9dfeba988f504c91594a4af8",
    ),
    "fashion-mnist": PublishedSet(
        line="70,000 pieces of clothing, 28x28 grey, 10 classes",
        folders=("fashion-mnist", "FashionMNIST/raw", "fashion-mnist/raw", "FashionMNIST", "fashion_mnist"),
        mirrors=(
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        ),
        files=dict(
            zip(
                _IDX_FILES,
                (
                    "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
                    "25c81989df183df01b3e8a0aad5dffbe",
                    "bef4ecab320f06d8554ea6380940ec79",
                    "bb300cfdad3c16e7a12a480ee83cd310",
                ),
                strict=True,
            )
        ),
        side=28,
        counts=(60_000, 10_000),
        classes=(
            "T-shirt/top",
            "Trouser",
            "Pullover",
            "Dress",
            "Coat",
            "Sandal",
            "Shirt",
            "Sneaker",
            "Bag",
            "Ankle boot",
        ),
        content="95fcb8dc82d8c50a5f2a7843acef63f7ae28abf891deefa467ccf106a861ab70",
    ),
    "cifar-10": PublishedSet(
        line="60,000 photographs, 32x32 colour, 10 classes",
        folders=(f"cifar-10/{_CIFAR_FOLDER}", _CIFAR_FOLDER, "cifar-10", "cifar10"),
        mirrors=("https://www.cs.toronto.edu/~kriz/",),
        files={"cifar-10-binary.tar.gz": "c32a1d4ab5d03f1284b67883e8d87530"},
        side=32,
        counts=(50_000, 10_000),
        classes=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
        content="c4e64e6819183a2d779111a296aa82782eb6f365354def27c90e222dbeacb8ea",
    ),
}


def locate(name: str) -> Path | None:
    """The folder of ``LIMNER_DATA``, or of earlier downloads, with the files of `name`; None where there is none."""
    folder = next((folder for folder in _candidates(name) if _complete(name, folder)), None)
    if folder is not None:
        hold(folder)
    return folder


def content_of(name: str) -> str:
    """SHA-256 of the pixels and labels of `name`, however its files are compressed and packed; of the official files where
    there are none yet. Errors: `InputError` as `load` has them, but of the network.
    """
    folder = locate(name)
    if folder is None or folder == _downloads(name):  # what lies there is checked against the official files before it is read
        return PUBLISHED_SETS[name].content
    return remembered(name, folder, list(map(str, _files(name, folder))), lambda: _digest(_read(name, folder)))


def load(name: str, *, labelled: bool = True, on_progress: OnProgress = silent) -> Listing:
    """The whole data set with its published test split; `on_progress` hears of a download.

    Errors: `InputError` when a file is damaged, or when it is neither there nor to be had from the network.
    """
    folder = locate(name)
    if folder is None or folder == _downloads(name):
        folder = _download(name, on_progress)
    return arrays.as_listing(str(folder), _read(name, folder), PUBLISHED_SETS[name].classes, labelled=labelled)


def _read(name: str, folder: Path) -> list[arrays.SplitPixels]:
    """The parts of `name` in `folder`. Errors: `InputError` when a file is damaged, or of another set."""
    published = PUBLISHED_SETS[name]
    if name == "cifar-10":
        read = arrays.read_cifar if arrays.is_cifar(folder) else arrays.read_cifar_archive
        parts, _ = read(folder if arrays.is_cifar(folder) else folder / next(iter(published.files)))
    else:
        pairs = zip(("train", "test"), ("train-images-idx3-ubyte", "t10k-images-idx3-ubyte"), strict=True)
        parts = [arrays.read_idx_part(_either(folder, stem), split) for split, stem in pairs]
    counts = tuple(sum(len(part.images) for part in parts if part.split == split) for split in ("train", "test"))
    shapes = {part.images.shape[1:3] for part in parts}
    if counts != published.counts or shapes != {(published.side, published.side)} or any(part.labels is None for part in parts):
        raise InputError(
            f"{folder} does not hold {name}: expected {published.counts[0]} + {published.counts[1]} labelled pictures of "
            f"{published.side}x{published.side}, found {counts[0]} + {counts[1]}; get the official files"
        )
    return parts


def _digest(parts: list[arrays.SplitPixels]) -> str:
    whole = hashlib.sha256()
    for part in parts:
        whole.update(part.split.encode() + np.ascontiguousarray(part.images).data)
        whole.update(b"-" if part.labels is None else part.labels.astype("<i8").tobytes())
    return whole.hexdigest()


def _files(name: str, folder: Path) -> list[Path]:
    """The files that are read of `folder`."""
    if name != "cifar-10":
        return [_either(folder, file.removesuffix(".gz")) for file in _IDX_FILES]
    return arrays.cifar_files(folder) if arrays.is_cifar(folder) else [folder / file for file in PUBLISHED_SETS[name].files]


def _candidates(name: str) -> Iterator[Path]:
    for base in filter(None, os.environ.get("LIMNER_DATA", "").split(os.pathsep)):
        # The folder itself comes last, and only under the right name: MNIST's and Fashion-MNIST's files are named alike.
        root = Path(base).expanduser()
        yield from (root / folder for folder in PUBLISHED_SETS[name].folders)
        if name == "cifar-10" or _own_name(root) == name:
            yield root
    yield _downloads(name)


def _downloads(name: str) -> Path:
    return cache_folder() / "downloads" / name


def _own_name(root: Path) -> str:
    """Which IDX set a folder given as such holds: Fashion-MNIST where its path says so, MNIST otherwise."""
    return "fashion-mnist" if "fashion" in str(root.resolve()).lower() else "mnist"


def _complete(name: str, folder: Path) -> bool:
    if name == "cifar-10":
        return arrays.is_cifar(folder) or all((folder / file).is_file() for file in PUBLISHED_SETS[name].files)
    return all(_either(folder, file.removesuffix(".gz")).is_file() for file in _IDX_FILES)


def _either(folder: Path, stem: str) -> Path:
    """The file of this name as it is, in the spelling ``images.idx3``, or gzip-wrapped."""
    dotted = stem.replace("-idx", ".idx")
    choices = [folder / name for name in (stem, f"{stem}.gz", dotted, f"{dotted}.gz")]
    return next((path for path in choices if path.is_file()), choices[0])


def _download(name: str, on_progress: OnProgress) -> Path:
    """Fetches what is missing in the cache, or damaged. Errors: `InputError` where no mirror gives a file with the right
    checksum."""
    published = PUBLISHED_SETS[name]
    folder = _downloads(name)
    for file, checksum in published.files.items():
        if (folder / file).is_file():
            with (folder / file).open("rb") as handle:
                if hashlib.file_digest(handle, "md5").hexdigest() == checksum:
                    continue
            on_progress(Progress(f"fetching {name}", note=f"{folder / file} is damaged; it is fetched anew"))
        urls = [mirror + file for mirror in published.mirrors]
        try:
            download(urls, folder / file, checksum=f"md5:{checksum}", max_bytes=_MAX_FILE_BYTES, on_progress=on_progress)
        except DownloadError as error:
            raise InputError(
                f"{name} is neither in LIMNER_DATA nor to be had from the network ({error}); "
                f"put its official files into a folder DIR/{published.folders[0]} and set LIMNER_DATA=DIR"
            ) from error
    return folder

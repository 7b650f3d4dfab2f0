"""Published data sets by name: read from the folders of ``LIMNER_DATA``, or downloaded and checked.

A local copy is checked by its structure only (magic numbers, counts, sizes), for gzip wrappers differ between honest copies.
Checksums: MD5 of the official files, as the authors' pages and Fashion-MNIST's README publish them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from limner.core.download import DownloadError, download
from limner.core.errors import InputError
from limner.core.files import cache_folder
from limner.core.progress import OnProgress, silent
from limner.data import arrays
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
    ),
    "cifar-10": PublishedSet(
        line="60,000 photographs, 32x32 colour, 10 classes",
        folders=(f"cifar-10/{_CIFAR_FOLDER}", _CIFAR_FOLDER, "cifar-10", "cifar10"),
        mirrors=("https://www.cs.toronto.edu/~kriz/",),
        files={"cifar-10-binary.tar.gz": "c32a1d4ab5d03f1284b67883e8d87530"},
        side=32,
        counts=(50_000, 10_000),
        classes=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    ),
}


def locate(name: str) -> Path | None:
    """The folder of ``LIMNER_DATA``, or of earlier downloads, with the files of `name`; None where there is none."""
    return next((folder for folder in _candidates(name) if _complete(name, folder)), None)


def load(name: str, *, labelled: bool = True, on_progress: OnProgress = silent) -> Listing:
    """The whole data set with its published test split; `on_progress` hears of a download.

    Errors: `InputError` when a file is damaged, or when it is neither there nor to be had from the network.
    """
    published = PUBLISHED_SETS[name]
    folder = locate(name) or _download(name, on_progress)
    if name == "cifar-10":
        archive = folder / next(iter(published.files))
        parts, _ = arrays.read_cifar(folder) if arrays.is_cifar(folder) else arrays.read_cifar_archive(archive)
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
    return arrays.as_listing(str(folder), parts, published.classes, labelled=labelled)


def _candidates(name: str) -> Iterator[Path]:
    for base in filter(None, os.environ.get("LIMNER_DATA", "").split(os.pathsep)):
        # The folder itself comes last, and only under the right name: MNIST's and Fashion-MNIST's files are named alike.
        root = Path(base).expanduser()
        yield from (root / folder for folder in PUBLISHED_SETS[name].folders)
        if name == "cifar-10" or _own_name(root) == name:
            yield root
    yield cache_folder() / "downloads" / name


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
    """Fetches what is missing into the cache. Errors: `InputError` where no mirror gives a file with the right checksum."""
    published = PUBLISHED_SETS[name]
    folder = cache_folder() / "downloads" / name
    for file, checksum in published.files.items():
        if (folder / file).is_file():
            continue
        urls = [mirror + file for mirror in published.mirrors]
        try:
            download(urls, folder / file, checksum=f"md5:{checksum}", max_bytes=_MAX_FILE_BYTES, on_progress=on_progress)
        except DownloadError as error:
            raise InputError(
                f"{name} is neither in LIMNER_DATA nor to be had from the network ({error}); "
                f"put its official files into a folder DIR/{published.folders[0]} and set LIMNER_DATA=DIR"
            ) from error
    return folder

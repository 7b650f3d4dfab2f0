"""A person's own pictures, shaped as the run's data was."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from limner.core.errors import InputError
from limner.data import pictures
from limner.data.listing import Payload, printable
from limner.data.pictures import Shaping, Unreadable
from limner.data.reading import bytes_of
from limner.data.trees import escapes, is_archive, open_tree
from limner.loaded import Loaded


def read_pictures(model: Loaded, paths: Sequence[Path | str], grey: bool = False) -> tuple[list[str], NDArray[np.uint8]]:
    """The names of N files and their pictures [N, H, W, C], with the size, fit, channels and background of the run's data.

    `paths` are picture files, folders and archives; of the latter two, every picture in them. Errors: `InputError` where a path
    is not there, where none holds a picture, and for a picture that cannot be read, with its name and the reason; for one in
    colour, where the model knows grey only, unless `grey` says that colour may go.
    """
    data = model.recipe.data
    height, width, channels = model.shape
    shaping = Shaping((height, width), data.fit, channels, pictures.parse_background(data.background))
    names: list[str] = []
    images: list[NDArray[np.uint8]] = []
    for name, payload in (found for path in paths for found in _files(Path(path).expanduser())):
        data_bytes = bytes_of(payload)
        try:
            if channels == 1 and not grey and _in_colour(pictures.read(data_bytes, replace(shaping, channels=3))[0]):
                raise InputError(
                    f"{name} is in colour, and {model.run.path} knows grey pictures only; give --grey to have it made grey"
                )
            images.append(pictures.read(data_bytes, shaping)[0])
        except Unreadable as error:
            raise InputError(f"{name} cannot be used: {error}; repair it or leave it out") from error
        names.append(name)
    if not images:
        where = ", ".join(map(str, paths))
        raise InputError(f"no picture in {where}; give files such as .png or .jpg, or a folder of them" if paths else
                         "no pictures given; name files such as .png or .jpg, or a folder of them")  # fmt: skip
    return names, np.stack(images)


def _in_colour(image: NDArray[np.uint8]) -> bool:
    """Whether more than two pixels in a hundred of [H, W, 3] have a clear hue; a grey JPEG has some faint ones."""
    spread = image.max(-1).astype(np.int64) - image.min(-1)
    return bool((spread > 24).mean() > 0.02)


def _files(path: Path) -> Iterator[tuple[str, Payload]]:
    """A file as it is; the pictures of a folder or an archive by name."""
    if not path.exists():
        raise InputError(f"there is no file or folder at {path}")
    if not path.is_dir() and not is_archive(path):
        yield str(path), path
        return
    tree, ends = open_tree(path), pictures.openable()[1]
    inside = [one.name for one in tree.entries() if Path(one.name).suffix.lower() in ends and not escapes(one.name)]
    for name, payload in sorted(tree.read(inside), key=lambda found: found[0]):
        yield f"{path}/{printable(name)}", payload

"""What `prepare` may be given, and how each kind of source is listed: the first step of list → read → plan → write.

`SOURCES` is the table. A new kind is a file of its own and a row here; a package of others, or a program, adds rows by
``SOURCES.register(name, SourceKind(…))`` or by the entry point group ``limner.sources``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from limner.core.address import is_address, public_address
from limner.core.cache import hold
from limner.core.errors import InputError, nearest
from limner.core.extensions import attribute_errors, result_error
from limner.core.files import check_regular, read_errors_as_input_errors
from limner.core.progress import OnProgress, Progress, silent
from limner.core.table import Table
from limner.data import arrays, folders, items, memory, named, npz, remote, scenes, shipped
from limner.data.archives import ARCHIVES
from limner.data.listing import Listing, Rejected, printable
from limner.data.options import DataOptions
from limner.data.source import DataSource
from limner.data.trees import dataset_name, escapes

BUILT_IN: Mapping[str, str] = {
    **{name: one.line for name, one in shipped.SHIPPED_SETS.items()},
    "scenes": scenes.LINE,
    "scenes-1": scenes.ONE_OBJECT_LINE,
    **{name: published.line for name, published in named.PUBLISHED_SETS.items()},
}
"""The names that stand for a data set, each with one line about it."""
_PREPARED_FOLDER = re.compile(r".+-\d+x\d+x[134]-[0-9a-f]{12}")
"""What `prepare` calls the folders that it makes in the cache."""


READING = "reading the source"
"""What the progress of a source is called, before its pictures are read."""


def _no_companions(name: str) -> tuple[str, ...]:
    return ()


@dataclass(frozen=True)
class SourceKind:
    """A kind of source: how it is recognised, and how it is opened.

    A kind that is a single file needs its `endings` alone: such files are then recognised here and behind an address, and are
    never taken for a picture.

    >>> kind = SourceKind("a .pix file", folders.open_pictures, endings=(".pix",))
    >>> kind.matches_name("cats.PIX"), kind.matches(Path("no-such-file.pix"))
    (True, False)
    """

    line: str
    """What a person may give, such as "a folder of pictures": for errors and lists."""
    open: Callable[[Any], DataSource]
    """Of what was recognised: a `Path`, or the object itself. Errors: `InputError`."""
    recognises: Callable[[object], bool] | None = None
    """Whether a source is of this kind: a name or an address as text, a `Path`, or an object of the program. It is called for
    every source that no earlier kind recognises, so it must be quick and raise nothing."""
    endings: tuple[str, ...] = ()
    """How the names of files of this kind end, in lower case."""
    companions: Callable[[str], tuple[str, ...]] = _no_companions
    """The names of files that may lie beside a file of this name and belong to it; behind an address they are fetched too."""
    is_general: bool = False
    """Whether it also recognises what is of a more special kind, so that all others are asked before it."""

    def matches(self, source: object) -> bool:
        """Whether `source` is of this kind."""
        if self.recognises is not None:
            with attribute_errors(f"the kind of source '{self.line}'", self.recognises):
                if self.recognises(source):
                    return True
        return isinstance(source, Path) and self.matches_name(source.name) and source.is_file()

    def matches_name(self, file_name: str) -> bool:
        """Whether a file of this name is of this kind."""
        return bool(self.endings) and file_name.lower().endswith(self.endings)


def find_source(source: object) -> DataSource:
    """Opens a source of any kind in `SOURCES`.

    A built-in name is recognised before a path: a folder called ``mnist`` is reached as ``./mnist``. Errors: `InputError` in
    one line for what is of no kind.
    """
    place, label = locate(source), describe_source(source)
    with read_errors_as_input_errors(label):
        kind = kind_of(place)
        if kind is None:
            raise InputError(_why_no_source(source, place))
    with attribute_errors(what := f"the kind of source '{kind.line}'", kind.open), read_errors_as_input_errors(label):
        opened: object = kind.open(place)
    if not isinstance(opened, DataSource):
        raise result_error(what, kind.open, opened, "a limner.data.source.DataSource")
    return opened


def is_data_set(source: object) -> bool:
    """Whether `source` is for `prepare`, rather than one picture: everything but a file that is of no kind in `SOURCES`."""
    place = locate(source)
    with read_errors_as_input_errors(describe_source(source)):
        return not (isinstance(place, Path) and place.is_file()) or kind_of(place) is not None


def describe_source(source: object) -> str:
    """`source` for a message or a manifest: a path or an address without what is secret, or the type of an object."""
    return public_address(source) if isinstance(source, str | Path) else f"{type(source).__name__} in memory"


def locate(source: object) -> object:
    """`source` in the form in which kinds are asked about it.

    A built-in name or an address stays text; any other text, and a ``file://`` address, is a `Path`; objects stay as they are.
    Errors: `InputError` for a path that cannot be looked at.
    """
    if not isinstance(source, str | Path):
        return source
    if str(source) in BUILT_IN:
        return str(source)
    place = remote.local_source(source)
    if is_address(place):
        return place
    try:
        path = Path(place).expanduser()
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (OSError, ValueError, RuntimeError) as error:  # too long, with a NUL, or of an unknown user's home
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot read {printable(str(place))} ({reason}); check the path, and that it may be read") from error
    return path


def kind_of(place: object) -> SourceKind | None:
    """The first kind that matches what `locate` gave, or None.

    The order: limner's own kinds, kinds of installed packages, kinds that the program registered. Kinds with `is_general` are
    asked after all others.
    """
    return next((kind for kind in _kinds_in_order() if kind.matches(place)), None)


def companions_of(file_name: str, label: str) -> tuple[str, ...]:
    """The names of files that may lie beside a file of this name and belong to it.

    Errors: `InputError` about `label` where a file of this name is of no kind.
    """
    for kind in _kinds_in_order():
        if kind.matches_name(file_name):
            return kind.companions(file_name)
    raise InputError(_why_no_file(label))


def _kinds_in_order() -> Iterator[SourceKind]:
    general: list[SourceKind] = []
    for name in SOURCES:
        kind = SOURCES[name]
        if kind.is_general:
            general.append(kind)
        else:
            yield kind
    yield from general


def _why_no_file(label: str) -> str:
    lines = ", ".join(kind.line for kind in SOURCES.values() if kind.endings)
    return f"{label} is one file, and of no kind that holds a set of pictures; give a folder of pictures, {lines}{_faults()}"


def _faults() -> str:
    """The end of a message about a source that no kind recognises: a kind that could not be loaded might have."""
    return "".join(f"; {fault}" for fault in SOURCES.faults())


def _why_no_source(source: object, place: object) -> str:
    if not isinstance(place, str | Path):
        lines = "; ".join(kind.line for kind in SOURCES.values())
        return f"an object of the type {type(source).__name__} is no source of pictures; give one of: {lines}{_faults()}"
    path = Path(place)
    if path.exists():
        check_regular(path)
        return _why_no_file(str(path))
    if _PREPARED_FOLDER.fullmatch(path.name):
        return (
            f"the prepared pictures at {path} are gone; bring that folder back, or prepare the same pictures with the same "
            "options again, which makes it anew"
        )
    hint = nearest(str(source), BUILT_IN) or f"; give a folder, an archive, or one of {', '.join(BUILT_IN)}"
    return f"there is no '{source}', neither as a path nor as a data set's name{hint}{_faults()}"


class BuiltInSource(DataSource):
    """A data set by its name in `BUILT_IN`. Where a file or folder is called so too, a note says how that is reached."""

    def __init__(self, name: str) -> None:
        self.name, self._is_noted = name, False

    def identity(self, on_progress: OnProgress = silent) -> str:
        self._note_namesake(on_progress)
        if self.name in shipped.SHIPPED_SETS:
            return f"{self.name} {shipped.content_of(self.name)}"
        if self.name in ("scenes", "scenes-1"):
            return f"{self.name} {scenes.VERSION}"
        return f"{self.name} {named.content_of(self.name)}"

    def _note_namesake(self, on_progress: OnProgress) -> None:
        """Says once that a folder of this name is not read; of no use in a manifest, since it depends on the current folder."""
        if not self._is_noted and Path(self.name).exists():
            self._is_noted = True
            note = f"{self.name} is the data set of that name; write ./{self.name} for what lies in this folder"
            on_progress(Progress(READING, note=note))

    def listing(self, options: DataOptions, on_progress: OnProgress = silent) -> Listing:
        self._note_namesake(on_progress)
        labelled = options.labels == "auto"
        if self.name in shipped.SHIPPED_SETS:
            return shipped.load(self.name, labelled=labelled)
        if self.name in ("scenes", "scenes-1"):
            objects = 1 if self.name == "scenes-1" else scenes.MAX_OBJECTS
            return scenes.load(options.height_and_width, options.limit, options.seed, labelled=labelled, max_objects=objects)
        return named.load(self.name, labelled=labelled, on_progress=on_progress)


class RemoteSource(DataSource):
    """A source of any other kind behind an address.

    A set that was prepared before is recognised by what the server says of its files, so that nothing is fetched for it. Where
    the server does not answer, the newest copy in the cache stands in, and a note says so.
    """

    def __init__(self, address: str) -> None:
        self.address, self.name = address, dataset_name(remote.base_name(public_address(address)))

    @cached_property
    def _place(self) -> remote.Place:
        return remote.open_place(self.address, companions_of)

    @cached_property
    def _state(self) -> tuple[list[remote.RemoteFile], str]:
        """The files at the address; and, where they are those of an earlier copy, the reason."""
        try:
            return self._place.files(), ""
        except remote.UnreachableError as error:
            earlier = remote.earlier_files(self.address)
            if earlier is None:
                raise
            return earlier, f"{error}; going on with the newest copy in the cache"

    def _files(self, on_progress: OnProgress) -> list[remote.RemoteFile]:
        files, note = self._state
        if note:
            on_progress(Progress(f"fetching {self.name}", note=note))
        return files

    def identity(self, on_progress: OnProgress = silent) -> str:
        return remote.identity(self.address, self._files(on_progress))

    def listing(self, options: DataOptions, on_progress: OnProgress = silent) -> Listing:
        files = self._files(on_progress)
        copy = remote.fetch(self._place, self.address, files, on_progress)
        hold(copy.parent)
        listing = find_source(copy).listing(options, on_progress)
        outside = [Rejected(printable(one.name), "its path leads out of the folder") for one in files if escapes(one.name)]
        return replace(listing, rejected=(*outside, *listing.rejected))


def _is_name(source: object) -> bool:
    return isinstance(source, str) and source in BUILT_IN


def _is_remote(source: object) -> bool:
    return isinstance(source, str) and is_address(source)


SOURCES: Table[SourceKind] = Table(
    "limner.sources",
    SourceKind,
    {
        "name": SourceKind(f"the name of a data set ({', '.join(BUILT_IN)})", BuiltInSource, _is_name),
        "hugging-face": SourceKind(items.HUGGING_FACE_LINE, items.open_hugging_face_dataset, items.is_hugging_face_dataset),
        "torch": SourceKind(items.TORCH_LINE, items.open_torch_dataset, items.is_torch_dataset),
        "array": SourceKind(memory.ARRAY_LINE, memory.open_array, memory.is_array_source),
        "list": SourceKind(items.LIST_LINE, items.open_list, items.is_list, is_general=True),
        "cifar": SourceKind("a folder in the CIFAR-10 binary layout", arrays.CifarSource, arrays.is_cifar),
        "idx-folder": SourceKind("a folder of IDX files", arrays.IdxSource, arrays.is_idx_folder),
        "idx": SourceKind("an IDX file", arrays.IdxSource, endings=arrays.IDX_ENDINGS, companions=arrays.label_names),
        "archive": SourceKind("a .zip or .tar(.gz) archive", folders.open_pictures, endings=ARCHIVES),
        "array-file": SourceKind("an .npy or .npz file", npz.ArrayFileSource, endings=npz.ENDINGS),
        "folder": SourceKind("a folder of pictures", folders.open_pictures, folders.is_folder, is_general=True),
        "address": SourceKind("the address of a folder or file", RemoteSource, _is_remote, is_general=True),
    },
)
"""Kinds of source by name. The first that matches is taken; see `kind_of` for the order."""

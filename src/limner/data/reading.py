"""The second step of list → read → plan → write: every picture of a listing, decoded and brought to one shape, in parallel.

Pixels go into a store on disk, signatures (by which duplicates are found) into memory. Given pictures
(`Listing.given_content`) are read after the pictures they belong to, in the same way.

Pictures of more than 8 bits share one scale, which the whole set decides (`wide.range_of`). So those that are read by another
scale at first, their own, are read once more when all are known. Memory is bounded over all threads: the bytes of files, of the
pictures that are decoded at the same time, and of the pixels that wait to be stored.
"""

from __future__ import annotations

import hashlib
import stat
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from limner.core.progress import OnProgress, Progress, silent
from limner.data import pictures
from limner.data.duplicates import Signatures, signatures
from limner.data.fingerprint import given_digests, grey_rows
from limner.data.listing import FILE_LIMIT, Arrays, Fault, Files, Listing, Payload, Rejected, name_of
from limner.data.pictures import PictureInfo, Shaping, Unreadable, binarised
from limner.data.threads import ByteBudget, Job, in_parallel
from limner.data.wide import Range, range_of

READING = "preparing data"
"""What the progress of reading pictures is called; a download has other names."""
_RESCALING = "scaling wide values"
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
_FILES_PER_CHUNK, _ROWS_PER_CHUNK = 32, 1024
_CHUNK_BYTES = 2**22  # of pixels that are worked on together: signatures take eight times as much for a moment
_PAYLOAD_BYTES = 2**23  # of files of an archive that are handed to a thread together, unless a single one is larger
_WAITING_BYTES = 2**28  # of files of an archive, and of pixels, that are handed to threads and not yet stored
_FILE_BYTES = ByteBudget(2**28)  # of files of folders that all threads have read and not yet decoded
Facts = TypeVar("Facts")
"""What is worked out about pictures while they are read, in the threads that read."""
Describe = Callable[[NDArray[np.uint8], list[PictureInfo]], Facts]
"""Works it out of pixels [n, H, W, C] and what is known of each of the n pictures."""


class Store:
    """Pixels [N, H, W, C] uint8 in one file, written row by row in any order, then read back as a memory map.

    Written with plain writes: a full disk is then an error that can be told, where a memory map would kill the process. The
    given pictures of a set of pairs have a store beside it (`beside`).
    """

    def __init__(self, path: Path, shape: tuple[int, int, int, int]) -> None:
        self._path, self._shape = path, shape
        self._row = shape[1] * shape[2] * shape[3]
        self._lock = threading.Lock()
        self._handle = path.open("wb")
        self.given_store: Store | None = None

    def __enter__(self) -> Store:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._handle.close()
        if self.given_store is not None:
            self.given_store.__exit__(kind, error, trace)

    def beside(self, channels: int) -> Store:
        """The store of the given pictures, of the same height, width and rows."""
        self.given_store = Store(self._path.with_name(f"{self._path.name}-given"), (*self._shape[:3], channels))
        return self.given_store

    def put(self, rows: NDArray[np.int64], pixels: NDArray[np.uint8]) -> None:
        """Writes `pixels` [n, H, W, C] as the `rows` [n]; threads may do so at the same time."""
        with self._lock:
            for row, picture in zip(rows.tolist(), pixels, strict=True):
                self._handle.seek(row * self._row)
                self._handle.write(picture.data)

    def pixels(self) -> NDArray[np.uint8]:
        """Everything, read-only; rows that were never written are zero."""
        self._handle.truncate(self._shape[0] * self._row)
        self._handle.flush()
        return np.memmap(self._path, np.uint8, "r", shape=self._shape)


@dataclass(frozen=True)
class GivenFacts:
    """What is known of n given pictures."""

    digest: NDArray[np.uint8]
    """[n, 32]: SHA-256 of the pixels: of one channel where all are grey, of four where any pixel is transparent, else three."""
    grey: NDArray[np.bool_]
    """[n]"""
    transparent: NDArray[np.bool_]
    """[n]"""

    @staticmethod
    def empty(count: int) -> GivenFacts:
        """Room for those of `count` pictures."""
        return GivenFacts(np.zeros((count, 32), np.uint8), np.zeros(count, np.bool_), np.zeros(count, np.bool_))

    def put(self, rows: NDArray[np.int64], other: GivenFacts) -> None:
        """Takes `other` over as the `rows` [n] of these."""
        self.digest[rows], self.grey[rows], self.transparent[rows] = other.digest, other.grey, other.transparent

    def channels(self, rows: NDArray[np.int64]) -> int:
        """What the pictures of `rows` need together: 4 where one is transparent, 1 where all are grey, else 3."""
        if bool(self.transparent[rows].any()):
            return 4
        return 1 if bool(self.grey[rows].all()) else 3


@dataclass
class Reading:
    """What is known of each of the N pictures of a listing after they were read."""

    ok: NDArray[np.bool_]
    """[N]: those that could be read, and their given pictures too."""
    signatures: Signatures
    files: NDArray[np.uint8] | None
    """[N, 32]: SHA-256 of each file's bytes, for sources of files."""
    infos: dict[int, PictureInfo] = field(default_factory=dict)
    """Row -> what is known of a picture that could be read."""
    given_infos: dict[int, PictureInfo] = field(default_factory=dict)
    """Row -> what is known of its given picture."""
    rejected: list[Rejected] = field(default_factory=list)
    given_facts: GivenFacts | None = None
    """Of the given pictures, N rows, where the listing has them."""
    value_range: Range | None = None
    """The values that became black and white, in pictures of more than 8 bits; None where there are none, or of two kinds."""


@dataclass
class _Chunk(Generic[Facts]):
    """Some pictures that were read: `pixels` [n, H, W, C] of `rows` [n], and the rows that `failed`, each with its reason."""

    rows: NDArray[np.int64]
    pixels: NDArray[np.uint8]
    facts: Facts
    files: list[bytes]
    infos: list[PictureInfo]
    failed: list[tuple[int, str]]


def read_all(
    listing: Listing,
    shaping: Shaping,
    *,
    store: Store | None = None,
    workers: int | None = None,
    on_progress: OnProgress = silent,
) -> Reading:
    """Decodes and shapes all pictures, and then their given pictures where the listing has them.

    Given pictures get the size and the fit of the others, and as many channels as they need themselves. The result depends on
    neither the number of `workers` nor their order. A picture whose given picture cannot be read is rejected with it.
    """
    count, has_given_pictures = len(listing), listing.given_content is not None
    reading = Reading(
        np.zeros(count, np.bool_),
        Signatures.empty(count),
        np.zeros((count, 32), np.uint8) if isinstance(listing.content, Files) else None,
    )
    reader = _Reader(listing, reading, shaping, store, workers)
    tick = _counter(on_progress, READING, 2 * count if has_given_pictures else count)
    reader.read_pictures(range(count), tick)
    if has_given_pictures:
        reader.begin_given()
        reader.read_given(range(count), tick)
    if shaping.rules > 1:
        reader.rescale(on_progress)
    reading.rejected = [Rejected(name_of(listing.content, row), reason) for row, reason in sorted(reader.reasons.items())]
    return reading


@dataclass
class _Reader:
    """Reads rows of a listing into `reading` and `store`; rows may be read again in another `shaping`."""

    listing: Listing
    reading: Reading
    shaping: Shaping
    store: Store | None
    workers: int | None
    reasons: dict[int, str] = field(default_factory=dict)
    """Row -> why it is set aside."""
    _given_channels: int = 3
    _given_store: Store | None = None

    def read_pictures(self, rows: Sequence[int], tick: Callable[[int], None]) -> None:
        reading = self.reading
        jobs = _jobs(self.listing.content, rows, self.shaping, _signatures)
        for chunk in in_parallel(jobs, self.workers, _WAITING_BYTES):
            if self.store is not None:
                self.store.put(chunk.rows, chunk.pixels)
            reading.ok[chunk.rows] = True
            reading.signatures.put(chunk.rows, chunk.facts)
            if reading.files is not None and chunk.files:
                reading.files[chunk.rows] = np.frombuffer(b"".join(chunk.files), np.uint8).reshape(-1, 32)
            reading.infos.update(zip(chunk.rows.tolist(), chunk.infos, strict=True))
            for row, reason in chunk.failed:
                reading.ok[row] = False
                self.reasons[row] = reason
            tick(len(chunk.rows) + len(chunk.failed))

    def begin_given(self) -> None:
        """Makes room for the given pictures."""
        content = self.listing.given_content
        self._given_channels = content.shape[2] if isinstance(content, Arrays) else 4
        self._given_store = None if self.store is None else self.store.beside(self._given_channels)
        self.reading.given_facts = GivenFacts.empty(len(self.listing))

    def read_given(self, rows: Sequence[int], tick: Callable[[int], None]) -> None:
        content, facts = self.listing.given_content, self.reading.given_facts
        assert content is not None
        assert facts is not None
        shaping = replace(self.shaping, channels=self._given_channels, binary=None)
        for chunk in in_parallel(_jobs(content, rows, shaping, _given_facts), self.workers, _WAITING_BYTES):
            if self._given_store is not None:
                self._given_store.put(chunk.rows, chunk.pixels)
            facts.put(chunk.rows, chunk.facts)
            self.reading.given_infos.update(zip(chunk.rows.tolist(), chunk.infos, strict=True))
            for row, reason in chunk.failed:
                self.reading.ok[row] = False
                self.reasons.setdefault(row, f"its given picture {name_of(content, row)} cannot be used: {reason}")
            tick(len(chunk.rows) + len(chunk.failed))

    def rescale(self, on_progress: OnProgress) -> None:
        """Brings all pictures of more than 8 bits to the range of the whole set, and notes it."""
        shaping, infos, given_infos = self.shaping, self.reading.infos, self.reading.given_infos
        wide = [info for info in (*infos.values(), *given_infos.values()) if info.values is not None]
        kinds = {info.is_real for info in wide}
        fixed_range = shaping.whole_range or shaping.real_range
        ranges = {kind: fixed_range or _range_of_set(wide, kind) for kind in kinds}
        self.reading.value_range = next(iter(ranges.values())) if len(ranges) == 1 else None
        if fixed_range is not None:
            return
        self.shaping = replace(shaping, whole_range=ranges.get(False), real_range=ranges.get(True))

        def differing(infos: dict[int, PictureInfo]) -> list[int]:
            return sorted(row for row, info in infos.items() if info.own_range not in (None, ranges.get(info.is_real)))

        rows, given_rows = differing(infos), differing(given_infos)
        tick = _counter(on_progress, _RESCALING, len(rows) + len(given_rows))
        self.read_pictures(rows, tick)
        if given_rows:
            self.read_given(given_rows, tick)


def _range_of_set(wide: Sequence[PictureInfo], is_real: bool) -> Range:
    """The range of those pictures of more than 8 bits that are of one kind."""
    spans = [info.values for info in wide if info.values is not None and info.is_real == is_real]
    return range_of(min(low for low, _ in spans), max(high for _, high in spans), is_real=is_real)


def _signatures(pixels: NDArray[np.uint8], infos: list[PictureInfo]) -> Signatures:
    return signatures(pixels)


def _given_facts(pixels: NDArray[np.uint8], infos: list[PictureInfo]) -> GivenFacts:
    transparent = np.array([info.transparent for info in infos], np.bool_)
    return GivenFacts(given_digests(pixels, transparent), grey_rows(pixels[..., :3]) & ~transparent, transparent)


def _counter(on_progress: OnProgress, what: str, total: int) -> Callable[[int], None]:
    """A function of the number of pictures read since it was last called, which reports how many were read of `total`."""
    done = 0

    def tick(more: int) -> None:
        nonlocal done
        done += more
        on_progress(Progress(what, done, total))

    return tick


def _jobs(
    content: Files | Arrays, rows: Sequence[int], shaping: Shaping, describe: Describe[Facts]
) -> Iterator[Job[_Chunk[Facts]]]:
    """Jobs that read some pictures of `content` each, and all of `rows` together."""
    if isinstance(content, Files):
        return _file_jobs(content, rows, shaping, describe)
    return _array_jobs(content, rows, shaping, describe)


def _file_jobs(
    content: Files, rows: Sequence[int], shaping: Shaping, describe: Describe[Facts]
) -> Iterator[Job[_Chunk[Facts]]]:
    rows_of: dict[str, list[int]] = {}
    for row in rows:
        rows_of.setdefault(content.names[row], []).append(row)
    picture_bytes = shaping.size[0] * shaping.size[1] * shaping.channels
    most = max(1, min(_FILES_PER_CHUNK, _CHUNK_BYTES // picture_bytes))
    batch: deque[tuple[list[int], Payload]] = deque()
    payload_bytes = 0
    for name, payload in content.tree.read(list(rows_of)):
        payload_bytes += len(payload) if isinstance(payload, bytes) else 0
        batch.append((rows_of[name], payload))
        del payload  # the batch alone holds it
        if len(batch) >= most or payload_bytes >= _PAYLOAD_BYTES:
            yield Job(partial(_read_files, batch, shaping, describe), payload_bytes + len(batch) * picture_bytes)
            batch, payload_bytes = deque(), 0
    if batch:
        yield Job(partial(_read_files, batch, shaping, describe), payload_bytes + len(batch) * picture_bytes)


def _array_jobs(
    content: Arrays, rows: Sequence[int], shaping: Shaping, describe: Describe[Facts]
) -> Iterator[Job[_Chunk[Facts]]]:
    height, width, channels = content.shape
    picture_bytes = max(height * width * channels, shaping.size[0] * shaping.size[1] * shaping.channels)
    most = max(1, min(_ROWS_PER_CHUNK, _CHUNK_BYTES // picture_bytes))
    for start in range(0, len(rows), most):
        part = np.array(rows[start : start + most], np.int64)
        yield Job(partial(_read_rows, content, part, shaping, describe), len(part) * picture_bytes)


def _read_files(batch: deque[tuple[list[int], Payload]], shaping: Shaping, describe: Describe[Facts]) -> _Chunk[Facts]:
    """Each file once, for every row that it stands in; `batch` is empty then, so that files are freed one by one."""
    rows: list[int] = []
    images: list[NDArray[np.uint8]] = []
    files: list[bytes] = []
    infos: list[PictureInfo] = []
    failed: list[tuple[int, str]] = []
    while batch:
        places, payload = batch.popleft()
        try:
            with _FILE_BYTES.hold(_file_size(payload)):
                data = bytes_of(payload)
                del payload
                digest = hashlib.sha256(data).digest()
                pixels, info = pictures.read(data, shaping)
                del data
        except Unreadable as error:
            failed += [(row, str(error)) for row in places]
            continue
        rows += places
        images += [pixels] * len(places)
        files += [digest] * len(places)
        infos += [info] * len(places)
    stacked = np.stack(images) if images else np.empty((0, *shaping.size, shaping.channels), np.uint8)
    if shaping.binary is not None:
        stacked = binarised(stacked, shaping.binary)
    return _Chunk(np.array(rows, np.int64), stacked, describe(stacked, infos), files, infos, failed)


def _read_rows(content: Arrays, rows: NDArray[np.int64], shaping: Shaping, describe: Describe[Facts]) -> _Chunk[Facts]:
    pixels = content.rows(rows)
    height, width, channels = content.shape
    clear = np.zeros(len(rows), np.bool_)
    if channels == 4:
        clear |= (pixels[..., 3] < 255).any(axis=(1, 2))
    if content.shape != (*shaping.size, shaping.channels):
        pixels = np.stack([pictures.from_pixels(one, shaping) for one in pixels])
    if shaping.binary is not None:
        pixels = binarised(pixels, shaping.binary)
    facts = zip(clear.tolist(), pictures.is_blank(pixels).tolist(), strict=True)
    infos = [PictureInfo(height, width, _MODES[channels], transparent, blank=one_colour) for transparent, one_colour in facts]
    return _Chunk(rows, np.ascontiguousarray(pixels), describe(pixels, infos), [], infos, [])


def bytes_of(payload: Payload) -> bytes:
    """The bytes of a file. Errors: `Unreadable` with the reason."""
    if isinstance(payload, Fault):
        raise Unreadable(payload.reason)
    if isinstance(payload, bytes):
        return payload
    try:
        state = payload.stat()
        if not stat.S_ISREG(state.st_mode):  # a named pipe would be waited for, a device read without end
            raise Unreadable("is not a regular file")
        if state.st_size > FILE_LIMIT:
            raise Unreadable(f"larger than {FILE_LIMIT // 2**20} MiB")
        return payload.read_bytes()
    except OSError as error:
        raise Unreadable(f"cannot be read ({error.strerror})") from error


def _file_size(payload: Payload) -> int:
    """Bytes that reading the file will take; 0 for what is in memory already, or not to be had."""
    try:
        return min(payload.stat().st_size, FILE_LIMIT) if isinstance(payload, Path) else 0
    except OSError:
        return 0

"""The second step of list → read → plan → write: every picture of a listing, decoded and brought to one shape, in parallel.

Pixels go into a store on disk, signatures (by which duplicates are found) into memory. Given pictures
(`Listing.given_content`) are read after the pictures they belong to, in the same way.

Threads, not processes: Pillow and hashlib let go of the interpreter while they decode, resize and hash, so that threads scale;
they need no guarded main module, copy no pixels, are safe beside torch's own threads, and end quietly on an interrupt.
"""

from __future__ import annotations

import hashlib
import os
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from limner.core.progress import OnProgress, Progress, silent
from limner.data import pictures
from limner.data.duplicates import Signatures, signatures
from limner.data.listing import Arrays, Fault, Files, Listing, Payload, Rejected, printable
from limner.data.pictures import PictureInfo, Shaping, Unreadable, binarised

READING = "preparing data"
"""What the progress of reading pictures is called; a download has other names."""
_FILES_PER_CHUNK, _ROWS_PER_CHUNK = 32, 1024
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
    infos: list[PictureInfo]
    """Of the pictures that could be read, in no order."""
    rejected: list[Rejected]
    given_facts: GivenFacts | None = None
    """Of the given pictures, N rows, where the listing has them."""


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
    count, content = len(listing), listing.content
    tick = _counter(on_progress, count if listing.given_content is None else 2 * count)
    reading = Reading(
        np.zeros(count, np.bool_),
        Signatures.empty(count),
        np.zeros((count, 32), np.uint8) if isinstance(content, Files) else None,
        [],
        [],
    )
    reasons: dict[int, str] = {}
    for chunk in _in_parallel(_jobs(content, count, shaping, _signatures), workers, tick):
        if store is not None:
            store.put(chunk.rows, chunk.pixels)
        reading.ok[chunk.rows] = True
        reading.signatures.put(chunk.rows, chunk.facts)
        if reading.files is not None and chunk.files:
            reading.files[chunk.rows] = np.frombuffer(b"".join(chunk.files), np.uint8).reshape(-1, 32)
        reading.infos += chunk.infos
        reasons |= dict(chunk.failed)
    if listing.given_content is not None:
        channels = 4 if isinstance(listing.given_content, Files) else listing.given_content.shape[2]
        shaping = replace(shaping, channels=channels, binary=None)
        reading.given_facts = GivenFacts.empty(count)
        target = None if store is None else store.beside(channels)
        for part in _in_parallel(_jobs(listing.given_content, count, shaping, _given_facts), workers, tick):
            if target is not None:
                target.put(part.rows, part.pixels)
            reading.given_facts.put(part.rows, part.facts)
            for row, reason in part.failed:
                reading.ok[row] = False
                reasons.setdefault(row, f"its given picture {_name(listing.given_content, row)} cannot be used: {reason}")
    reading.rejected = [Rejected(_name(content, row), reason) for row, reason in sorted(reasons.items())]
    return reading


def _signatures(pixels: NDArray[np.uint8], infos: list[PictureInfo]) -> Signatures:
    return signatures(pixels)


def _given_facts(pixels: NDArray[np.uint8], infos: list[PictureInfo]) -> GivenFacts:
    facts = GivenFacts.empty(len(pixels))
    for row, (picture, info) in enumerate(zip(pixels, infos, strict=True)):
        colours = picture[..., :3]
        grey = not info.transparent and bool((colours == colours[..., :1]).all())
        needed = picture if info.transparent else colours[..., :1] if grey else colours
        facts.digest[row] = np.frombuffer(hashlib.sha256(needed.tobytes()).digest(), np.uint8)
        facts.grey[row], facts.transparent[row] = grey, info.transparent
    return facts


def _name(content: Files | Arrays, row: int) -> str:
    """The file of `row`, or its number in sources that have no files."""
    return printable(content.names[row]) if isinstance(content, Files) else str(row)


def _counter(on_progress: OnProgress, total: int) -> Callable[[int], None]:
    """A function of the number of pictures read since it was last called, which reports how many were read of `total`."""
    done = 0

    def tick(more: int) -> None:
        nonlocal done
        done += more
        on_progress(Progress(READING, done, total))

    return tick


def _cores() -> int:
    """The processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _in_parallel(
    jobs: Iterator[Callable[[], _Chunk[Facts]]], workers: int | None, tick: Callable[[int], None]
) -> Iterator[_Chunk[Facts]]:
    """Runs jobs with a bounded number under way, so that memory does not grow with the source.

    `tick` is called with the number of pictures of each chunk, after it was used.
    """
    threads = max(1, workers or _cores())
    waiting: deque[Future[_Chunk[Facts]]] = deque()

    def results(most: int) -> Iterator[_Chunk[Facts]]:
        while len(waiting) > most:
            chunk = waiting.popleft().result()
            yield chunk
            tick(len(chunk.rows) + len(chunk.failed))

    with warnings.catch_warnings(), ThreadPoolExecutor(threads, "limner-read") as pool:
        warnings.simplefilter("ignore")  # Pillow's, about odd metadata and many pixels; the latter are refused by name
        try:
            for job in jobs:
                waiting.append(pool.submit(job))
                yield from results(2 * threads)
            yield from results(0)
        finally:
            pool.shutdown(cancel_futures=True)


def _jobs(
    content: Files | Arrays, count: int, shaping: Shaping, describe: Describe[Facts]
) -> Iterator[Callable[[], _Chunk[Facts]]]:
    """Functions that read some pictures of `content` each, and all of them together."""
    if isinstance(content, Files):
        return _file_jobs(content, shaping, describe)
    return _array_jobs(content, count, shaping, describe)


def _file_jobs(content: Files, shaping: Shaping, describe: Describe[Facts]) -> Iterator[Callable[[], _Chunk[Facts]]]:
    rows_of: dict[str, list[int]] = {}
    for row, name in enumerate(content.names):
        rows_of.setdefault(name, []).append(row)
    batch: list[tuple[list[int], Payload]] = []
    for name, payload in content.tree.read(list(rows_of)):
        batch.append((rows_of[name], payload))
        if len(batch) == _FILES_PER_CHUNK:
            yield partial(_read_files, batch, shaping, describe)
            batch = []
    if batch:
        yield partial(_read_files, batch, shaping, describe)


def _array_jobs(
    content: Arrays, count: int, shaping: Shaping, describe: Describe[Facts]
) -> Iterator[Callable[[], _Chunk[Facts]]]:
    for start in range(0, count, _ROWS_PER_CHUNK):
        yield partial(_read_rows, content, np.arange(start, min(start + _ROWS_PER_CHUNK, count)), shaping, describe)


def _read_files(batch: list[tuple[list[int], Payload]], shaping: Shaping, describe: Describe[Facts]) -> _Chunk[Facts]:
    """Each file once, for every row that it stands in."""
    rows: list[int] = []
    images: list[NDArray[np.uint8]] = []
    files: list[bytes] = []
    infos: list[PictureInfo] = []
    failed: list[tuple[int, str]] = []
    for places, payload in batch:
        try:
            data = bytes_of(payload)
            pixels, info = pictures.read(data, shaping)
        except Unreadable as error:
            failed += [(row, str(error)) for row in places]
            continue
        rows += places
        images += [pixels] * len(places)
        files += [hashlib.sha256(data).digest()] * len(places)
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
    mode = {1: "L", 3: "RGB", 4: "RGBA"}[channels]
    infos = [PictureInfo(height, width, mode, transparent) for transparent in clear.tolist()]
    if content.shape != (*shaping.size, shaping.channels):
        pixels = np.stack([pictures.from_pixels(one, shaping) for one in pixels])
    if shaping.binary is not None:
        pixels = binarised(pixels, shaping.binary)
    return _Chunk(rows, np.ascontiguousarray(pixels), describe(pixels, infos), [], infos, [])


def bytes_of(payload: Payload) -> bytes:
    """The bytes of a file. Errors: `Unreadable` with the reason."""
    if isinstance(payload, Fault):
        raise Unreadable(payload.reason)
    if isinstance(payload, bytes):
        return payload
    try:
        return payload.read_bytes()
    except OSError as error:
        raise Unreadable(f"cannot be read ({error.strerror})") from error

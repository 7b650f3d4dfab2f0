"""The second step of list → read → plan → write: every picture of a listing, decoded and brought to one shape, in parallel.

Pixels go into a store on disk, signatures (by which duplicates are found) into memory.

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
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from limner.data import pictures
from limner.data.duplicates import Signatures, signatures
from limner.data.listing import Arrays, Fault, Files, Listing, Payload, Rejected, printable
from limner.data.pictures import Seen, Shaping, Unreadable, binarised

Count = Callable[[int, int], None]
"""Is called with (pictures read, pictures in all)."""
_FILES_PER_CHUNK, _ROWS_PER_CHUNK = 32, 1024


class Store:
    """Pixels [N, H, W, C] uint8 in one file, written row by row in any order, then read back as a memory map.

    Written with plain writes: a full disk is then an error that can be told, where a memory map would kill the process.
    """

    def __init__(self, path: Path, shape: tuple[int, int, int, int]) -> None:
        self._path, self._shape = path, shape
        self._row = shape[1] * shape[2] * shape[3]
        self._lock = threading.Lock()
        self._handle = path.open("wb")

    def __enter__(self) -> Store:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._handle.close()

    def put(self, rows: NDArray[np.int64], pixels: NDArray[np.uint8]) -> None:
        with self._lock:
            for row, picture in zip(rows.tolist(), pixels, strict=True):
                self._handle.seek(row * self._row)
                self._handle.write(picture.data)

    def pixels(self) -> NDArray[np.uint8]:
        """Everything, read-only; rows that were never written are zero."""
        self._handle.truncate(self._shape[0] * self._row)
        self._handle.flush()
        return np.memmap(self._path, np.uint8, "r", shape=self._shape)


@dataclass
class Reading:
    """What was found out about each of the N pictures of a listing: `ok` [N] those that could be read."""

    ok: NDArray[np.bool_]
    signatures: Signatures
    files: NDArray[np.uint8] | None  # [N, 32]: SHA-256 of each file's bytes, for sources of files
    seen: list[Seen]
    rejected: list[Rejected]


@dataclass
class _Chunk:
    rows: NDArray[np.int64]
    pixels: NDArray[np.uint8]
    found: Signatures
    files: list[bytes]
    seen: list[Seen]
    failed: list[tuple[int, str]]


def read_all(
    listing: Listing,
    shaping: Shaping,
    *,
    store: Store | None = None,
    workers: int | None = None,
    progress: Count | None = None,
) -> Reading:
    """Decodes and shapes all pictures; the result depends on neither the number of `workers` nor their order."""
    count, content = len(listing), listing.content
    reading = Reading(
        np.zeros(count, np.bool_),
        Signatures.empty(count),
        np.zeros((count, 32), np.uint8) if isinstance(content, Files) else None,
        [],
        [],
    )
    failed: list[tuple[int, str]] = []
    jobs: Iterator[Callable[[], _Chunk]]
    jobs = _file_jobs(content, shaping) if isinstance(content, Files) else _array_jobs(content, count, shaping)
    done = 0
    for chunk in _in_parallel(jobs, workers or _cores()):
        if store is not None:
            store.put(chunk.rows, chunk.pixels)
        reading.ok[chunk.rows] = True
        reading.signatures.put(chunk.rows, chunk.found)
        if reading.files is not None and chunk.files:
            reading.files[chunk.rows] = np.frombuffer(b"".join(chunk.files), np.uint8).reshape(-1, 32)
        reading.seen += chunk.seen
        failed += chunk.failed
        done += len(chunk.rows) + len(chunk.failed)
        if progress is not None:
            progress(done, count)
    if isinstance(content, Files):
        reading.rejected = [Rejected(printable(content.names[row]), reason) for row, reason in sorted(failed)]
    return reading


def _cores() -> int:
    """The processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _in_parallel(jobs: Iterator[Callable[[], _Chunk]], workers: int) -> Iterator[_Chunk]:
    """Runs jobs with a bounded number under way, so that memory does not grow with the source."""
    waiting: deque[Future[_Chunk]] = deque()
    with warnings.catch_warnings(), ThreadPoolExecutor(max(1, workers), "limner-read") as pool:
        warnings.simplefilter("ignore")  # Pillow's, about odd metadata and many pixels; the latter are refused by name
        try:
            for job in jobs:
                waiting.append(pool.submit(job))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def _file_jobs(content: Files, shaping: Shaping) -> Iterator[Callable[[], _Chunk]]:
    row_of = {name: row for row, name in enumerate(content.names)}
    batch: list[tuple[int, Payload]] = []
    for name, payload in content.tree.read(content.names):
        batch.append((row_of[name], payload))
        if len(batch) == _FILES_PER_CHUNK:
            yield lambda batch=batch: _read_files(batch, shaping)  # type: ignore[misc]
            batch = []
    if batch:
        yield lambda: _read_files(batch, shaping)


def _array_jobs(content: Arrays, count: int, shaping: Shaping) -> Iterator[Callable[[], _Chunk]]:
    for start in range(0, count, _ROWS_PER_CHUNK):
        rows = np.arange(start, min(start + _ROWS_PER_CHUNK, count))
        yield lambda rows=rows: _read_rows(content, rows, shaping)  # type: ignore[misc]


def _read_files(batch: list[tuple[int, Payload]], shaping: Shaping) -> _Chunk:
    rows, kept, files, seen = [], [], [], []
    failed: list[tuple[int, str]] = []
    for row, payload in batch:
        try:
            data = bytes_of(payload)
            pixels, how = pictures.read(data, shaping)
        except Unreadable as error:
            failed.append((row, str(error)))
            continue
        rows.append(row)
        kept.append(pixels)
        files.append(hashlib.sha256(data).digest())
        seen.append(how)
    stacked = np.stack(kept) if kept else np.empty((0, *shaping.size, shaping.channels), np.uint8)
    if shaping.binary is not None:
        stacked = binarised(stacked, shaping.binary)
    return _Chunk(np.array(rows, np.int64), stacked, signatures(stacked), files, seen, failed)


def _read_rows(content: Arrays, rows: NDArray[np.int64], shaping: Shaping) -> _Chunk:
    pixels = content.rows(rows)
    height, width, channels = content.shape
    if content.shape != (*shaping.size, shaping.channels):
        pixels = np.stack([pictures.from_pixels(one, shaping) for one in pixels])
    if shaping.binary is not None:
        pixels = binarised(pixels, shaping.binary)
    seen = [Seen(height, width, {1: "L", 3: "RGB", 4: "RGBA"}[channels])] * len(rows)
    return _Chunk(rows, np.ascontiguousarray(pixels), signatures(pixels), [], seen, [])


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

"""Pictures of every mode and every fault, made here, for tests of whatever reads pictures."""

from __future__ import annotations

import io
import json
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def textured(seed: int, height: int = 24, width: int = 24, channels: int = 3) -> NDArray[np.uint8]:
    """[H, W, C] of soft blobs: no two seeds are near duplicates."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, channels), dtype=np.uint8)
    planes = [Image.fromarray(coarse[..., c]).resize((width, height), Image.Resampling.BILINEAR) for c in range(channels)]
    return np.stack([np.asarray(plane) for plane in planes], axis=-1)


def encoded(pixels: NDArray[Any] | Image.Image, form: str = "PNG", **options: Any) -> bytes:
    """The bytes of a file with these pixels."""
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels.squeeze())
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def write(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def folder(root: Path, classes: dict[str, int], *, first_seed: int = 0, **shape: int) -> Path:
    """`root/<class>/<number>.png`, so many of each class."""
    seed = first_seed
    for name, count in classes.items():
        for number in range(count):
            write(root / name / f"{number:03d}.png", encoded(textured(seed, **shape)))
            seed += 1
    return root


def paired(root: Path, count: int, *, first_seed: int = 0, given_channels: int = 3, side: int = 24) -> Path:
    """`root/pictures/000.png` …, each with `root/given/000.png`, captions, and the table that says so."""
    lines = []
    for number in range(count):
        name = f"{number:03d}.png"
        write(root / "pictures" / name, encoded(textured(first_seed + number, side, side)))
        write(root / "given" / name, encoded(textured(10_000 + first_seed + number, side, side, given_channels)))
        row = {"file_name": f"pictures/{name}", "given_file_name": f"given/{name}", "text": f"picture {first_seed + number}"}
        lines.append(json.dumps(row))
    write(root / "metadata.jsonl", "\n".join(lines).encode())
    return root


def tree_bytes(root: Path) -> dict[str, bytes]:
    """Every file below `root`, by its relative name."""
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def truncated_jpeg() -> bytes:
    data = encoded(textured(1, 64, 64), "JPEG")
    return data[: len(data) // 2]


def bomb_png(side: int = 50_000) -> bytes:
    """A small file whose header claims `side` x `side` pixels."""

    def block(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + block(b"IHDR", header) + block(b"IDAT", zlib.compress(b"\0" * 1000)) + block(b"IEND", b"")


def faults() -> dict[str, bytes]:
    """File name -> content that cannot be used as a picture."""
    return {
        "truncated.jpg": truncated_jpeg(),
        "bomb.png": bomb_png(),
        "empty.png": b"",
        "text.png": b"this is no picture",
        "cut-header.png": encoded(textured(2))[:20],
        "not-finite.tiff": encoded(Image.fromarray(np.full((8, 8), np.nan, np.float32)), "TIFF"),
    }


def idx(values: NDArray[np.uint8]) -> bytes:
    return bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()

"""Scenes: one to three coloured shapes on a plain background, drawn here, with captions and the true factors.

`scenes-1` is the same with one object in every picture, whose factors alone make the picture: what disentanglement is measured
on. Its i-th picture is that of `scenes` without the further objects.

Every factor of the first object (shape, colour, x, y, size, rotation) and of the background is drawn independently; further
objects are placed so that none hides another. Pictures are the same on every machine: the draws are raw PCG64 bits, and the
drawing uses only + - * / and square roots of float64, which IEEE 754 rounds the same everywhere (no sin, cos or hypot).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from limner.core.errors import InputError
from limner.data.listing import Arrays, Listing
from limner.data.options import SPLITS

VERSION = 1
"""To be raised whenever the same seed draws other scenes: the name of a prepared set is made of it."""
LINE = "drawn on demand: 1-3 coloured shapes, captions and true factors, 16 to 128 px (--size, --limit)"
ONE_OBJECT_LINE = "the same with one shape in each picture: what disentanglement is measured on"
SHAPES = ("circle", "square", "triangle", "star", "cross", "ring")
COLOURS = ("red", "orange", "yellow", "green", "teal", "blue", "purple", "pink")
BACKGROUNDS = ("dark", "grey", "light")
DEFAULT_COUNT, DEFAULT_SIDE = 10_000, 64

_RGB = np.array(
    [
        (220, 40, 40),
        (240, 132, 30),
        (250, 214, 50),
        (50, 164, 72),
        (24, 178, 170),
        (48, 92, 216),
        (134, 66, 190),
        (244, 128, 190),
    ],
    np.float64,
)
MAX_OBJECTS = 3
"""In one picture."""
_DRAWS = 64  # random numbers per picture: enough for three objects with six tries each
_TRIES = 6  # places that are tried for a further object, which must not hide another
_HALF_SIZES = (0.10, 0.22)  # radius of the circle around an object, as a share of the shorter side

FACTORS: Mapping[str, int] = {
    "shape": len(SHAPES),
    "colour": len(COLOURS),
    "x": 16,
    "y": 16,
    "size": 6,
    "rotation": 20,
    "background": 8,
}
"""What a scene of one object is made of, and how many values of each factor `scene_of` tells apart: of continuous ones, the
middles of so many equal bins. Rotation does not show on circles and rings, and on the others by parts of a turn only."""

F = NDArray[np.float64]


@dataclass(frozen=True)
class SceneObject:
    """One object: indices into `SHAPES` and `COLOURS`; x, y, radius as shares of the shorter side; rotation in turns, 0..1."""

    shape: int
    colour: int
    x: float
    y: float
    radius: float
    rotation: float


@dataclass(frozen=True)
class Scene:
    """Objects, the first on top, and the brightness of the background in 0..1."""

    objects: tuple[SceneObject, ...]
    background: float


def held_out(shape: int, colour: int) -> bool:
    """Whether this pair is kept for `test`: one colour for each shape (red circles, green squares, purple triangles, ...).

    No picture of train or val holds such a pair; in every second picture of `test` the first object is one.
    """
    return (3 * shape) % len(COLOURS) == colour


def load(
    size: tuple[int, int] | None, limit: int | None, seed: int, *, labelled: bool = True, max_objects: int = MAX_OBJECTS
) -> Listing:
    """`limit` scenes (None is 10,000): 10 % are test, 10 % (at most 5,000) val. Errors: `InputError` for a size out of range.

    They hold 1 to `max_objects` objects. The i-th scene of a split depends on nothing but i, the split, the seed, `max_objects`
    and the shape of the picture.
    """
    height, width = size or (DEFAULT_SIDE, DEFAULT_SIDE)
    if min(height, width) < 16 or max(height, width) > 128:
        raise InputError(f"scenes of {height}x{width} cannot be drawn; both sides must be from 16 to 128 pixels")
    count = limit or DEFAULT_COUNT
    tests = max(1, count // 10) if count > 2 else 0
    vals = max(1, min(count // 10, 5000))
    hints = np.repeat(np.arange(3, dtype=np.int8), [count - tests - vals, vals, tests])
    places = np.concatenate([np.arange(number) for number in (count - tests - vals, vals, tests)])
    scenes = [
        imagine(int(place), SPLITS[hint], seed, (height, width), max_objects) for place, hint in zip(places, hints, strict=True)
    ]

    def rows(indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        return np.stack([paint(scenes[row], (height, width)) for row in indices])

    return Listing(
        Arrays((height, width, 3), rows),
        hints,
        np.array([scene.objects[0].shape for scene in scenes], np.int64) if labelled else None,
        SHAPES if labelled else (),
        tuple(describe(scene) for scene in scenes),
        _factors(scenes),
        published=True,
    )


def imagine(place: int, split: str, seed: int, size: tuple[int, int], max_objects: int = MAX_OBJECTS) -> Scene:
    """The scene at `place` of `split`, of 1 to `max_objects` objects."""
    bits = np.random.PCG64(np.random.SeedSequence([seed, SPLITS.index(split), place])).random_raw(_DRAWS)
    draws = iter((np.asarray(bits >> np.uint64(11), np.float64) * 2.0**-53).tolist())
    span_y, span_x = _spans(size)
    count, background = 1 + int(next(draws) * max_objects), next(draws)
    objects: list[SceneObject] = []
    for number in range(count):
        shape, colour_draw, rotation = int(next(draws) * len(SHAPES)), next(draws), next(draws)
        allowed = [colour for colour in range(len(COLOURS)) if split == "test" or not held_out(shape, colour)]
        if split == "test" and number == 0 and place % 2 == 0:
            allowed = [colour for colour in allowed if held_out(shape, colour)]
        colour = allowed[int(colour_draw * len(allowed))]
        for _ in range(1 if number == 0 else _TRIES):
            radius = _HALF_SIZES[0] + next(draws) * (_HALF_SIZES[1] - _HALF_SIZES[0])
            x, y = (_place(next(draws), span) for span in (span_x, span_y))
            item = SceneObject(shape, colour, x, y, radius, rotation)
            if all(_apart(item, other) for other in objects):
                objects.append(item)
                break
    return Scene(tuple(objects), background)


def _spans(size: tuple[int, int]) -> tuple[float, float]:
    """Height and width as shares of the shorter side."""
    return size[0] / min(size), size[1] / min(size)


def _place(share: float, span: float) -> float:
    """A coordinate of the centre, such that even the largest object lies inside the picture: it does not depend on the size."""
    return _HALF_SIZES[1] + share * (span - 2 * _HALF_SIZES[1])


def scene_of(codes: Mapping[str, int], size: tuple[int, int]) -> Scene:
    """The scene of one object with the value numbered `codes[name]` of each of `FACTORS`, for a picture of (height, width)."""
    share = {name: (codes[name] + 0.5) / values for name, values in FACTORS.items()}
    span_y, span_x = _spans(size)
    radius = _HALF_SIZES[0] + share["size"] * (_HALF_SIZES[1] - _HALF_SIZES[0])
    x, y = _place(share["x"], span_x), _place(share["y"], span_y)
    return Scene((SceneObject(codes["shape"], codes["colour"], x, y, radius, share["rotation"]),), share["background"])


def draw_factors(count: int, seed: int) -> NDArray[np.int64]:
    """[count, 7] codes, each of `FACTORS` drawn evenly and independently: pairs that are held out in training among them."""
    sizes = np.array(tuple(FACTORS.values()), np.uint64)
    bits = np.random.PCG64(np.random.SeedSequence([seed, len(SPLITS)])).random_raw(count * len(sizes))
    shares = np.asarray(bits >> np.uint64(11), np.float64).reshape(count, len(sizes)) * 2.0**-53
    return (shares * sizes).astype(np.int64)


def paint_factors(codes: NDArray[np.int64], size: tuple[int, int]) -> NDArray[np.uint8]:
    """[N, 7] codes, in the order of `FACTORS` -> [N, H, W, 3] uint8. Errors: `InputError` for a value there is none of."""
    if codes.ndim != 2 or codes.shape[1] != len(FACTORS) or (codes < 0).any() or (codes >= tuple(FACTORS.values())).any():
        raise InputError(f"a scene has the factors {', '.join(f'{name} 0-{n - 1}' for name, n in FACTORS.items())}")
    rows = (dict(zip(FACTORS, row, strict=True)) for row in codes.tolist())
    return np.stack([paint(scene_of(row, size), size) for row in rows])


def _apart(one: SceneObject, two: SceneObject) -> bool:
    across, down, reach = one.x - two.x, one.y - two.y, one.radius + two.radius
    return across * across + down * down > reach * reach


def describe(scene: Scene) -> str:
    """Such as "a small red star and a large blue ring on a dark background"."""
    phrases = []
    for item in scene.objects:
        large = item.radius > sum(_HALF_SIZES) / 2
        phrases.append(f"a {'large' if large else 'small'} {COLOURS[item.colour]} {SHAPES[item.shape]}")
    text = " and ".join(filter(None, [", ".join(phrases[:-1]), phrases[-1]]))
    return f"{text} on a {BACKGROUNDS[min(int(scene.background * 3), 2)]} background"


def paint(scene: Scene, size: tuple[int, int]) -> NDArray[np.uint8]:
    """[H, W, 3] uint8. Each object covers a pixel by the share that its signed distance says: antialiased without a resize."""
    height, width = size
    unit = float(min(size))
    canvas = np.empty((height, width, 3), np.float64)
    canvas[:] = np.array([24.0, 28.0, 38.0]) + scene.background * np.array([220.0, 214.0, 200.0])
    for item in reversed(scene.objects):
        reach = item.radius * unit + 1.0
        left, right = max(0, int(item.x * unit - reach)), min(width, int(item.x * unit + reach) + 2)
        top, bottom = max(0, int(item.y * unit - reach)), min(height, int(item.y * unit + reach) + 2)
        # Pixel centres, in the object's own frame: its centre at 0, its radius in pixels, upright.
        x = np.arange(left, right)[None] + 0.5 - item.x * unit
        y = np.arange(top, bottom)[:, None] + 0.5 - item.y * unit
        cosine, sine = _turn(item.rotation)
        distance = _DISTANCES[SHAPES[item.shape]](cosine * x + sine * y, cosine * y - sine * x, item.radius * unit)
        cover = np.clip(0.5 - distance, 0.0, 1.0)[..., None]
        patch = canvas[top:bottom, left:right]
        patch += cover * (_RGB[item.colour] - patch)
    return np.floor(canvas + 0.5).astype(np.uint8)


def _turn(turns: float) -> tuple[float, float]:
    """Cosine and sine of `turns` in 0..1 full turns, by Taylor series (error < 1e-9): math libraries differ in the last bit."""
    angle = (turns - 0.5) * (2 * math.pi)
    square, cosine, sine, term = angle * angle, 0.0, 0.0, 1.0
    for power in range(0, 32, 2):
        cosine += term
        sine += term * angle / (power + 1)
        term *= -square / ((power + 1) * (power + 2))
    return -cosine, -sine


# Signed distances in pixels, negative inside, for a shape within a circle of radius r around the origin.


def _circle(x: F, y: F, r: float) -> F:
    return np.sqrt(x * x + y * y) - 0.92 * r


def _ring(x: F, y: F, r: float) -> F:
    return np.abs(np.sqrt(x * x + y * y) - 0.72 * r) - 0.22 * r


def _box(x: F, y: F, half_width: float, half_height: float) -> F:
    return np.maximum(np.abs(x) - half_width, np.abs(y) - half_height)


def _square(x: F, y: F, r: float) -> F:
    return _box(x, y, 0.7 * r, 0.7 * r)


def _cross(x: F, y: F, r: float) -> F:
    return np.minimum(_box(x, y, 0.94 * r, 0.29 * r), _box(x, y, 0.29 * r, 0.94 * r))


def _triangle(x: F, y: F, r: float) -> F:
    slope = math.sqrt(3.0) / 2
    return np.maximum(y, slope * np.abs(x) - y / 2) - r / 2


_POINTS = (  # directions of a star's points: (sin, -cos) of multiples of 72 degrees, rows run downwards
    (0.0, -1.0),
    (0.951056516295153, -0.309016994374947),
    (0.587785252292473, 0.809016994374947),
    (-0.587785252292473, 0.809016994374947),
    (-0.951056516295153, -0.309016994374947),
)


def _star(x: F, y: F, r: float) -> F:
    # Five lines bound a pentagram, each across one point; a place is inside when it is within at least four of them.
    lines = np.stack([px * x + py * y for px, py in _POINTS]) - 0.309016994374947 * r
    inside: F = np.sort(lines, axis=0)[3]
    return inside


_DISTANCES: dict[str, Callable[[F, F, float], F]] = {
    "circle": _circle,
    "square": _square,
    "triangle": _triangle,
    "star": _star,
    "cross": _cross,
    "ring": _ring,
}


def _factors(scenes: list[Scene]) -> dict[str, NDArray[Any]]:
    """Columns of N rows: `objects` (how many), `background` in 0..1, `held_out` (of the first), and of each object [N, 3]:
    `shape`, `colour` (-1 where there is none), `x`, `y`, `size` (radius) and `rotation` (in turns; NaN where there is none).
    """
    count = len(scenes)
    whole = {name: np.full((count, MAX_OBJECTS), -1, np.int64) for name in ("shape", "colour")}
    real = {name: np.full((count, MAX_OBJECTS), np.nan, np.float32) for name in ("x", "y", "size", "rotation")}
    for row, scene in enumerate(scenes):
        for place, item in enumerate(scene.objects):
            whole["shape"][row, place], whole["colour"][row, place] = item.shape, item.colour
            real["x"][row, place], real["y"][row, place] = item.x, item.y
            real["size"][row, place], real["rotation"][row, place] = item.radius, item.rotation
    first = zip(whole["shape"][:, 0].tolist(), whole["colour"][:, 0].tolist(), strict=True)
    return {
        "objects": np.array([len(scene.objects) for scene in scenes], np.int64),
        "background": np.array([scene.background for scene in scenes], np.float32),
        "held_out": np.array([held_out(shape, colour) for shape, colour in first], np.bool_),
        **whole,
        **real,
    }

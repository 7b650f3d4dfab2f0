"""Curves, intervals, bars and clouds of points as SVG, for pages that need no script.

The only place where Python code holds markup: every text goes into it through `Markup.format`, which escapes it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from limner.pages.numbers import digits, percent

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 560, 210, 52, 12, 10, 26  # of a chart, in CSS pixels
NOTHING = Markup("")
RULE = Markup('<line class="rule" x1="{:.1f}" x2="{:.1f}" y1="{:.1f}" y2="{:.1f}"/>')
WORD = Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>')
DOT = Markup('<circle class="c{}" cx="{:.1f}" cy="{:.1f}" r="{}"><title>{}</title></circle>')


# ---- curves -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Curve:
    name: str
    points: Sequence[tuple[float, float]]  # (images seen, value), in order
    smooth: bool = False  # draw it faintly, and its running middle strongly
    dashed: bool = False
    dots: bool = False


def smoothed(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """A centred running median, then mean, over about a twentieth of the curve: one wild value moves neither."""
    reach = max(1, len(points) // 40)

    def near(values: Sequence[float], i: int) -> Sequence[float]:
        return values[max(0, i - reach) : i + reach + 1]

    middle = [median(near([y for _, y in points], i)) for i in range(len(points))]
    return [(x, fmean(near(middle, i))) for i, (x, _) in enumerate(points)]


def ticks(low: float, high: float, about: int = 4) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten) from `low` to `high`."""
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [i * step for i in range(first, math.floor(high / step + 1e-9) + 1)]


def short(value: float) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def _range(curves: Sequence[Curve], zero: bool) -> tuple[float, float]:
    """The span of values to show; a few wild ones (1 % at either end) may leave the picture."""
    values = sorted(y for curve in curves for _, y in curve.points)
    cut = len(values) // 100
    low, high = values[cut], values[-1 - cut]
    if zero:
        low = min(low, 0.0)
    room = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
    return (low if zero and low == 0 else low - room), high + room


def chart(title: str, curves: Sequence[Curve], *, zero: bool = False) -> Markup:
    """Curves over images seen; nothing where none has two points. `zero`: the axis of values begins there at the latest."""
    curves = [curve for curve in curves if curve.points]
    if not any(len(curve.points) > 1 for curve in curves):
        return NOTHING
    low, high = _range(curves, zero)
    most = max(x for curve in curves for x, _ in curve.points) or 1.0

    def at(x: float, y: float) -> tuple[float, float]:
        share = min(1.0, max(0.0, (y - low) / (high - low)))
        return LEFT + x / most * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)

    parts = []
    for tick in ticks(low, high):
        y = at(0, tick)[1]
        parts.append(RULE.format(LEFT, WIDTH - RIGHT, y, y))
        parts.append(WORD.format(LEFT - 7, y + 3.5, "end", short(tick)))
    for tick in ticks(0, most):
        parts.append(WORD.format(at(tick, low)[0], HEIGHT - 8, "middle", short(tick)))
    for i, curve in enumerate(curves):
        parts.append(_line([at(*point) for point in curve.points], i, "faint" if curve.smooth else "dash" * curve.dashed))
        if curve.smooth:
            parts.append(_line([at(*point) for point in smoothed(curve.points)], i))
        if curve.dots:
            for x, y in curve.points:
                parts.append(DOT.format(i % 6, *at(x, y), 3, f"{curve.name} {y:.4g} at {x:,.0f} images"))
    keys = [_key(f"c{i % 6}{' dash' * curve.dashed}", curve.name, _last(curve)) for i, curve in enumerate(curves)]
    return _figure(title, keys, parts, (WIDTH, HEIGHT), f"{title} over images seen")


def _last(curve: Curve) -> str:
    return digits((smoothed(curve.points) if curve.smooth else curve.points)[-1][1])


# ---- values and shares --------------------------------------------------------------------------------------------------


def whiskers(
    title: str, rows: Sequence[tuple[str, float, float | None, float | None]], mark: tuple[str, float] | None = None
) -> Markup:
    """Of every row its name, its value and the interval from low to high, under one another; `mark`: a line to read them by."""
    values = [x for _, *three in rows for x in three if x is not None] + ([mark[1]] if mark else [])
    low, high = min(values), max(values)
    room = (high - low) * 0.04 or abs(high) * 0.1 or 1.0
    left, height, foot = 190, 24, 24
    deep = height * len(rows)

    def at(x: float) -> float:
        return left + (x - low + room) / (high - low + 2 * room) * (WIDTH - left - RIGHT)

    parts = []
    for tick in ticks(low - room, high + room):
        parts.append(RULE.format(at(tick), at(tick), 0, deep))
        parts.append(WORD.format(at(tick), deep + 15, "middle", short(tick)))
    if mark:
        parts.append(_line([(at(mark[1]), 0), (at(mark[1]), deep)], 4, "dash"))
    for i, (name, value, least, most) in enumerate(rows):
        y = height * i + height / 2
        interval = "" if least is None or most is None else f" [{digits(least)}, {digits(most)}]"
        parts.append(WORD.format(left - 10, y + 4, "end", name if len(name) <= 28 else f"…{name[-27:]}"))
        if least is not None and most is not None:
            parts.append(_line([(at(least), y), (at(most), y)], i))
        parts.append(DOT.format(i % 6, at(value), y, 4, f"{name}: {digits(value)}{interval}"))
    keys = [_key("c4 dash", mark[0], digits(mark[1]))] if mark else []
    return _figure(title, keys, parts, (WIDTH, deep + foot), f"{title}, with 95 % intervals", bars=True)


def shares(of_samples: Mapping[str, float], of_real: Mapping[str, float]) -> Markup:
    """The share of every class (names of `of_real`) among samples and among real pictures, as bars under one another."""
    most = max([*of_real.values(), *of_samples.values()]) or 1.0
    height, left = 30, 150
    parts = []
    for row, name in enumerate(of_real):
        top = row * height
        parts.append(WORD.format(left - 8, top + 18, "end", name[:22]))
        for below, colour, share, whose in ((0, "c0", of_samples[name], "samples"), (12, "c4", of_real[name], "real pictures")):
            width, y = max(1.0, share / most * (WIDTH - left - 60)), top + 3 + below
            box = Markup('<rect class="{}" x="{}" y="{}" width="{:.1f}" height="10"><title>{}</title></rect>')
            parts.append(box.format(colour, left, y, width, f"{name}: {share:.1%} of the {whose}"))
            parts.append(WORD.format(left + width + 5, y + 9, "start", f"{share:.1%}"))
    keys = [_key("c0", "samples"), _key("c4", "real pictures")]
    return _figure("", keys, parts, (WIDTH, height * len(of_real)), "shares of classes", bars=True)


def cloud(title: str, behind: NDArray[Any], front: NDArray[Any], good: NDArray[np.bool_], words: tuple[str, str]) -> Markup:
    """Points [N, 2] from 0 to 1: those `behind` grey, those in `front` in two colours, by whether they are `good` [N].

    `words` say what the good and what the others are; their shares stand beside.
    """
    side, edge = 420, 8

    def circles(points: NDArray[Any], colour: str) -> list[Markup]:
        circle = Markup('<circle class="{}" cx="{:.0f}" cy="{:.0f}" r="2"/>')
        return [circle.format(colour, x, side - y) for x, y in edge + points * (side - 2 * edge)]

    parts = [*circles(behind, "grey"), *circles(front[good], "c0"), *circles(front[~good], "c1")]
    keys = [_key("c0", words[0], percent(good.mean())), _key("c1", words[1], percent(1 - good.mean()))]
    return _figure(title, keys, parts, (side, side), title)


# ---- parts of charts ----------------------------------------------------------------------------------------------------


def _figure(
    title: str, keys: Sequence[Markup], parts: Sequence[Markup], size: tuple[int, int], words: str, bars: bool = False
) -> Markup:
    """A drawing of `parts` with its title and keys above; `words` for who cannot see it."""
    head = Markup("<strong>{}</strong>").format(title) if title else NOTHING
    outer = Markup(
        '<figure class="chart{}"><figcaption>{}{}</figcaption>'
        '<svg viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg></figure>'
    )
    return outer.format(" bars" * bars, head, NOTHING.join(keys), *size, words, NOTHING.join(parts))


def _key(manner: str, name: str, value: str = "") -> Markup:
    """A stroke in the colour of what it names, with the value if there is one."""
    number = Markup(" <b>{}</b>").format(value) if value else NOTHING
    return Markup('<span class="key {}">{}{}</span>').format(manner, name, number)


def _line(points: Iterable[tuple[float, float]], colour: int, manner: str = "") -> Markup:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return Markup('<polyline class="c{} {}" points="{}"/>').format(colour % 6, manner, path)

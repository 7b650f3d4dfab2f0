"""Curves and intervals as SVG, for pages that need no script."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from statistics import fmean, median

from limner.pages.html import digits

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 560, 210, 52, 12, 10, 26  # of a chart, in CSS pixels


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


def _last(curve: Curve) -> str:
    value = (smoothed(curve.points) if curve.smooth else curve.points)[-1][1]
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _range(curves: Sequence[Curve], zero: bool) -> tuple[float, float]:
    """The span of values to show; a few wild ones (1 % at either end) may leave the picture."""
    values = sorted(y for curve in curves for _, y in curve.points)
    cut = len(values) // 100
    low, high = values[cut], values[-1 - cut]
    if zero:
        low = min(low, 0.0)
    room = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
    return (low if zero and low == 0 else low - room), high + room


def chart(title: str, curves: Sequence[Curve], *, zero: bool = False) -> str:
    curves = [curve for curve in curves if curve.points]
    if not any(len(curve.points) > 1 for curve in curves):
        return ""
    low, high = _range(curves, zero)
    most = max(x for curve in curves for x, _ in curve.points) or 1.0

    def at(x: float, y: float) -> tuple[float, float]:
        share = min(1.0, max(0.0, (y - low) / (high - low)))
        return LEFT + x / most * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)

    parts = []
    for tick in ticks(low, high):
        y = at(0, tick)[1]
        parts.append(f'<line class="rule" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 7}" y="{y + 3.5:.1f}" text-anchor="end">{short(tick)}</text>')
    for tick in ticks(0, most):
        parts.append(f'<text x="{at(tick, low)[0]:.1f}" y="{HEIGHT - 8}" text-anchor="middle">{short(tick)}</text>')
    for i, curve in enumerate(curves):
        parts.append(line([at(*point) for point in curve.points], i, "faint" if curve.smooth else "dash" * curve.dashed))
        if curve.smooth:
            parts.append(line([at(*point) for point in smoothed(curve.points)], i, ""))
        if curve.dots:
            for x, y in curve.points:
                cx, cy = at(x, y)
                words = f"{curve.name} {y:.4g} at {x:,.0f} images"
                parts.append(
                    f'<circle class="c{i % 6}" cx="{cx:.1f}" cy="{cy:.1f}" r="3"><title>{escape(words)}</title></circle>'
                )
    key = "".join(
        f'<span class="key c{i % 6}{" dash" * curve.dashed}">{escape(curve.name)} <b>{_last(curve)}</b></span>'
        for i, curve in enumerate(curves)
    )
    view = f'viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)} over images seen"'
    caption = f"<figcaption><strong>{escape(title)}</strong>{key}</figcaption>"
    return f'<figure class="chart">{caption}<svg {view}>{"".join(parts)}</svg></figure>'


def whiskers(
    title: str, rows: Sequence[tuple[str, float, float | None, float | None]], mark: tuple[str, float] | None = None
) -> str:
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
        parts.append(f'<line class="rule" x1="{at(tick):.1f}" x2="{at(tick):.1f}" y1="0" y2="{deep}"/>')
        parts.append(f'<text x="{at(tick):.1f}" y="{deep + 15}" text-anchor="middle">{short(tick)}</text>')
    if mark:
        parts.append(line([(at(mark[1]), 0), (at(mark[1]), deep)], 4, "dash"))
    for i, (name, value, least, most) in enumerate(rows):
        y = height * i + height / 2
        interval = "" if least is None or most is None else f" [{digits(least)}, {digits(most)}]"
        shown = name if len(name) <= 28 else f"…{name[-27:]}"
        parts.append(f'<text x="{left - 10}" y="{y + 4:.1f}" text-anchor="end">{escape(shown)}</text>')
        if least is not None and most is not None:
            parts.append(line([(at(least), y), (at(most), y)], i, ""))
        words = f"{name}: {digits(value)}{interval}"
        parts.append(
            f'<circle class="c{i % 6}" cx="{at(value):.1f}" cy="{y:.1f}" r="4"><title>{escape(words)}</title></circle>'
        )
    key = f'<span class="key c4 dash">{escape(mark[0])} <b>{digits(mark[1])}</b></span>' if mark else ""
    view = f'viewBox="0 0 {WIDTH} {deep + foot}" role="img" aria-label="{escape(title)}, with 95 % intervals"'
    caption = f"<figcaption><strong>{escape(title)}</strong>{key}</figcaption>"
    return f'<figure class="chart bars">{caption}<svg {view}>{"".join(parts)}</svg></figure>'


def line(points: Iterable[tuple[float, float]], colour: int, manner: str) -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline class="c{colour % 6} {manner}" points="{path}"/>'

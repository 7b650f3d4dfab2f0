"""Charts as SVG, for pages without scripts: curves, intervals, bars and scattered points.

This is the only Python file that holds markup. Every text enters it through `Markup.format`, which escapes it.
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

from limner.pages.numbers import format_number, format_percent

WIDTH, HEIGHT = 560, 210
"""Of a chart of curves, in CSS pixels."""
LEFT_MARGIN, RIGHT_MARGIN, TOP_MARGIN, BOTTOM_MARGIN = 52, 12, 10, 26
"""Around the curves, in CSS pixels."""
EMPTY = Markup("")
RULE = Markup('<line class="rule" x1="{:.1f}" x2="{:.1f}" y1="{:.1f}" y2="{:.1f}"/>')
LABEL = Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>')
DOT = Markup('<circle class="c{}" cx="{:.1f}" cy="{:.1f}" r="{}"><title>{}</title></circle>')


# ---- curves -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Curve:
    """One line of a chart."""

    name: str
    points: Sequence[tuple[float, float]]
    """(images seen, value), in order."""
    smooth: bool = False
    """Whether it is drawn faintly, with its moving average in full strength."""
    dashed: bool = False
    dots: bool = False
    """Whether each point is marked."""


def smooth_points(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points with their values replaced by a centred moving median, then a moving mean, over a twentieth of the curve.

    The median comes first, so that single outliers have no effect.
    """
    reach = max(1, len(points) // 40)

    def window(values: Sequence[float], i: int) -> Sequence[float]:
        return values[max(0, i - reach) : i + reach + 1]

    medians = [median(window([y for _, y in points], i)) for i in range(len(points))]
    return [(x, fmean(window(medians, i))) for i, (x, _) in enumerate(points)]


def tick_values(low: float, high: float, count: int = 4) -> list[float]:
    """About `count` multiples of a round number (1, 2 or 5 times a power of ten) from `low` to `high`.

    >>> tick_values(0, 1000)
    [0.0, 500.0, 1000.0]
    """
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [i * step for i in range(first, math.floor(high / step + 1e-9) + 1)]


def format_tick(value: float) -> str:
    """Three significant digits with k, M or G for thousands, millions and billions.

    >>> format_tick(25000)
    '25k'
    """
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def _value_range(curves: Sequence[Curve], zero: bool) -> tuple[float, float]:
    """The lowest and the highest value of the axis; outliers, up to 1 % of the points at either end, may lie outside."""
    values = sorted(y for curve in curves for _, y in curve.points)
    cut = len(values) // 100
    low, high = values[cut], values[-1 - cut]
    if zero:
        low = min(low, 0.0)
    room = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
    return (low if zero and low == 0 else low - room), high + room


def line_chart(title: str, curves: Sequence[Curve], *, zero: bool = False) -> Markup:
    """Curves over images seen; empty where no curve has two points. With `zero`, the axis of values includes 0."""
    curves = [curve for curve in curves if curve.points]
    if not any(len(curve.points) > 1 for curve in curves):
        return EMPTY
    low, high = _value_range(curves, zero)
    last = max(x for curve in curves for x, _ in curve.points) or 1.0

    def at(x: float, y: float) -> tuple[float, float]:
        share = min(1.0, max(0.0, (y - low) / (high - low)))
        left = LEFT_MARGIN + x / last * (WIDTH - LEFT_MARGIN - RIGHT_MARGIN)
        return left, HEIGHT - BOTTOM_MARGIN - share * (HEIGHT - TOP_MARGIN - BOTTOM_MARGIN)

    parts = []
    for tick in tick_values(low, high):
        y = at(0, tick)[1]
        parts.append(RULE.format(LEFT_MARGIN, WIDTH - RIGHT_MARGIN, y, y))
        parts.append(LABEL.format(LEFT_MARGIN - 7, y + 3.5, "end", format_tick(tick)))
    for tick in tick_values(0, last):
        parts.append(LABEL.format(at(tick, low)[0], HEIGHT - 8, "middle", format_tick(tick)))
    for i, curve in enumerate(curves):
        parts.append(_line([at(*point) for point in curve.points], i, "faint" if curve.smooth else "dash" * curve.dashed))
        if curve.smooth:
            parts.append(_line([at(*point) for point in smooth_points(curve.points)], i))
        if curve.dots:
            for x, y in curve.points:
                parts.append(DOT.format(i % 6, *at(x, y), 3, f"{curve.name} {y:.4g} at {x:,.0f} images"))
    keys = [_key(f"c{i % 6}{' dash' * curve.dashed}", curve.name, _last_value(curve)) for i, curve in enumerate(curves)]
    return _figure(title, keys, parts, (WIDTH, HEIGHT), f"{title} over images seen")


def _last_value(curve: Curve) -> str:
    return format_number((smooth_points(curve.points) if curve.smooth else curve.points)[-1][1])


# ---- values and shares --------------------------------------------------------------------------------------------------


def interval_chart(
    title: str, rows: Sequence[tuple[str, float, float | None, float | None]], mark: tuple[str, float] | None = None
) -> Markup:
    """One line for each row (name, value, low, high): a dot at its value and a bar from low to high, unless these are None.

    `mark` is the (name, value) of a vertical line to compare them with.
    """
    values = [x for _, *numbers in rows for x in numbers if x is not None] + ([mark[1]] if mark else [])
    low, high = min(values), max(values)
    room = (high - low) * 0.04 or abs(high) * 0.1 or 1.0
    left, row_height, axis_height = 190, 24, 24
    height = row_height * len(rows)

    def at(x: float) -> float:
        return left + (x - low + room) / (high - low + 2 * room) * (WIDTH - left - RIGHT_MARGIN)

    parts = []
    for tick in tick_values(low - room, high + room):
        parts.append(RULE.format(at(tick), at(tick), 0, height))
        parts.append(LABEL.format(at(tick), height + 15, "middle", format_tick(tick)))
    if mark:
        parts.append(_line([(at(mark[1]), 0), (at(mark[1]), height)], 4, "dash"))
    for i, (name, value, lower, upper) in enumerate(rows):
        y = row_height * i + row_height / 2
        interval = "" if lower is None or upper is None else f" [{format_number(lower)}, {format_number(upper)}]"
        parts.append(LABEL.format(left - 10, y + 4, "end", name if len(name) <= 28 else f"…{name[-27:]}"))
        if lower is not None and upper is not None:
            parts.append(_line([(at(lower), y), (at(upper), y)], i))
        parts.append(DOT.format(i % 6, at(value), y, 4, f"{name}: {format_number(value)}{interval}"))
    keys = [_key("c4 dash", mark[0], format_number(mark[1]))] if mark else []
    return _figure(title, keys, parts, (WIDTH, height + axis_height), f"{title}, with 95 % intervals", bars=True)


def share_chart(of_samples: Mapping[str, float], of_real: Mapping[str, float]) -> Markup:
    """Two bars for each class (the keys of `of_real`): its share among the samples and among the real pictures."""
    largest = max([*of_real.values(), *of_samples.values()]) or 1.0
    height, left = 30, 150
    parts = []
    for row, name in enumerate(of_real):
        top = row * height
        parts.append(LABEL.format(left - 8, top + 18, "end", name[:22]))
        for offset, colour, share, images in (
            (0, "c0", of_samples[name], "samples"),
            (12, "c4", of_real[name], "real pictures"),
        ):
            width, y = max(1.0, share / largest * (WIDTH - left - 60)), top + 3 + offset
            box = Markup('<rect class="{}" x="{}" y="{}" width="{:.1f}" height="10"><title>{}</title></rect>')
            parts.append(box.format(colour, left, y, width, f"{name}: {share:.1%} of the {images}"))
            parts.append(LABEL.format(left + width + 5, y + 9, "start", f"{share:.1%}"))
    keys = [_key("c0", "samples"), _key("c4", "real pictures")]
    return _figure("", keys, parts, (WIDTH, height * len(of_real)), "shares of classes", bars=True)


def scatter_chart(
    title: str, behind: NDArray[Any], front: NDArray[Any], is_good: NDArray[np.bool_], names: tuple[str, str]
) -> Markup:
    """Points in the unit square: `behind` [M, 2] in grey, `front` [N, 2] in one colour where `is_good` [N], else in another.

    `names` are those of the good points and of the others; the key gives their shares.
    """
    side, edge = 420, 8

    def circles(points: NDArray[Any], colour: str) -> list[Markup]:
        circle = Markup('<circle class="{}" cx="{:.0f}" cy="{:.0f}" r="2"/>')
        return [circle.format(colour, x, side - y) for x, y in edge + points * (side - 2 * edge)]

    parts = [*circles(behind, "grey"), *circles(front[is_good], "c0"), *circles(front[~is_good], "c1")]
    keys = [_key("c0", names[0], format_percent(is_good.mean())), _key("c1", names[1], format_percent(1 - is_good.mean()))]
    return _figure(title, keys, parts, (side, side), title)


# ---- parts of charts ----------------------------------------------------------------------------------------------------


def _figure(
    title: str, keys: Sequence[Markup], parts: Sequence[Markup], size: tuple[int, int], alt_text: str, bars: bool = False
) -> Markup:
    """An SVG of `size` (width, height) that contains `parts`, below its title and keys; `bars` makes it narrower."""
    head = Markup("<strong>{}</strong>").format(title) if title else EMPTY
    outer = Markup(
        '<figure class="chart{}"><figcaption>{}{}</figcaption>'
        '<svg viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg></figure>'
    )
    return outer.format(" bars" * bars, head, EMPTY.join(keys), *size, alt_text, EMPTY.join(parts))


def _key(css_class: str, name: str, value: str = "") -> Markup:
    """An entry of the legend: a stroke in the colour of what it names, the name, and the value if there is one."""
    number = Markup(" <b>{}</b>").format(value) if value else EMPTY
    return Markup('<span class="key {}">{}{}</span>').format(css_class, name, number)


def _line(points: Iterable[tuple[float, float]], colour: int, css_class: str = "") -> Markup:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return Markup('<polyline class="c{} {}" points="{}"/>').format(colour % 6, css_class, path)

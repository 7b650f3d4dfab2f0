"""Watching a training run: how varied its pictures are, and rules that say in plain words what goes wrong. Pure functions.

A rule looks at the rows of a run at its *events*, the points where pictures were shown or held-out ones looked at; so its unit
of time follows the budget. It speaks at the fourth event at the earliest, wants what it sees to last, and once it has spoken
its bounds are looser (hysteresis), so that nothing is said twice.

The rules here hold for any method. What only one family can suffer from stands in that family's ``diagnosis.py``, and
`Method.diagnosis` gives the rules of a method.
"""

from __future__ import annotations

import math
from bisect import bisect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean, median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

SIDE = 8
"""Pixels to which a side is averaged before distances are taken, so that noise does not count as variety."""
TWIN = 0.1
"""Of the mean distance between real pictures; the nearest of 64 real ones is typically .3 to .6 of it away."""


@dataclass(frozen=True)
class Warning:
    """One plain sentence: what was seen, and what to do."""

    kind: str
    """One word, such as ``explosion``; a run has one warning of a kind at most."""
    text: str


def diversity(made: NDArray[np.uint8], real: NDArray[np.uint8]) -> dict[str, float]:
    """How varied `made` [N, H, W, C] is beside `real` [M, H, W, C], on pixels averaged to 8x8 at most.

    `diversity`: the mean distance between two of them over that between two real ones (1: as varied; 0: all the same; with 64
    of each, real pictures get 1 ± .05). `twins`: the share that has another one within a tenth of that mean real distance.
    """
    if min(len(made), len(real)) < 2:
        return {}
    mine, theirs = _distances(made), _distances(real)
    typical = float(theirs.sum()) / (len(real) * (len(real) - 1))
    if typical == 0.0:
        return {}
    mean = float(mine.sum()) / (len(made) * (len(made) - 1))
    nearest = mine.fill_diagonal_(math.inf).amin(1)
    return {"diversity": mean / typical, "twins": float((nearest < TWIN * typical).double().mean())}


def _distances(pictures: NDArray[np.uint8]) -> Tensor:
    """[N, N] euclidean distances between small versions; exactly 0 between equal pictures."""
    pixels = torch.from_numpy(pictures).permute(0, 3, 1, 2).float()
    size = (min(SIDE, pixels.shape[2]), min(SIDE, pixels.shape[3]))
    small = torch.nn.functional.adaptive_avg_pool2d(pixels, size).flatten(1)
    return torch.cdist(small, small, compute_mode="donot_use_mm_for_euclid_dist")


# ---- what rules look at -------------------------------------------------------------------------------------------------


Curves = Mapping[str, tuple[Sequence[int], Sequence[float]]]
"""Logged name -> images seen, in order, and its value there."""

Advice = tuple[str, str, str]
"""(verb, key of the recipe, value to set or empty), such as `MIRROR`."""
MIRROR: Advice = ("(where mirrored pictures make sense) set", "data.mirror", "true")


@dataclass(frozen=True)
class Trace:
    """A run up to one of its events: every logged name as a curve, and the recipe for the words of advice."""

    curves: Curves
    events: Sequence[int]
    """Images seen at each event so far."""
    row: Mapping[str, Any]
    """The row of metrics of the newest event."""
    recipe: Mapping[str, Any]
    """The recipe as a plain tree; its ``method`` is the one that is being trained."""
    method_key: str = "method"
    """Where a person sets that method: ``stages.NAME.method`` while an earlier stage trains."""

    @property
    def images(self) -> int:
        """Images seen so far."""
        return self.events[-1]

    @property
    def recent(self) -> int:
        """Where the recent stretch begins: the last two between events, or a tenth of the run where events are crowded."""
        return min(self.events[-3], int(0.9 * self.images)) if len(self.events) > 2 else 0

    @property
    def players(self) -> Sequence[str]:
        return list(self.row.get("lr", {}))

    def curve(self, name: str, after: int = -1, until: int | None = None) -> Sequence[float]:
        """Values of `name` in (after, until] images, in order."""
        places, values = self.curves.get(name, ((), ()))
        return values[bisect(places, after) : bisect(places, self.images if until is None else until)]

    def now(self, name: str) -> float | None:
        """Its mean over the recent stretch; None where it has no two values there."""
        values = self.curve(name, self.recent)
        return fmean(values) if len(values) > 1 else None

    def advice(self, settings: Iterable[Advice]) -> str:
        """The end of a warning, such as ``: raise method.width (now 32) or …``; a key that the recipe lacks is left out."""
        words = []
        for verb, key, value in settings:
            exists, current = setting_of(self.recipe, key)
            if not exists or (value and str(current).lower() == value.lower()):
                continue
            now = "none" if current is None else f"{current:g}" if isinstance(current, float | int) else str(current)
            name = self.method_key + key.removeprefix("method") if key.startswith("method.") else key
            words.append(f"{verb} {name}" + (f"={value}" if value else "") + ("" if value == "true" else f" (now {now})"))
        last = " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
        return f": {last}." if words else "."


def setting_of(tree: Any, key: str) -> tuple[bool, Any]:
    """Whether the recipe has this key, and its value: of a schedule the first, of a part that is switched off None."""
    for name in key.split("."):
        if tree is None:
            return True, None
        if not isinstance(tree, Mapping) or name not in tree:
            return False, None
        tree = tree[name]
    if isinstance(tree, Mapping):
        return True, tree.get("value", "on")
    return True, tree


def _is_event(row: Mapping[str, Any]) -> bool:
    return any(not name.startswith("gradient_norm/") for name in row.get("watch", {}))


def _curves(history: Sequence[Mapping[str, Any]]) -> Curves:
    curves: dict[str, tuple[list[int], list[float]]] = {}
    for row in history:
        for name, value in [*row["losses"].items(), *row.get("watch", {}).items()]:
            places, values = curves.setdefault(name, ([], []))
            places.append(row["images"])
            values.append(value)
    return curves


# ---- the rules ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rule:
    """What may go wrong, and how to see it."""

    kind: str
    judge: Callable[[Trace, bool, Sequence[Advice]], str | None]
    """A sentence, or None where nothing is wrong. The flag says whether the rule spoke at the event before, which loosens its
    bounds."""
    advice: tuple[Advice, ...] = ()
    """What to change, given to `judge`: data, so that a test can ask whether the method has these settings."""


def find_memorising(trace: Trace, standing: bool, advice: Sequence[Advice]) -> str | None:
    """A loss that falls on training pictures and has risen on held-out ones: the training pictures are learned by heart."""
    if len(trace.events) < 4:
        return None
    for player in trace.players:
        held_out, gaps = trace.curve(f"held_out_{player}"), trace.curve(f"gap_{player}")
        if len(held_out) < 6:
            continue
        on_training = [value - gap for value, gap in zip(held_out, gaps, strict=True)]
        best = min(range(len(held_out) - 2), key=lambda i: held_out[i])
        rise, fall = min(held_out[-3:]) - held_out[best], on_training[best] - fmean(on_training[-3:])
        flicker = median(abs(b - a) for a, b in pairwise(held_out))
        # A real rise: beyond the flicker of the curve, and a good part of what training gained since.
        if fall > 0 and rise > (0.5 if standing else 1.0) * max(2 * flicker, 0.15 * fall):
            return (
                f"The model learns the training pictures by heart: its loss on held-out ones was {held_out[best]:.4g} at "
                f"{trace.curves[f'held_out_{player}'][0][best]:,} images and is {held_out[-1]:.4g} now, while on training ones "
                f"it went from {on_training[best]:.4g} to {on_training[-1]:.4g}; an earlier checkpoint may serve you better"
            ) + trace.advice(advice)
    return None


def find_exploding_gradients(trace: Trace, standing: bool, advice: Sequence[Advice] = ()) -> str | None:
    """A player whose gradient's norm has been far above its usual one for three looks.

    It advises on the learning rate and the clipping of that player, or of the method where that has them, before `advice`.
    """
    for player in trace.players:
        norms = trace.curve(f"gradient_norm/{player}")
        if len(norms) < 10:
            continue
        now, usual = min(norms[-3:]), median(norms[:-3])
        if now > (30 if standing else 100) * usual > 0:
            clip = f"{{by: norm, limit: {2 * usual:.2g}}}"
            mends = (("lower", "optimiser.lr", ""), ("set", "clip", clip))
            places = (f"method.{player}", "method")
            return (
                f"The gradients of the {player} explode: their norm is {now:.3g}, {now / usual:,.0f} times what it usually was"
            ) + trace.advice([*((verb, f"{place}.{key}", value) for place in places for verb, key, value in mends), *advice])
    return None


GENERAL_RULES = (Rule("overfitting", find_memorising, (MIRROR,)), Rule("explosion", find_exploding_gradients))
"""What can go wrong with any method."""


def warnings(
    history: Sequence[Mapping[str, Any]], recipe: Mapping[str, Any], rules: Sequence[Rule], method_key: str = "method"
) -> list[Warning]:
    """Those that stand at the newest event of `history` (rows of metrics, oldest first), each with its newest numbers.

    `recipe` is the plain tree of the run's recipe, with the method that is being trained as its ``method``: it says which
    settings there are, and where they stand. `method_key` is where a person sets that method.
    """
    curves, events = _curves(history), list[int]()
    standing: dict[str, Warning] = {}
    for row in filter(_is_event, history):
        events.append(row["images"])
        trace = Trace(curves, events, row, recipe, method_key)
        for rule in rules:
            text = rule.judge(trace, rule.kind in standing, rule.advice)
            if text is None:
                standing.pop(rule.kind, None)
            else:
                standing[rule.kind] = Warning(rule.kind, text)
    return list(standing.values())

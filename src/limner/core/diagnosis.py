"""What goes wrong in a training run: how varied its pictures are, and rules that recognise a fault. Pure functions.

Rules are applied at the *events* of a run: the rows of its metrics with previews or with losses on held-out pictures. Events
lie at fractions of the budget, so the unit of time grows with it. A rule gives no warning before the fourth event, and only for
a fault that lasts; once its warning is active its thresholds are looser (hysteresis), so that a warning does not come and go.

The rules here hold for any method. Faults of one family are in that family's ``diagnosis.py``, and `Method.diagnosis` returns
all rules of a method.
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

MAX_COMPARED_SIDE = 8
"""Pixels. Pictures are averaged to sides of at most this before distances are computed, so that noise is not diversity."""
TWIN_DISTANCE = 0.1
"""Two pictures closer than this share of the mean distance between real ones are twins. Among 64 real pictures the nearest is
typically at .3 to .6 of that mean."""


@dataclass(frozen=True)
class Warning:
    """One plain sentence for a person: what goes wrong, and what to do about it."""

    kind: str
    """One word, such as ``explosion``; a run has one warning of a kind at most."""
    text: str


def diversity(samples: NDArray[np.uint8], real: NDArray[np.uint8]) -> dict[str, float]:
    """How varied the pictures `samples` [N, H, W, C] are beside `real` ones [M, H, W, C].

    `diversity`: the mean distance between two of `samples`, over that between two real ones. 1 is as varied as real pictures
    (with 64 of each, these get 1 ± .05), 0 is all the same. `twins`: the share of `samples` that has another one closer than
    `TWIN_DISTANCE`. Distances are euclidean, between pictures averaged to 8x8 pixels. Empty where there are fewer than two
    pictures on either side, or the real ones are all equal.
    """
    if min(len(samples), len(real)) < 2:
        return {}
    distances = _distances(samples)
    real_mean = float(_distances(real).sum()) / (len(real) * (len(real) - 1))
    if real_mean == 0.0:
        return {}
    mean = float(distances.sum()) / (len(samples) * (len(samples) - 1))
    nearest = distances.fill_diagonal_(math.inf).amin(1)
    return {"diversity": mean / real_mean, "twins": float((nearest < TWIN_DISTANCE * real_mean).double().mean())}


def _distances(pictures: NDArray[np.uint8]) -> Tensor:
    """[N, H, W, C] -> [N, N] euclidean distances between the averaged pictures; exactly 0 between equal ones."""
    pixels = torch.from_numpy(pictures).permute(0, 3, 1, 2).float()
    size = (min(MAX_COMPARED_SIDE, pixels.shape[2]), min(MAX_COMPARED_SIDE, pixels.shape[3]))
    small = torch.nn.functional.adaptive_avg_pool2d(pixels, size).flatten(1)
    return torch.cdist(small, small, compute_mode="donot_use_mm_for_euclid_dist")


# ---- the input of a rule --------------------------------------------------------------------------------------------------


Curves = Mapping[str, tuple[Sequence[int], Sequence[float]]]
"""Logged name -> (images seen at each of its rows, ascending; its value there)."""

Advice = tuple[str, str, str]
"""A change of one setting: (verb, key of the recipe, new value; "" where the verb says enough), such as `MIRROR`."""
MIRROR: Advice = ("(where mirrored pictures make sense) set", "data.mirror", "true")


@dataclass(frozen=True)
class Trace:
    """A run up to one of its events: every logged name as a curve, and the recipe, for advice on its settings."""

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
        """Images seen at the newest event."""
        return self.events[-1]

    @property
    def recent(self) -> int:
        """Images seen where the recent part of the run begins: two events ago, or a tenth of the images if that is more."""
        return min(self.events[-3], int(0.9 * self.images)) if len(self.events) > 2 else 0

    @property
    def players(self) -> Sequence[str]:
        """Names of the players that are trained at the newest event."""
        return list(self.row.get("lr", {}))

    def curve(self, name: str, after: int = -1, until: int | None = None) -> Sequence[float]:
        """Values of `name` at more than `after` and at most `until` images (None: the newest event), in order."""
        images, values = self.curves.get(name, ((), ()))
        return values[bisect(images, after) : bisect(images, self.images if until is None else until)]

    def recent_mean(self, name: str) -> float | None:
        """The mean of `name` over the recent part of the run; None where it has fewer than two values there."""
        values = self.curve(name, self.recent)
        return fmean(values) if len(values) > 1 else None

    def advice(self, settings: Iterable[Advice]) -> str:
        """The end of a warning, such as ``: lower method.width (now 32) or ….``

        It leaves out keys that the recipe lacks and values that it has already; a full stop alone where nothing remains.
        """
        phrases = []
        for verb, key, value in settings:
            exists, current = setting_of(self.recipe, key)
            if not exists or (value and str(current).lower() == value.lower()):
                continue
            now = "none" if current is None else f"{current:g}" if isinstance(current, float | int) else str(current)
            name = self.method_key + key.removeprefix("method") if key.startswith("method.") else key
            phrases.append(f"{verb} {name}" + (f"={value}" if value else "") + ("" if value == "true" else f" (now {now})"))
        text = " or ".join([", ".join(phrases[:-1]), phrases[-1]] if len(phrases) > 1 else phrases)
        return f": {text}." if phrases else "."


def setting_of(tree: Any, key: str) -> tuple[bool, Any]:
    """Whether the recipe, a plain tree, has the dotted `key`, and its value.

    Of a schedule it is the ``value`` at its plateau; of another part of the recipe "on", or None where that is switched off
    (null). (False, None) where there is no such key.

    >>> setting_of({"optimiser": {"lr": {"value": 0.1, "warmup": 0.5}}}, "optimiser.lr")
    (True, 0.1)
    """
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
    """Whether the row was written with a preview or with losses on held-out pictures; gradient norms are in any row."""
    return any(not name.startswith("gradient_norm/") for name in row.get("watch", {}))


def _curves(history: Sequence[Mapping[str, Any]]) -> Curves:
    curves: dict[str, tuple[list[int], list[float]]] = {}
    for row in history:
        for name, value in [*row["losses"].items(), *row.get("watch", {}).items()]:
            images, values = curves.setdefault(name, ([], []))
            images.append(row["images"])
            values.append(value)
    return curves


# ---- the rules ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rule:
    """A fault of a training run, and how to recognise it."""

    kind: str
    check: Callable[[Trace, bool, Sequence[Advice]], str | None]
    """(run up to an event, whether the rule's warning is active already, `advice`) -> the warning, or None without a fault.

    Thresholds are looser where the warning is active."""
    advice: tuple[Advice, ...] = ()
    """Changes that may help. They are data, so that a test can check that the method has these settings."""


def find_memorising(trace: Trace, active: bool, advice: Sequence[Advice]) -> str | None:
    """A loss that falls on training pictures and has risen on held-out ones: the model memorises the training pictures."""
    if len(trace.events) < 4:
        return None
    for player in trace.players:
        held_out, gaps = trace.curve(f"held_out_{player}"), trace.curve(f"gap_{player}")
        if len(held_out) < 6:
            continue
        on_training = [value - gap for value, gap in zip(held_out, gaps, strict=True)]
        best = min(range(len(held_out) - 2), key=lambda i: held_out[i])
        rise, fall = min(held_out[-3:]) - held_out[best], on_training[best] - fmean(on_training[-3:])
        noise = median(abs(b - a) for a, b in pairwise(held_out))
        # The rise is real: more than the noise of the curve, and at least 15 % of what the training loss fell by since.
        if fall > 0 and rise > (0.5 if active else 1.0) * max(2 * noise, 0.15 * fall):
            return (
                f"The model learns the training pictures by heart: its loss on held-out ones was {held_out[best]:.4g} at "
                f"{trace.curves[f'held_out_{player}'][0][best]:,} images and is {held_out[-1]:.4g} now, while on training ones "
                f"it went from {on_training[best]:.4g} to {on_training[-1]:.4g}; an earlier checkpoint may serve you better"
            ) + trace.advice(advice)
    return None


def find_exploding_gradients(trace: Trace, active: bool, advice: Sequence[Advice] = ()) -> str | None:
    """A player whose gradient norm was a hundred times its median, or more, at the last three measurements.

    Its advice begins with the learning rate and the clipping of that player, or of the method where they are set there.
    """
    for player in trace.players:
        norms = trace.curve(f"gradient_norm/{player}")
        if len(norms) < 10:
            continue
        latest, usual = min(norms[-3:]), median(norms[:-3])
        if latest > (30 if active else 100) * usual > 0:
            clip = f"{{by: norm, limit: {2 * usual:.2g}}}"
            changes = (("lower", "optimiser.lr", ""), ("set", "clip", clip))
            owners = (f"method.{player}", "method")
            return (
                f"The gradients of the {player} explode: their norm is {latest:.3g}, {latest / usual:,.0f} times what it "
                "usually was"
            ) + trace.advice([*((verb, f"{owner}.{key}", value) for owner in owners for verb, key, value in changes), *advice])
    return None


GENERAL_RULES = (Rule("overfitting", find_memorising, (MIRROR,)), Rule("explosion", find_exploding_gradients))
"""Faults that any method can have."""


def warnings(
    history: Sequence[Mapping[str, Any]], recipe: Mapping[str, Any], rules: Sequence[Rule], method_key: str = "method"
) -> list[Warning]:
    """The warnings that are active at the newest event of `history` (rows of metrics, oldest first), with current numbers.

    `recipe` is the run's recipe as a plain tree, with the method that is being trained as its ``method``; advice names only
    settings that it has. `method_key` is the key under which a person sets that method.
    """
    curves, events = _curves(history), list[int]()
    active: dict[str, Warning] = {}
    for row in filter(_is_event, history):
        events.append(row["images"])
        trace = Trace(curves, events, row, recipe, method_key)
        for rule in rules:
            text = rule.check(trace, rule.kind in active, rule.advice)
            if text is None:
                active.pop(rule.kind, None)
            else:
                active[rule.kind] = Warning(rule.kind, text)
    return list(active.values())

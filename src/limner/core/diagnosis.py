"""Watching a training run: how varied its pictures are, and rules that say in plain words what goes wrong. Pure functions.

A rule looks at the rows of a run at its *events*, the points where pictures were shown or held-out ones looked at; so its unit
of time follows the budget. It speaks at the fourth event at the earliest, wants what it sees to last, and once it has spoken
its bounds are looser (hysteresis), so that nothing is said twice.
"""

from __future__ import annotations

import math
from bisect import bisect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean, median
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

SIDE = 8
"""Pixels to which a side is averaged before distances are taken, so that noise does not count as variety."""
TWIN = 0.1
"""Of the mean distance between real pictures; the nearest of 64 real ones is typically .3 to .6 of it away."""

Kind = Literal["collapse", "saturation", "overfitting", "explosion"]


@dataclass(frozen=True)
class Warning:
    """One plain sentence: what was seen, and what to do."""

    kind: Kind
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


# ---- what rules see -----------------------------------------------------------------------------------------------------


Curves = Mapping[str, tuple[Sequence[int], Sequence[float]]]
"""Logged name -> images seen, in order, and its value there."""


class Seen:
    """A run up to its `events` so far: every logged name as a curve, and the recipe for the words of advice."""

    def __init__(self, curves: Curves, events: Sequence[int], row: Mapping[str, Any], recipe: Mapping[str, Any]) -> None:
        self.curves, self.events, self.recipe = curves, events, recipe
        self.images = events[-1]
        # The last two stretches between events, or a tenth of the run where events are crowded.
        self.recent = min(events[-3], int(0.9 * self.images)) if len(events) > 2 else 0
        self.players = list(row.get("lr", {}))
        self.game = "right_on_real" in row["losses"]

    def curve(self, name: str, after: int = -1, until: int | None = None) -> Sequence[float]:
        """Values of `name` in (after, until] images, in order."""
        places, values = self.curves.get(name, ((), ()))
        return values[bisect(places, after) : bisect(places, self.images if until is None else until)]

    def now(self, name: str) -> float | None:
        """Its mean over the recent stretch; None where it has no two values there."""
        values = self.curve(name, self.recent)
        return fmean(values) if len(values) > 1 else None

    def advice(self, *knobs: tuple[str, str, str]) -> str:
        """``raise method.r1_gamma (now 0) or …`` of (verb, key, value to set or empty); a key the recipe lacks is left out."""
        words = []
        for verb, key, value in knobs:
            found, current = _setting(self.recipe, key)
            if not found or (value and str(current).lower() == value.lower()) or _refused(self.recipe, key):
                continue
            said = "none" if current is None else f"{current:g}" if isinstance(current, float | int) else str(current)
            words.append(f"{verb} {key}" + (f"={value}" if value else "") + ("" if value == "true" else f" (now {said})"))
        last = " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
        return f": {last}." if words else "."


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


def _setting(tree: Any, key: str) -> tuple[bool, Any]:
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


def _refused(recipe: Mapping[str, Any], key: str) -> bool:
    """Whether the method would not take it, beside its other choices."""
    if key == "method.r1_gamma":  # per image, and batch norm couples images
        _, norm = _setting(recipe, "method.discriminator.norm")
        return bool(norm == "batch" or _setting(recipe, "method.discriminator.normalise")[1] == "gradient")
    return key == "method.loss" and bool(_setting(recipe, "method.smooth")[1])


# ---- the rules: a sentence, or None. `standing` says whether it was said at the event before, and loosens the bounds -------


def _collapse(seen: Seen, standing: bool) -> str | None:
    varied, twins = seen.curve("diversity"), seen.curve("twins")
    if not seen.game or len(varied) < 5:  # a young generator makes one grey picture of all seeds
        return None
    loose = 1.25 if standing else 1.0
    now, same = max(varied[-2:]), min(twins[-2:])
    once = max(min(pair) for pair in pairwise(varied))
    if now < 0.4 * loose:
        what = f"pictures of different seeds are only {now:.0%} as varied as real ones"
    elif now < 0.7 * loose and now < 0.6 * loose * once:
        what = f"pictures of different seeds were {once:.0%} as varied as real ones and are now {now:.0%}"
    elif same >= 2 / 3 / loose:
        what = f"{same:.0%} of the pictures have a twin that looks the same"
    else:
        return None
    return f"The generator collapses: {what}" + seen.advice(
        ("lower", "method.generator.optimiser.lr", ""), ("raise", "method.r1_gamma", ""), ("set", "method.loss", "relativistic")
    )


def _saturation(seen: Seen, standing: bool) -> str | None:
    real, fake = seen.now("right_on_real"), seen.now("right_on_fake")
    loss, against = seen.now("discriminator"), seen.now("generator")
    if real is None or fake is None or loss is None or against is None or len(seen.events) < 4:
        return None
    # Being right is no harm while there is a slope to learn from. Every loss with a floor (cross-entropy, least squares, hinge,
    # relativistic) is near it when there is none; a critic without one (Wasserstein) goes below zero and is left alone.
    lost = loss < (0.2 if standing else 0.1) or against > (4 if standing else 6)
    if loss < 0 or not lost or min(real, fake) < (0.93 if standing else 0.97):
        return None
    return (
        f"The discriminator has won: over the last {seen.images - seen.recent:,} images it was right on {real:.1%} of real and "
        f"{fake:.1%} of generated pictures (its loss is {loss:.2g}, the generator's {against:.2g}), and the generator learns "
        "little from it"
    ) + seen.advice(
        ("raise", "method.r1_gamma", ""),
        ("lower", "method.discriminator.optimiser.lr", ""),
        ("raise", "method.instance_noise", ""),
    )


def _overfitting(seen: Seen, standing: bool) -> str | None:
    if len(seen.events) < 4:
        return None
    return _discriminator_by_heart(seen, standing) if seen.game else _model_by_heart(seen, standing)


def _discriminator_by_heart(seen: Seen, standing: bool) -> str | None:
    held_out, gaps = seen.curve("held_out_right_on_real")[-3:], seen.curve("gap_right_on_real")[-3:]
    if len(gaps) < 3:
        return None
    chance = 0.75 / math.sqrt(seen.curve("pictures_held_out")[-1])  # a share among n pictures is known to ±.5/√n
    if -max(gaps) < (0.1 if standing else 0.15) + chance:  # all three of them are large
        return None
    share = fmean(held_out)
    return (
        f"The discriminator learns the training pictures by heart: it is right on {share - fmean(gaps):.0%} of them, but on "
        f"{share:.0%} of held-out ones"
    ) + seen.advice(
        ("set", "method.augment.kind", "adaptive"),
        ("raise", "method.r1_gamma", ""),
        ("lower", "method.discriminator.optimiser.lr", ""),
        ("(where mirrored pictures make sense) set", "data.mirror", "true"),
    )


def _model_by_heart(seen: Seen, standing: bool) -> str | None:
    for player in seen.players:
        held_out, gaps = seen.curve(f"held_out_{player}"), seen.curve(f"gap_{player}")
        if len(held_out) < 6:
            continue
        known = [value - gap for value, gap in zip(held_out, gaps, strict=True)]
        best = min(range(len(held_out) - 2), key=lambda i: held_out[i])
        rise, fall = min(held_out[-3:]) - held_out[best], known[best] - fmean(known[-3:])
        flicker = median(abs(b - a) for a, b in pairwise(held_out))
        # A real rise: beyond the flicker of the curve, and a good part of what training gained since.
        if fall > 0 and rise > (0.5 if standing else 1.0) * max(2 * flicker, 0.15 * fall):
            return (
                f"The model learns the training pictures by heart: its loss on held-out ones was {held_out[best]:.4g} at "
                f"{seen.curves[f'held_out_{player}'][0][best]:,} images and is {held_out[-1]:.4g} now, while on training ones "
                f"it went from {known[best]:.4g} to {known[-1]:.4g}; an earlier checkpoint may serve you better"
            ) + seen.advice(("lower", "method.width", ""), ("(where mirrored pictures make sense) set", "data.mirror", "true"))
    return None


def _explosion(seen: Seen, standing: bool) -> str | None:
    losses, loss = seen.curve("discriminator"), seen.now("discriminator")
    high, times = (2.5, 1.5) if standing else (4, 3)  # who tosses a coin has log 2 (relativistic) to 2 (hinge)
    if seen.game and loss is not None and len(seen.events) > 3 and loss > max(high, times * median(losses)):
        return (
            f"The discriminator is thrown about: its loss was {loss:.3g} over the last {seen.images - seen.recent:,} images, "
            "where guessing would cost 2 at most, penalties aside"
        ) + seen.advice(("lower", "method.discriminator.optimiser.lr", ""), ("raise", "method.r1_gamma", ""))
    for player in seen.players:
        norms = seen.curve(f"gradient_norm/{player}")
        if len(norms) < 10:
            continue
        now, usual = min(norms[-3:]), median(norms[:-3])
        if now > (30 if standing else 100) * usual > 0:
            clip = f"{{by: norm, limit: {2 * usual:.2g}}}"
            return (
                f"The gradients of the {player} explode: their norm is {now:.3g}, {now / usual:,.0f} times what it usually was"
            ) + seen.advice(
                *((verb, f"method.{part}{key}", value) for part in (f"{player}.", "")
                  for verb, key, value in (("lower", "optimiser.lr", ""), ("set", "clip", clip)))
            )  # fmt: skip
    return None


RULES: Mapping[Kind, Callable[[Seen, bool], str | None]] = {
    "collapse": _collapse,
    "saturation": _saturation,
    "overfitting": _overfitting,
    "explosion": _explosion,
}


def warnings(history: Sequence[Mapping[str, Any]], recipe: Mapping[str, Any]) -> list[Warning]:
    """Those that stand at the newest event of `history` (rows of metrics, oldest first), each with its newest numbers.

    `recipe` is the plain tree of the run's recipe: it says which knobs there are, and where they stand.
    """
    curves, events = _curves(history), list[int]()
    standing: dict[Kind, Warning] = {}
    for row in filter(_is_event, history):
        events.append(row["images"])
        seen = Seen(curves, events, row, recipe)
        for kind, rule in RULES.items():
            text = rule(seen, kind in standing)
            if text is None:
                standing.pop(kind, None)
            else:
                standing[kind] = Warning(kind, text)
    return list(standing.values())

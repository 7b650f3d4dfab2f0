"""What goes wrong in a game against a discriminator, and which setting of a GAN to change.

Whoever plays such a game uses these rules, so each is given its advice; `RULES` are a GAN's own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from statistics import fmean, median

from limner.core.diagnosis import MIRROR, Advice, Rule, Trace, find_exploding_gradients, setting_of

GENTLER_GENERATOR: Advice = ("lower", "method.generator.optimiser.lr", "")
GENTLER_DISCRIMINATOR: Advice = ("lower", "method.discriminator.optimiser.lr", "")
PENALTY: Advice = ("raise", "method.r1_gamma", "")
PAIRS: Advice = ("set", "method.loss", "relativistic")
NOISE: Advice = ("raise", "method.instance_noise", "")
AUGMENTATION: Advice = ("set", "method.augment.kind", "adaptive")
MIN_IMAGES = 5_000
"""Images before which a game is too young for a verdict: at first a healthy generator draws one grey picture for all seeds, and
its discriminator is right about everything. Gradients that explode are reported at any time."""


def find_collapse(trace: Trace, standing: bool, advice: Sequence[Advice]) -> str | None:
    """Pictures of different seeds that are alike, or have become so."""
    varied, twins = trace.curve("diversity"), trace.curve("twins")
    if len(varied) < 5 or trace.images < MIN_IMAGES:
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
    return f"The generator collapses: {what}" + trace.advice(_applicable(trace, advice))


def find_saturation(trace: Trace, standing: bool, advice: Sequence[Advice]) -> str | None:
    """A discriminator that is right about everything, at a loss whose slope teaches the generator nothing."""
    real, fake = trace.recent_mean("right_on_real"), trace.recent_mean("right_on_fake")
    loss, against = trace.recent_mean("discriminator"), trace.recent_mean("generator")
    if real is None or fake is None or loss is None or against is None or len(trace.events) < 4 or trace.images < MIN_IMAGES:
        return None
    # Being right is no harm while there is a slope to learn from. Every loss with a floor (cross-entropy, least squares, hinge,
    # relativistic) is near it when there is none; a critic without one (Wasserstein) goes below zero and is left alone.
    has_won = loss < (0.2 if standing else 0.1) or against > (4 if standing else 6)
    if loss < 0 or not has_won or min(real, fake) < (0.93 if standing else 0.97):
        return None
    return (
        f"The discriminator has won: over the last {trace.images - trace.recent:,} images it was right on {real:.1%} of real "
        f"and {fake:.1%} of generated pictures (its loss is {loss:.2g}, the generator's {against:.2g}), and the generator "
        "learns little from it"
    ) + trace.advice(_applicable(trace, advice))


def find_memorising_discriminator(trace: Trace, standing: bool, advice: Sequence[Advice]) -> str | None:
    """A discriminator that is right about training pictures far more often than about held-out ones."""
    if len(trace.events) < 4 or trace.images < MIN_IMAGES:
        return None
    held_out, gaps = trace.curve("held_out_right_on_real")[-3:], trace.curve("gap_right_on_real")[-3:]
    if len(gaps) < 3:
        return None
    chance = 0.75 / math.sqrt(trace.curve("pictures_held_out")[-1])  # a share among n pictures is known to ±.5/√n
    if -max(gaps) < (0.1 if standing else 0.15) + chance:  # all three of them are large
        return None
    share = fmean(held_out)
    return (
        f"The discriminator learns the training pictures by heart: it is right on {share - fmean(gaps):.0%} of them, but on "
        f"{share:.0%} of held-out ones"
    ) + trace.advice(_applicable(trace, advice))


def find_explosion(trace: Trace, standing: bool, advice: Sequence[Advice]) -> str | None:
    """A discriminator whose loss is far above what guessing would cost; else a player whose gradients explode."""
    losses, loss = trace.curve("discriminator"), trace.recent_mean("discriminator")
    high, times = (2.5, 1.5) if standing else (4, 3)  # who tosses a coin has log 2 (relativistic) to 2 (hinge)
    is_old_enough = len(trace.events) > 3 and trace.images >= MIN_IMAGES
    if loss is not None and is_old_enough and loss > max(high, times * median(losses)):
        return (
            f"The discriminator is thrown about: its loss was {loss:.3g} over the last {trace.images - trace.recent:,} images, "
            "where guessing would cost 2 at most, penalties aside"
        ) + trace.advice(_applicable(trace, advice))
    return find_exploding_gradients(trace, standing)


def _applicable(trace: Trace, advice: Sequence[Advice]) -> Sequence[Advice]:
    """The advice that does not conflict with the other settings of the method."""

    def conflicts(key: str) -> bool:
        if key == "method.r1_gamma":  # per image, and batch norm couples images
            norm, normalise = (_value(trace, f"method.discriminator.{name}") for name in ("norm", "normalise"))
            return norm == "batch" or normalise == "gradient"
        return key == "method.loss" and bool(_value(trace, "method.smooth"))

    return [one for one in advice if not conflicts(one[1])]


def _value(trace: Trace, key: str) -> object:
    return setting_of(trace.recipe, key)[1]


RULES = (
    Rule("collapse", find_collapse, (GENTLER_GENERATOR, PENALTY, PAIRS)),
    Rule("saturation", find_saturation, (PENALTY, GENTLER_DISCRIMINATOR, NOISE)),
    Rule("overfitting", find_memorising_discriminator, (AUGMENTATION, PENALTY, GENTLER_DISCRIMINATOR, MIRROR)),
    Rule("explosion", find_explosion, (GENTLER_DISCRIMINATOR, PENALTY)),
)

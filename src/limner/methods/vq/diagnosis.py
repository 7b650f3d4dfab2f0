"""What goes wrong with codes and with the prior over them, and which setting to change."""

from __future__ import annotations

from collections.abc import Sequence

from limner.core.diagnosis import MIRROR, Advice, Rule, Trace, find_exploding_gradients, find_memorising
from limner.methods.gan.diagnosis import find_collapse, find_explosion, find_memorising_discriminator

NARROWER_NETWORK: Advice = ("lower", "method.width", "")


def _plays(trace: Trace) -> bool:
    """Whether the patch discriminator has begun."""
    return "right_on_real" in trace.row["losses"]


def _collapse(trace: Trace, standing: bool, advice: Sequence[Advice]) -> str | None:
    return find_collapse(trace, standing, advice) if _plays(trace) else None


def _overfitting(trace: Trace, standing: bool, advice: Sequence[Advice]) -> str | None:
    if _plays(trace):  # it is the discriminator that learns by heart, which a narrower codec does not mend
        return find_memorising_discriminator(trace, standing, [one for one in advice if one is not NARROWER_NETWORK])
    return find_memorising(trace, standing, advice)


def _explosion(trace: Trace, standing: bool, advice: Sequence[Advice]) -> str | None:
    return (find_explosion if _plays(trace) else find_exploding_gradients)(trace, standing, advice)


PRIOR_RULES = (Rule("overfitting", find_memorising, (NARROWER_NETWORK, MIRROR)), Rule("explosion", find_exploding_gradients))
CODEC_RULES = (
    Rule("collapse", _collapse),
    Rule("overfitting", _overfitting, (NARROWER_NETWORK, MIRROR)),
    Rule("explosion", _explosion),
)

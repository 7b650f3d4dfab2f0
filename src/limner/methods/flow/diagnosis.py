"""What goes wrong with a flow, and which setting to change."""

from __future__ import annotations

from collections.abc import Sequence

from limner.core.diagnosis import MIRROR, Advice, Rule, Trace, find_exploding_gradients, find_memorising

DROPOUT: Advice = ("raise", "method.network.dropout", "")
NARROWER_NETWORK: Advice = ("lower", "method.network.width", "")
AUGMENTATION: Advice = ("raise", "method.augment", "")
LOWER_RATE: Advice = ("lower", "method.optimiser.lr", "")


def find_stagnation(trace: Trace, active: bool, advice: Sequence[Advice]) -> str | None:
    """A loss that is no smaller than it was at the start: the steps are so long that the weights miss what they aim for.

    `edm` begins with the right mean and deviation of each pixel, and the loss of a network that learns is below its first
    value after a few hundred images. On `digits`, after 1,000 images, it was 1.1 times the first
    value with five times the usual rate, and three times with 25 times the rate.
    """
    (player,) = trace.players
    losses, recent = trace.curve(player), trace.recent_mean(player)
    if len(trace.events) < 4 or recent is None or recent < (0.9 if active else 1.0) * losses[0]:
        return None
    return (
        f"The flow has learned next to nothing: its loss was {losses[0]:.3g} at the start and is {recent:.3g} now; its "
        "learning rate may be too high"
    ) + trace.advice(advice)


RULES = (
    Rule("overfitting", find_memorising, (MIRROR, AUGMENTATION, DROPOUT, NARROWER_NETWORK)),
    Rule("stagnation", find_stagnation, (LOWER_RATE,)),
    Rule("explosion", find_exploding_gradients),
)

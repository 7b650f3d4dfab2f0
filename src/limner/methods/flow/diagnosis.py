"""What goes wrong with a flow, and which setting to change."""

from __future__ import annotations

from limner.core.diagnosis import MIRROR, Advice, Rule, find_exploding_gradients, find_memorising

DROPOUT: Advice = ("raise", "method.network.dropout", "")
NARROWER_NETWORK: Advice = ("lower", "method.network.width", "")

RULES = (
    Rule("overfitting", find_memorising, (MIRROR, DROPOUT, NARROWER_NETWORK)),
    Rule("explosion", find_exploding_gradients),
)

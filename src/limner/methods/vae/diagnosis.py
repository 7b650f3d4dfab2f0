"""What goes wrong with an autoencoder, and which of its settings to change."""

from __future__ import annotations

from limner.core.diagnosis import MIRROR, Rule, find_exploding_gradients, find_memorising

RULES = (
    Rule("overfitting", find_memorising, (("lower", "method.width", ""), MIRROR)),
    Rule("explosion", find_exploding_gradients),
)

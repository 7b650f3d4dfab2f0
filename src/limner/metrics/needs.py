"""What a metric of samples may need. It stands by itself so that the table of metrics can be read without torch."""

from __future__ import annotations

from typing import Literal

Need = Literal[
    "logits",
    "classes",
    "labels",
    "sample labels",
    "directions",
    "neighbours",
    "halves",
    "splits",
    "images",
    "copies",
    "training features",
]
"""The keys of `limner.metrics.sides.NEEDS`, which says whether each is there."""

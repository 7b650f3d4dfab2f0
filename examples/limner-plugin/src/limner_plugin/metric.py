"""`brightness`: how far the mean brightness of samples is from that of real pictures."""

from __future__ import annotations

import numpy as np
from limner.metrics.features.pixels import take
from limner.metrics.metric import SampleMetric
from limner.metrics.sides import Sides
from limner.metrics.stats.score import Measurement

MAX_PICTURES = 2_000
"""Of each side that are looked at."""


def measure(sides: Sides) -> Measurement:
    """|mean of the samples − mean of the real pictures|, of pixels in 0..255, with the error of the samples' mean.

    The null is what the first half of the real pictures gets against the second.
    """
    made, real = (_brightness(images) for images in (sides.sample_images, sides.real_images))
    halves = [part.mean() for part in np.array_split(real, 2)]
    return Measurement(float(abs(made.mean() - real.mean())), float(made.std(ddof=1) / len(made) ** 0.5), abs(halves[0] - halves[1]))


METRIC = SampleMetric(
    better="lower",
    meaning="difference of the mean brightness, of pixels in 0..255",
    measure=measure,
    error="over samples",
    null="real pictures",
    cost="seconds",
    default=False,
    since="brightness-1",
)

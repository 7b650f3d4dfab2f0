"""`brightness`: how far the mean brightness of samples is from that of real pictures."""

from __future__ import annotations

from limner.metrics.features.pixels import take
from limner.metrics.metric import SampleMetric
from limner.metrics.sides import Sides
from limner.metrics.stats.score import Measurement

MAX_PICTURES = 2_000
"""Pictures of each side that are looked at: enough for an error of a third of a grey level or so."""


def measure_brightness(sides: Sides) -> Measurement:
    """|mean of the samples − mean of the real pictures|, of pixels in 0..255, with the standard error of the samples' mean."""
    samples, real = (take(images, slice(0, MAX_PICTURES)).mean((1, 2, 3)) for images in sides.images)
    error = samples.std(ddof=1) / len(samples) ** 0.5 if len(samples) > 1 else None
    return Measurement(abs(samples.mean() - real.mean()), error)


METRIC = SampleMetric(
    better="lower",
    meaning="difference of the mean brightness, of pixels in 0..255",
    measure=measure_brightness,
    needs=("images",),  # some comparisons are of features alone; there this metric is left out
    error="over samples",
    null="none",
    cost="seconds",
    default=False,  # measured where it is asked for by name
    since="brightness-1",  # to be changed with the values, so that no report with old ones is used again
)

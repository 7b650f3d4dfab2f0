"""`brightness`: how far the mean brightness of samples is from that of real pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from limner.metrics.features.pixels import Source, take
from limner.metrics.metric import SampleMetric
from limner.metrics.stats.score import Measurement

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from limner.metrics.sides import Sides

MAX_PICTURES = 2_000
"""Of each side that are looked at."""


def measure(sides: Sides) -> Measurement:
    """|mean of the samples − mean of the real pictures|, of pixels in 0..255, with the standard error of the samples' mean."""
    samples, real = _brightness(sides.sample_images), _brightness(sides.real_images)
    error = float(samples.std(ddof=1) / len(samples) ** 0.5)
    return Measurement(float(abs(samples.mean() - real.mean())), error)


def _brightness(images: Source | None) -> NDArray[np.float64]:
    """[N]: the mean of each picture."""
    assert images is not None  # the row says that it needs images
    brightness: NDArray[np.float64] = take(images, slice(0, MAX_PICTURES)).mean((1, 2, 3))
    return brightness


METRIC = SampleMetric(
    better="lower",
    meaning="difference of the mean brightness, of pixels in 0..255",
    measure=measure,
    needs=("images",),
    error="over samples",
    null="none",
    cost="seconds",
    default=False,
    since="brightness-1",
)

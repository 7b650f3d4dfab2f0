"""`--preset auto`: chooses a preset by the number of pictures, their size and the budget, and says why."""

from __future__ import annotations

from dataclasses import dataclass

from limner.core.config import RunContext
from limner.methods.gan.config import MIN_IMAGE_SIDE

SMALL_SET, MEDIUM_SET = 5_000, 20_000
"""Training pictures below which a discriminator is assumed to memorise them early, and in a long run. Round numbers near the
sizes at which augmentation helps in Zhao et al. 2020 (arXiv:2006.10738) and Karras et al. 2020 (arXiv:2006.06676); not measured
here."""
MIN_GAN_BUDGET = 50_000
"""Images seen in training before a GAN's pictures are better than those of a variational autoencoder."""


@dataclass(frozen=True)
class Choice:
    """A preset, the settings to change in it, and the reason for both."""

    preset: str
    settings: tuple[str, ...]
    why: str


def choose(pictures: int, context: RunContext, adversarial: bool = False) -> Choice:
    """The preset for `pictures` training pictures of the size and the budget in `context`; always a GAN where `adversarial`."""
    _, height, width = context.shape
    size, budget = f"{height}x{width}", context.image_budget
    if min(height, width) < MIN_IMAGE_SIDE:
        return Choice("gan", (), f"pictures of {size} are too small for convolutions")
    if budget < MIN_GAN_BUDGET and not adversarial:
        why = f"the budget is about {_round(budget)} pictures of {size}, too few for a GAN; a VAE is soft but trains steadily"
        return Choice("vae", (), why)
    why = f"the best GAN here, and the budget (about {_round(budget)} pictures of {size}) is enough for it"
    if pictures < SMALL_SET:
        reason = f"with DiffAugment, since a discriminator learns {pictures:,} pictures by heart"
        return Choice("r3gan", ("method.augment.kind=diff",), f"{why}; {reason}")
    if pictures < MEDIUM_SET and budget > 20 * pictures:
        reason = f"with adaptive augmentation, in case its discriminator begins to learn {pictures:,} pictures by heart"
        return Choice("r3gan", ("method.augment.kind=adaptive",), f"{why}; {reason}")
    return Choice("r3gan", (), why)


def _round(count: int) -> str:
    """`count` to two digits, since it is an estimate: 123,456 is "120,000"."""
    digits = max(0, len(str(count)) - 2)
    return f"{round(count, -digits):,}"

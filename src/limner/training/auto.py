"""`--preset auto`: which preset, and why, for somebody who does not know."""

from __future__ import annotations

from dataclasses import dataclass

from limner.core.method import RunContext
from limner.methods.gan.config import MIN_IMAGE_SIDE

SMALL_SET, MEDIUM_SET = 5_000, 20_000
"""With fewer pictures, a discriminator is taken to memorise them soon, and in a long run: round numbers near the sizes at which
augmentation pays in Zhao et al. 2020 and Karras et al. 2020, not measured here."""
MIN_GAN_BUDGET = 50_000
"""Images that a GAN must see before its pictures are better than a variational autoencoder's."""


@dataclass(frozen=True)
class Choice:
    """A preset, settings over it, and the reasons in plain words."""

    preset: str
    settings: tuple[str, ...]
    why: str


def choose(pictures: int, facts: RunContext, adversarial: bool = False) -> Choice:
    """For so many training `pictures` of `facts.shape` within the budget of `facts`; a GAN in any case where `adversarial`."""
    _, height, width = facts.shape
    size, seen = f"{height}x{width}", facts.seen
    if min(height, width) < MIN_IMAGE_SIDE:
        return Choice("gan", (), f"pictures of {size} are too small for convolutions")
    if seen < MIN_GAN_BUDGET and not adversarial:
        why = f"the budget is about {_round(seen)} pictures of {size}, too few for a GAN; a VAE is soft but trains steadily"
        return Choice("vae", (), why)
    why = f"the best GAN here, and the budget (about {_round(seen)} pictures of {size}) is enough for it"
    if pictures < SMALL_SET:
        reason = f"with DiffAugment, since a discriminator learns {pictures:,} pictures by heart"
        return Choice("r3gan", ("method.augment.kind=diff",), f"{why}; {reason}")
    if pictures < MEDIUM_SET and seen > 20 * pictures:
        reason = f"with adaptive augmentation, in case its discriminator begins to learn {pictures:,} pictures by heart"
        return Choice("r3gan", ("method.augment.kind=adaptive",), f"{why}; {reason}")
    return Choice("r3gan", (), why)


def _round(count: int) -> str:
    """Two digits, so that nobody takes it for a promise."""
    digits = max(0, len(str(count)) - 2)
    return f"{round(count, -digits):,}"

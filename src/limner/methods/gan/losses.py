"""The losses of both players, as pure functions of the discriminator's logits.

Every loss is [B], one number per image; `real` and `fake` are the logits [B] of real and of generated images.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Game:
    """What the two players minimise."""

    discriminator: Callable[[Tensor, Tensor, float], Tensor]
    """(real, fake, smooth): `smooth` is one-sided label smoothing (Salimans et al. 2016, arXiv:1606.03498)."""
    generator: Callable[[Tensor, Tensor], Tensor]
    """(real, fake); only relativistic losses look at `real`."""
    gradient_ratio: Callable[[Tensor, Tensor], Tensor] | None
    """(real, fake) -> the derivative by `fake` of the generator's loss over that of the discriminator's. None where the latter
    may be 0. See `SwapGradient`."""
    has_target: bool
    """Whether the logits of real images have a target, which label smoothing can move."""
    paper: str
    """Where the losses come from."""


def _cross_entropy(real: Tensor, fake: Tensor, smooth: float) -> Tensor:
    """−(1−s)·log σ(real) − s·log(1−σ(real)) − log(1−σ(fake)); eq. 1 of Goodfellow 2014 where s = 0."""
    return F.softplus(-real) + smooth * real + F.softplus(fake)


def _square(real: Tensor, fake: Tensor, smooth: float) -> Tensor:
    """½(real−b)² + ½(fake−a)² with a = 0, b = 1−s; eq. 9 of Mao 2016, with the paper's ½."""
    return 0.5 * ((real - (1 - smooth)).square() + fake.square())


GAMES: Mapping[str, Game] = {
    "minimax": Game(
        _cross_entropy,
        lambda real, fake: -F.softplus(fake),
        lambda real, fake: -torch.ones_like(fake),
        True,
        "Goodfellow et al. 2014, arXiv:1406.2661, eq. 1",
    ),
    "non-saturating": Game(
        # −log σ(fake). By its own logit −σ(−f), the discriminator's is σ(f) = e^f·σ(−f).
        _cross_entropy,
        lambda real, fake: F.softplus(-fake),
        lambda real, fake: -torch.exp(-fake.clamp(min=-60.0)),
        True,
        "Goodfellow et al. 2014, arXiv:1406.2661, section 3",
    ),
    "least-squares": Game(
        _square,
        lambda real, fake: 0.5 * (fake - 1).square(),
        None,
        True,
        "Mao et al. 2016, arXiv:1611.04076, eq. 9",
    ),
    "wasserstein": Game(
        lambda real, fake, smooth: fake - real,
        lambda real, fake: -fake,
        lambda real, fake: -torch.ones_like(fake),
        False,
        "Arjovsky et al. 2017, arXiv:1701.07875, eq. 2",
    ),
    "hinge": Game(
        lambda real, fake, smooth: F.relu(1 - real) + F.relu(1 + fake),
        lambda real, fake: -fake,
        None,
        False,
        "Lim & Ye 2017, arXiv:1705.02894; Miyato et al. 2018, eq. 16",
    ),
    "relativistic": Game(
        lambda real, fake, smooth: F.softplus(fake - real),
        lambda real, fake: F.softplus(real - fake),
        lambda real, fake: -torch.exp((real - fake).clamp(max=60.0)),
        False,
        "Jolicoeur-Martineau 2018, arXiv:1807.00734; Huang et al. 2024, arXiv:2501.05441, eq. 2",
    ),
}


class SwapGradient(torch.autograd.Function):
    """The identity forwards; backwards, it turns the gradient of the discriminator's loss into that of the generator's.

    Where no statistic couples the images of a batch, the gradients of both losses by generated image i differ only by the ratio
    of their derivatives by its logit (`Game.gradient_ratio`), so that one backward pass gives both players' gradients. The
    ratio comes through the list `cell`, because it can be computed only after the discriminator's forward pass. It is bounded,
    because an infinite ratio times a gradient of 0 is not a number.
    """

    @staticmethod
    def forward(ctx: Any, fake: Tensor, cell: list[Tensor]) -> Tensor:
        ctx.cell = cell
        return fake.view_as(fake)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """The gradient by each image [B, …], times the ratio [B] in `cell`."""
        (gradient,) = gradients
        return gradient * ctx.cell[0].to(gradient.dtype).view(-1, *[1] * (gradient.dim() - 1)), None

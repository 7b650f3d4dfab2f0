"""The games that GANs play, and what keeps their discriminators smooth: pure functions of logits, of a critic and of images.

Every loss is [B], per image, on logits: `real` and `fake` are [B] each. Every penalty is [B], without its weight.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

Critic = Callable[[Tensor], Tensor]
"""Images [B, C, H, W] -> logits [B]."""


@dataclass(frozen=True)
class Game:
    """What the two players minimise."""

    discriminator: Callable[[Tensor, Tensor, float], Tensor]
    """(real, fake, smooth): `smooth` is one-sided label smoothing (Salimans et al. 2016, arXiv:1606.03498)."""
    generator: Callable[[Tensor, Tensor], Tensor]
    """(real, fake); only relativistic losses look at `real`."""
    turn: Callable[[Tensor, Tensor], Tensor] | None
    """(real, fake) -> the generator's derivative by `fake` over the discriminator's. None where that may be 0: see `Turned`."""
    labels: bool
    """Whether real images have a target that can be smoothed."""
    paper: str


def _cross_entropy(real: Tensor, fake: Tensor, smooth: float) -> Tensor:
    """−(1−s)·log σ(real) − s·log(1−σ(real)) − log(1−σ(fake)); eq. 1 of Goodfellow 2014 where s = 0."""
    return F.softplus(-real) + smooth * real + F.softplus(fake)


def _square(real: Tensor, fake: Tensor, smooth: float) -> Tensor:
    """½(real−b)² + ½(fake−a)² with a = 0, b = 1−s; eq. 9 of Mao 2016, with the paper's ½."""
    return 0.5 * ((real - (1 - smooth)).square() + fake.square())


GAMES: Mapping[str, Game] = {
    "minimax": Game(
        _cross_entropy, lambda real, fake: -F.softplus(fake), lambda real, fake: -torch.ones_like(fake), True,
        "Goodfellow et al. 2014, arXiv:1406.2661, eq. 1",
    ),
    "non-saturating": Game(
        # −log σ(fake). By its own logit −σ(−f), the discriminator's is σ(f) = e^f·σ(−f).
        _cross_entropy, lambda real, fake: F.softplus(-fake), lambda real, fake: -torch.exp(-fake.clamp(min=-60.0)), True,
        "Goodfellow et al. 2014, arXiv:1406.2661, section 3",
    ),
    "least-squares": Game(
        _square, lambda real, fake: 0.5 * (fake - 1).square(), None, True, "Mao et al. 2016, arXiv:1611.04076, eq. 9",
    ),
    "wasserstein": Game(
        lambda real, fake, smooth: fake - real, lambda real, fake: -fake, lambda real, fake: -torch.ones_like(fake), False,
        "Arjovsky et al. 2017, arXiv:1701.07875, eq. 2",
    ),
    "hinge": Game(
        lambda real, fake, smooth: F.relu(1 - real) + F.relu(1 + fake), lambda real, fake: -fake, None, False,
        "Lim & Ye 2017, arXiv:1705.02894; Miyato et al. 2018, eq. 16",
    ),
    "relativistic": Game(
        lambda real, fake, smooth: F.softplus(fake - real), lambda real, fake: F.softplus(real - fake),
        lambda real, fake: -torch.exp((real - fake).clamp(max=60.0)), False,
        "Jolicoeur-Martineau 2018, arXiv:1807.00734; Huang et al. 2024, arXiv:2501.05441, eq. 2",
    ),
}  # fmt: skip


class Turned(torch.autograd.Function):
    """The identity, whose backward turns the discriminator's gradient into the generator's, image by image.

    Where no statistic couples the images of a batch, the gradients of both losses at fake image i differ only by the ratio of
    their derivatives at its logit (`Game.turn`), and one backward pass serves both players. The ratio comes through `cell`,
    since it is known only after the discriminator has spoken; it is bounded, because e^100·0 is not a number.
    """

    @staticmethod
    def forward(ctx: Any, fake: Tensor, cell: list[Tensor]) -> Tensor:
        ctx.cell = cell
        return fake.view_as(fake)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (gradient,) = gradients
        return gradient * ctx.cell[0].to(gradient.dtype).view(-1, *[1] * (gradient.dim() - 1)), None


def slopes(critic: Critic, images: Tensor) -> Tensor:
    """[B]: |∇D(x)|² per image, over all its pixels, in float32, differentiable in the critic's weights."""
    with torch.autocast(images.device.type, enabled=False), torch.enable_grad():
        images = images.detach().float().requires_grad_()
        (gradient,) = torch.autograd.grad(critic(images).sum(), images, create_graph=True)
        return gradient.square().flatten(1).sum(1)


def zero_centred_penalty(critic: Critic, images: Tensor) -> Tensor:
    """[B]: ½|∇D(x)|². R1 on real images, R2 on generated ones (Mescheder et al. 2018, arXiv:1801.04406, eq. 9 and 10)."""
    return 0.5 * slopes(critic, images)


def gradient_penalty(critic: Critic, real: Tensor, fake: Tensor, alpha: Tensor) -> Tensor:
    """[B]: (|∇D(x̂)| − 1)² with x̂ between a real and a generated image (Gulrajani et al. 2017, arXiv:1704.00028, eq. 3).

    `alpha` [B] is uniform in 0..1, one per image.
    """
    alpha = alpha.view(-1, *[1] * (real.dim() - 1))
    between = alpha * real.float() + (1 - alpha) * fake.detach().float()
    return (slopes(critic, between) + 1e-12).sqrt().sub(1).square()


def gradient_normalised(critic: Critic, images: Tensor) -> Tensor:
    """[B]: D(x) / (|∇D(x)| + |D(x)|), which lies in −1..1 and is 1-Lipschitz wherever D is piecewise linear (Wu et al. 2021,
    "Gradient Normalization for Generative Adversarial Networks", arXiv:2109.02235, eq. 8)."""
    with torch.autocast(images.device.type, enabled=False), torch.enable_grad():
        images = images.float()
        if not images.requires_grad:
            images = images.detach().requires_grad_()
        logits = critic(images)
        (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
        return logits / ((gradient.square().flatten(1).sum(1) + 1e-12).sqrt() + logits.abs())


def automatic_gamma(height: int, width: int, batch: int) -> float:
    """γ of R1 where nobody chose one: 0.0002 · resolution² / batch (Karras et al. 2020, arXiv:2006.06676, `auto`)."""
    return 0.0002 * height * width / batch

"""Penalties on a discriminator's gradient with respect to its images, and the normalisation by it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from limner.core.precision import no_autocast

Critic = Callable[[Tensor], Tensor]
"""Images [B, C, H, W] -> logits [B]."""


def slopes(critic: Critic, images: Tensor) -> Tensor:
    """[B]: |∇D(x)|² per image, over all its pixels, in float32, differentiable in the critic's weights."""
    with no_autocast(images.device), torch.enable_grad():
        images = images.detach().float().requires_grad_()
        (gradient,) = torch.autograd.grad(critic(images).sum(), images, create_graph=True)
        return gradient.square().flatten(1).sum(1)


def r1_penalty(critic: Critic, images: Tensor) -> Tensor:
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
    with no_autocast(images.device), torch.enable_grad():
        images = images.float()
        if not images.requires_grad:
            images = images.detach().requires_grad_()
        logits = critic(images)
        (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
        return logits / ((gradient.square().flatten(1).sum(1) + 1e-12).sqrt() + logits.abs())

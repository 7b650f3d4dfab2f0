"""The evidence lower bound and its parts: pure functions of a Gaussian posterior q(z|x) = N(mean, exp(log_variance)).

Means and log variances are [B, L]. Everything is in nats, summed over latents, and per image.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor

from limner.core.precision import in_float64

Estimator = Literal["weighted", "stratified"]


def kl_to_standard(mean: Tensor, log_variance: Tensor) -> Tensor:
    """[B, L]: KL(N(μ, σ²) ‖ N(0, 1)) of each latent (Kingma & Welling 2013, appendix B)."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)


def log_normal(z: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """log N(z; μ, σ²) of each entry; shapes broadcast."""
    return -0.5 * ((z - mean).square() * torch.exp(-log_variance) + log_variance + math.log(2 * math.pi))


def free_bits(kl: Tensor, minimum: float) -> Tensor:
    """[B], whose mean is Σ_j max(minimum, mean KL_j over the batch) (Kingma et al. 2016, arXiv:1606.04934, eq. 15).

    A latent that carries less than `minimum` nats costs `minimum`, so that its KL has no gradient and shrinks no further.
    """
    return torch.where(kl.mean(0) > minimum, kl, torch.full_like(kl, minimum)).sum(1)


def capacity(kl: Tensor, target: float) -> Tensor:
    """[B], whose mean is |mean KL − target| (Burgess et al. 2018, arXiv:1804.03599, eq. 8)."""
    over = kl.sum(1) - target
    return torch.where(over.mean() >= 0, over, -over)


def log_aggregate(log_densities: Tensor, population: int, estimator: Estimator) -> Tensor:
    """log q(z_i), where q(z) is the mean of q(z|x) over all `population` training images, from a minibatch.

    `log_densities` is [B, B, …]: log q(z_i|x_j). `weighted` is log 1/(NB) Σ_j q(z_i|x_j) (Chen et al. 2018, arXiv:1802.04942,
    section 3.1; biased). `stratified` (appendix C.2) gives x_i the weight 1/N that it has in q(z), one other (N−M)/(NM) and the
    rest 1/M, with M = B − 1: unbiased for batches drawn without replacement (N ≥ B), as those of a run are within an epoch. So
    it alone among the losses here is not the same for a batch that holds every image twice: a copy counts as another image.
    """
    count = len(log_densities)
    weights = torch.zeros(count, count, dtype=log_densities.dtype, device=log_densities.device)
    if estimator == "weighted" or count == 1:
        weights.fill_(1 / (population * count))
    else:
        rest = count - 1
        weights.fill_(1 / rest)
        rows = torch.arange(count, device=weights.device)
        weights[rows, rows] = 1 / population
        weights[rows, (rows + 1) % count] = max(population - rest, 1) / (population * rest)
    shape = (count, count, *[1] * (log_densities.dim() - 2))
    return torch.logsumexp(log_densities + weights.log().view(shape), 1)


def decomposition(
    z: Tensor, mean: Tensor, log_variance: Tensor, population: int, estimator: Estimator
) -> tuple[Tensor, Tensor, Tensor]:
    """[B] each: mutual information, total correlation, dimension-wise KL (Chen et al. 2018, section 3), at z ~ q(z|x).

    Whatever the estimator of q(z), they add up to log q(z|x) − log p(z), the sampled KL.
    """
    each = log_normal(z[:, None], mean[None], log_variance[None])  # [B, B, L]: log q(z_i|x_j) of each latent
    own = log_normal(z, mean, log_variance).sum(1)
    joint = log_aggregate(each.sum(2), population, estimator)
    marginals = log_aggregate(each, population, estimator).sum(1)
    prior = log_normal(z, torch.zeros_like(z), torch.zeros_like(z)).sum(1)
    return own - joint, joint - marginals, marginals - prior


def permuted(z: Tensor, noise: Tensor) -> Tensor:
    """[B, L], each column shuffled in the order of `noise` [B, L]: draws of Π_j q(z_j) (Kim & Mnih 2018, algorithm 1)."""
    return z.gather(0, torch.argsort(noise, stable=True, dim=0))


def importance_bound(log_weights: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """ELBO and importance-weighted bound, [B] nats each, of any number of [B] draws in constant memory and float64.

    log 1/K Σ_k w_k ≤ log p(x) in expectation, and nearer to it with every further draw (Burda et al. 2015, arXiv:1509.00519).
    """
    count, total = 0, torch.zeros(())
    largest = sums = torch.zeros(())
    for weights in log_weights:
        weights = in_float64(weights)
        if count == 0:
            total, largest, sums = weights.clone(), weights, torch.ones_like(weights)
        else:
            total = total + weights
            higher = torch.maximum(largest, weights)
            sums = sums * (largest - higher).exp() + (weights - higher).exp()
            largest = higher
        count += 1
    return total / count, largest + sums.log() - math.log(count)

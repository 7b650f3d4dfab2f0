"""Quantisers: maps of vectors become maps of codes, and back. Always in float32: in bfloat16 half of the codes go unused.

`VectorQuantiser` has a codebook of learned vectors (van den Oord et al. 2017, "Neural Discrete Representation Learning",
arXiv:1711.00937); `FiniteScalars` rounds each entry to a few levels (Mentzer et al. 2023, "Finite Scalar Quantization: VQ-VAE
Made Simple", arXiv:2309.15505). Their layer state changes only in `move_state`, by sums over all chunks and processes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from limner.core.layer_state import StatefulLayer
from limner.core.precision import no_autocast

DEAD_CODE_USAGE = 0.1
"""A code that is used less than this share of the mean code's use is dead."""
OFFER_INVERSE_TEMPERATURE = 160.0
"""Of the softmax over the latents that the chunks offer for a dead code: so high that it nearly always selects one of them. Its
weights reach e^±80, which still leaves room in float32 for products with latents and for sums."""
KMEANS_ITERATIONS = 10
"""Iterations of k-means in `VectorQuantiser.initialise`."""


class Quantised(NamedTuple):
    """Quantised latents [B, d, h, w]."""

    values: Tensor
    """[B, d, h, w]: the codes' vectors, with the gradient of the latents (straight-through estimator)."""
    indices: Tensor
    """[B, h, w] int64 in 0..K-1."""
    commitment: Tensor
    """[B]: mean over entries and positions of (latent − vector)², without a gradient to the vector: the third term of eq. 3 of
    van den Oord et al. 2017, not yet weighted."""


def perplexity(counts: Tensor) -> Tensor:
    """exp(entropy) of the shares of `counts` [K], 0-d: the effective number of codes, from 1 to K; 1 where all counts are 0.

    >>> perplexity(torch.tensor([5.0, 5.0, 0.0])).item()
    2.0
    """
    shares = counts / counts.sum().clamp(min=1e-12)
    entropy: Tensor = torch.special.entr(shares).sum()
    return entropy.exp()


def usage(counts: Tensor) -> Tensor:
    """The share of codes that are not dead, 0-d: those used more than `DEAD_CODE_USAGE` times as often as the mean code.

    `counts` [K] says how often each code is used.
    """
    return (counts > DEAD_CODE_USAGE * counts.mean()).float().mean()


class _Quantiser(StatefulLayer):
    """The common part of the quantisers: statistics of chunks, collected until the stepper takes them."""

    def __init__(self) -> None:
        super().__init__()
        self.notes: list[dict[str, Tensor]] = []
        """The `statistics` of each chunk, appended by the method in training."""

    def take_statistics(self) -> dict[str, Tensor]:
        """Sums over the notes since the last call, by name; empty where there were none."""
        sums: dict[str, Tensor] = {}
        for note in self.notes:
            for name, value in note.items():
                sums[name] = sums[name] + value if name in sums else value
        self.notes.clear()
        return sums


class VectorQuantiser(_Quantiser):
    """A codebook of `vocabulary` vectors of `dim` entries, each the moving average of the latents nearest to it (appendix A.1
    of van den Oord et al. 2017).

    `half_life` of the average is in images: 2,200 is the decay 0.99 of DeepMind's Sonnet at its batch of 32. With `normalised`,
    latents and codes lie on the unit sphere (Yu et al. 2021, arXiv:2110.04627). Before `initialise`, the codes are random.

    >>> quantiser = VectorQuantiser(vocabulary=16, dim=4, half_life=2200)
    >>> quantiser(torch.zeros(2, 4, 7, 7)).indices.shape
    torch.Size([2, 7, 7])
    """

    codes: Tensor
    counts: Tensor
    sums: Tensor

    def __init__(self, vocabulary: int, dim: int, half_life: float, normalised: bool = False) -> None:
        super().__init__()
        self.vocabulary, self.dim, self.half_life, self.normalised = vocabulary, dim, half_life, normalised
        codes = torch.randn(vocabulary, dim)
        self.register_buffer("codes", F.normalize(codes, dim=1) if normalised else codes)
        self.register_buffer("counts", torch.full((vocabulary,), 1 / vocabulary))
        """How often a code is used, per image."""
        self.register_buffer("sums", self.codes * self.counts[:, None])
        """The sum of the latents nearest to a code, per image."""

    def forward(self, latents: Tensor) -> Quantised:
        """Quantises latents [B, d, h, w] of any number format."""
        with no_autocast(latents.device):
            z = self._rows(latents)
            indices = _nearest(z.flatten(0, 2), self.codes).view(z.shape[:3])
            codes = self.codes[indices]
            values = z + (codes - z).detach()
            return Quantised(values.permute(0, 3, 1, 2), indices, (z - codes).square().mean((1, 2, 3)))

    def lookup(self, indices: Tensor) -> Tensor:
        """Indices [B, h, w] -> the codes' vectors [B, d, h, w]."""
        return self.codes[indices].permute(0, 3, 1, 2)

    def _rows(self, latents: Tensor) -> Tensor:
        """[B, d, h, w] -> [B, h, w, d] in float32, on the unit sphere where the codes are."""
        z = latents.float().permute(0, 2, 3, 1)
        return F.normalize(z, dim=3) if self.normalised else z

    @torch.no_grad()
    def statistics(self, latents: Tensor, indices: Tensor, uniform: Tensor) -> dict[str, Tensor]:
        """What `move_state` needs of a chunk, as values that may be added over chunks and processes.

        `latents` [B, d, h, w], `indices` [B, h, w]; `uniform` [2, K] are random numbers in [0, 1).

        The chunk offers each code one of its latents, in case the code is dead. Only sums travel between processes, so a code
        takes the softmax-weighted mean of all offers, with random logits and so high an inverse temperature that the mean is
        nearly one of them.
        """
        z = self._rows(latents).flatten(0, 2)
        candidates = z[(uniform[0] * len(z)).long().clamp(max=len(z) - 1)]
        weights = torch.exp(OFFER_INVERSE_TEMPERATURE * (uniform[1].float() - 0.5))
        counts, vectors = _counts_and_sums(z, indices.flatten(), self.vocabulary)
        images = torch.full_like(weights[:1], len(latents))
        offers = {"offers": weights[:, None] * candidates, "weights": weights}
        return {"images": images, "counts": counts, "vectors": vectors, **offers}

    @torch.no_grad()
    def move_state(self, sums: Mapping[str, Tensor]) -> None:
        """Moves the averages and computes the codes from them; dead codes become latents that the chunks offered."""
        if not sums:
            return
        weight = 1 - 0.5 ** (sums["images"] / self.half_life)
        self.counts.lerp_(sums["counts"] / sums["images"], weight)
        self.sums.lerp_(sums["vectors"] / sums["images"], weight)
        mean = self.counts.mean()
        dead = self.counts < DEAD_CODE_USAGE * mean
        candidates = sums["offers"] / sums["weights"][:, None]
        # Counts and sums alike: otherwise the code would be dead again at the next move, and its vector a mixture.
        self.counts.copy_(torch.where(dead, mean, self.counts))
        self.sums.copy_(torch.where(dead[:, None], mean * candidates, self.sums))
        self._update_codes()

    def _update_codes(self, eps: float = 1e-5) -> None:
        """Codes are sums over counts; Laplace smoothing of the counts avoids a division by zero."""
        total = self.counts.sum()
        smoothed = (self.counts + eps) / (total + self.vocabulary * eps) * total
        codes = self.sums / smoothed[:, None]
        self.codes.copy_(F.normalize(codes, dim=1) if self.normalised else codes)

    @torch.no_grad()
    def initialise(self, latents: Tensor, seed: int) -> None:
        """Sets the codes by k-means on latents [B, d, h, w], from centres selected by `seed`.

        A code whose cluster is empty stays where it is, and is replaced by `move_state` as a dead one.
        """
        z = self._rows(latents).flatten(0, 2)
        order = torch.randperm(len(z), generator=torch.Generator().manual_seed(seed)).to(z.device)
        centres = z[order[torch.arange(self.vocabulary, device=z.device) % len(z)]]
        for _ in range(KMEANS_ITERATIONS):
            counts, vectors = _counts_and_sums(z, _nearest(z, centres), self.vocabulary)
            centres = torch.where(counts[:, None] > 0, vectors / counts.clamp(min=1)[:, None], centres)
            centres = F.normalize(centres, dim=1) if self.normalised else centres
        self.counts.copy_(counts / len(latents))
        self.sums.copy_(vectors / len(latents))
        self.codes.copy_(centres)


class FiniteScalars(_Quantiser):
    """Finite scalar quantisation: entry i is rounded to one of levels[i] values in [-1, 1]; a code is their combination.

    There are ∏ levels[i] codes. It has no commitment loss; its only state is the counts, which say how often codes are used.

    >>> FiniteScalars([8, 5, 5], half_life=2200).vocabulary
    200
    """

    counts: Tensor
    levels: Tensor
    basis: Tensor
    span: Tensor
    offset: Tensor
    shift: Tensor

    def __init__(self, levels: Sequence[int], half_life: float, eps: float = 1e-3) -> None:
        super().__init__()
        self.vocabulary, self.dim, self.half_life = math.prod(levels), len(levels), half_life
        sizes = torch.tensor(levels, dtype=torch.int32)
        span = (sizes - 1) * (1 + eps) / 2
        offset = torch.where(sizes % 2 == 0, 0.5, 0.0)
        basis = torch.cumprod(torch.tensor([1, *levels[:-1]]), 0)
        fixed = {"levels": sizes, "basis": basis, "span": span, "offset": offset, "shift": torch.atanh(offset / span)}
        for name, value in fixed.items():
            self.register_buffer(name, value, persistent=False)
        self.register_buffer("counts", torch.zeros(self.vocabulary))

    def forward(self, latents: Tensor) -> Quantised:
        """Quantises latents [B, len(levels), h, w] of any number format."""
        with no_autocast(latents.device):
            z = latents.float().permute(0, 2, 3, 1)
            bounded = self._bound(z)
            half = self.levels // 2
            values = (bounded + (bounded.round() - bounded).detach()) / half
            indices = ((values.detach() * half + half) * self.basis).sum(3).round().long()
            return Quantised(values.permute(0, 3, 1, 2), indices, torch.zeros_like(z[:, 0, 0, 0]))

    def _bound(self, z: Tensor) -> Tensor:
        """f(z) of appendix A.1 of Mentzer et al. 2023: a tanh over the range of the levels, shifted by half a level where their
        number is even."""
        return torch.tanh(z + self.shift) * self.span - self.offset

    def lookup(self, indices: Tensor) -> Tensor:
        """Indices [B, h, w] -> the codes' vectors [B, len(levels), h, w]."""
        digits = indices[..., None] // self.basis % self.levels
        half = self.levels // 2
        return ((digits - half) / half).permute(0, 3, 1, 2)

    @torch.no_grad()
    def statistics(self, latents: Tensor, indices: Tensor) -> dict[str, Tensor]:
        """What `move_state` needs of a chunk, as values that may be added over chunks and processes."""
        counts = _counts(indices.flatten(), self.vocabulary)
        return {"images": torch.full_like(counts[:1], len(latents)), "counts": counts}

    @torch.no_grad()
    def move_state(self, sums: Mapping[str, Tensor]) -> None:
        """Moves the average of how often each code is used."""
        if sums:
            weight = 1 - 0.5 ** (sums["images"] / self.half_life)
            self.counts.lerp_(sums["counts"] / sums["images"], weight)

    def initialise(self, latents: Tensor, seed: int) -> None:
        """Does nothing: the codes are fixed. It is there because `VectorQuantiser` has it."""


def _nearest(z: Tensor, codes: Tensor) -> Tensor:
    """Vectors [N, d] and codes [K, d] -> [N]: the index of the code e with the smallest |z − e|²."""
    # That is the largest z·e − |e|²/2. As one matrix product: subtracting the norms separately would double the time.
    ones = torch.ones_like(z[:, :1])
    halves = 0.5 * codes.square().sum(1, keepdim=True)
    return (torch.cat([z.detach(), -ones], 1) @ torch.cat([codes, halves], 1).T).argmax(1)


def _counts_and_sums(z: Tensor, indices: Tensor, vocabulary: int) -> tuple[Tensor, Tensor]:
    """Latents [N, d] and their codes [N] -> the number of latents of each code [K], and the sums of these [K, d]."""
    sums = torch.zeros(vocabulary, z.shape[1], dtype=z.dtype, device=z.device).index_add_(0, indices, z)
    return _counts(indices, vocabulary).to(z.dtype), sums


def _counts(indices: Tensor, vocabulary: int) -> Tensor:
    """Codes [N] -> how often each occurs [K] float32. `bincount` would wait for the GPU to learn the largest index."""
    ones = torch.ones(len(indices), device=indices.device)
    return torch.zeros(vocabulary, device=indices.device).index_add_(0, indices, ones)

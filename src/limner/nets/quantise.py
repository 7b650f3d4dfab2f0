"""Quantisers: maps of vectors to maps of codes, and back. Always in float32: in bfloat16 half of the codes are lost.

`VectorQuantiser` keeps a book of learned vectors (van den Oord et al. 2017, "Neural Discrete Representation Learning",
arXiv:1711.00937), `FiniteScalars` rounds each entry to a few levels (Mentzer et al. 2023, "Finite Scalar Quantization: VQ-VAE
Made Simple", arXiv:2309.15505). Their layer state moves only in `move_state`, from sums
over all chunks and processes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from limner.core.layer_state import StatefulLayer

DEAD = 0.1
"""A code is dead where it is used less than this share of what each would be if all were used alike."""
COLD = 160.0
"""Inverse temperature of the choice among the chunks' offers; e^±80 still leaves room in a float32 for vectors and sums."""
ROUNDS = 10
"""Of k-means."""


class Quantised(NamedTuple):
    """What became of latents [B, d, h, w]."""

    values: Tensor
    """[B, d, h, w]: the codes' vectors, with the gradient of the latents (straight-through estimator)."""
    indices: Tensor
    """[B, h, w] int64 in 0..K-1."""
    commitment: Tensor
    """[B]: mean over entries and places of (latent − vector)², with no gradient to the vector; the third term of eq. 3."""


def perplexity(counts: Tensor) -> Tensor:
    """0-d: e to the entropy of the shares of `counts` [K]: 1 where one code does all the work (or nothing was counted), K where
    all do the same."""
    shares = counts / counts.sum().clamp(min=1e-12)
    entropy: Tensor = torch.special.entr(shares).sum()
    return entropy.exp()


def usage(counts: Tensor) -> Tensor:
    """0-d: the share of codes that are alive, which is those used more than `DEAD` times as often as the mean code."""
    return (counts > DEAD * counts.mean()).float().mean()


class _Quantiser(StatefulLayer):
    """What both quantisers share: statistics of chunks, noted until the stepper takes them."""

    def __init__(self) -> None:
        super().__init__()
        self.notes: list[dict[str, Tensor]] = []

    def take_statistics(self) -> dict[str, Tensor]:
        """The sums over what was noted since the last call; empty where that is nothing."""
        sums: dict[str, Tensor] = {}
        for note in self.notes:
            for name, value in note.items():
                sums[name] = sums[name] + value if name in sums else value
        self.notes.clear()
        return sums


class VectorQuantiser(_Quantiser):
    """A book of `vocabulary` codes of `dim` entries, each the moving average of the latents nearest to it (appendix A.1).

    `half_life` is the average's, in images: 2,200 is the decay .99 of DeepMind's Sonnet at its batch of 32. With `normalised`,
    latents and codes lie on the unit sphere (Yu et al. 2021, arXiv:2110.04627). Before `start`, codes are drawn at random.
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
        """The sum of the latents that it stands for, per image."""

    def forward(self, latents: Tensor) -> Quantised:
        """[B, d, h, w], of any number format."""
        with torch.autocast(latents.device.type, enabled=False):
            z = self._rows(latents)
            indices = _nearest(z.flatten(0, 2), self.codes).view(z.shape[:3])
            codes = self.codes[indices]
            values = z + (codes - z).detach()
            return Quantised(values.permute(0, 3, 1, 2), indices, (z - codes).square().mean((1, 2, 3)))

    def lookup(self, indices: Tensor) -> Tensor:
        """[B, h, w] -> the codes' vectors [B, d, h, w]."""
        return self.codes[indices].permute(0, 3, 1, 2)

    def _rows(self, latents: Tensor) -> Tensor:
        """[B, d, h, w] -> [B, h, w, d] in float32, on the sphere where codes are."""
        z = latents.float().permute(0, 2, 3, 1)
        return F.normalize(z, dim=3) if self.normalised else z

    @torch.no_grad()
    def statistics(self, latents: Tensor, indices: Tensor, uniform: Tensor) -> dict[str, Tensor]:
        """What `move_state` needs to know of a chunk; to be added over chunks and processes. `uniform` [2, K] are draws
        from [0, 1).

        Every code is offered one of the chunk's latents, should it be dead. Only sums travel, so among the chunks' offers a
        softmax chooses that is so cold that its mean is one of them, nearly.
        """
        z = self._rows(latents).flatten(0, 2)
        offered = z[(uniform[0] * len(z)).long().clamp(max=len(z) - 1)]
        weights = torch.exp(COLD * (uniform[1].float() - 0.5))
        counts, vectors = _tally(z, indices.flatten(), self.vocabulary)
        images = torch.full_like(weights[:1], len(latents))
        offers = {"offers": weights[:, None] * offered, "weights": weights}
        return {"images": images, "counts": counts, "vectors": vectors, **offers}

    @torch.no_grad()
    def move_state(self, sums: Mapping[str, Tensor]) -> None:
        """One step of the averages, and the codes that follow from them; dead codes become latents that were offered."""
        if not sums:
            return
        way = 1 - 0.5 ** (sums["images"] / self.half_life)
        self.counts.lerp_(sums["counts"] / sums["images"], way)
        self.sums.lerp_(sums["vectors"] / sums["images"], way)
        mean = self.counts.mean()
        dead = self.counts < DEAD * mean
        offered = sums["offers"] / sums["weights"][:, None]
        # Both, or the next move would find the code as dead as before, and its vector a mixture of old and new.
        self.counts.copy_(torch.where(dead, mean, self.counts))
        self.sums.copy_(torch.where(dead[:, None], mean * offered, self.sums))
        self._follow()

    def _follow(self, eps: float = 1e-5) -> None:
        """Codes are sums over counts, which are smoothed (Laplace) so that none is divided by nothing."""
        total = self.counts.sum()
        smoothed = (self.counts + eps) / (total + self.vocabulary * eps) * total
        codes = self.sums / smoothed[:, None]
        self.codes.copy_(F.normalize(codes, dim=1) if self.normalised else codes)

    @torch.no_grad()
    def start(self, latents: Tensor, seed: int) -> None:
        """k-means on latents [B, d, h, w], from latents chosen by `seed`; `move_state` revives codes left empty."""
        z = self._rows(latents).flatten(0, 2)
        order = torch.randperm(len(z), generator=torch.Generator().manual_seed(seed)).to(z.device)
        centres = z[order[torch.arange(self.vocabulary, device=z.device) % len(z)]]
        for _ in range(ROUNDS):
            counts, vectors = _tally(z, _nearest(z, centres), self.vocabulary)
            centres = torch.where(counts[:, None] > 0, vectors / counts.clamp(min=1)[:, None], centres)
            centres = F.normalize(centres, dim=1) if self.normalised else centres
        self.counts.copy_(counts / len(latents))
        self.sums.copy_(vectors / len(latents))
        self.codes.copy_(centres)


class FiniteScalars(_Quantiser):
    """Each of len(levels) entries is rounded to one of levels[i] values in [-1, 1]; a code is their combination. No state but
    for the counts, which only tell how codes are used, and no loss of its own."""

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
        """[B, len(levels), h, w], of any number format."""
        with torch.autocast(latents.device.type, enabled=False):
            z = latents.float().permute(0, 2, 3, 1)
            bounded = self._bound(z)
            half = self.levels // 2
            values = (bounded + (bounded.round() - bounded).detach()) / half
            indices = ((values.detach() * half + half) * self.basis).sum(3).round().long()
            return Quantised(values.permute(0, 3, 1, 2), indices, torch.zeros_like(z[:, 0, 0, 0]))

    def _bound(self, z: Tensor) -> Tensor:
        """f(z) of appendix A.1: a tanh that spans just the levels, moved by half a level where their number is even."""
        return torch.tanh(z + self.shift) * self.span - self.offset

    def lookup(self, indices: Tensor) -> Tensor:
        """[B, h, w] -> the codes' vectors [B, len(levels), h, w]."""
        places = indices[..., None] // self.basis % self.levels
        half = self.levels // 2
        return ((places - half) / half).permute(0, 3, 1, 2)

    @torch.no_grad()
    def statistics(self, latents: Tensor, indices: Tensor) -> dict[str, Tensor]:
        """What `move_state` needs to know of a chunk."""
        counts = _counts(indices.flatten(), self.vocabulary)
        return {"images": torch.full_like(counts[:1], len(latents)), "counts": counts}

    @torch.no_grad()
    def move_state(self, sums: Mapping[str, Tensor]) -> None:
        """One step of the average of how often each code is used."""
        if sums:
            way = 1 - 0.5 ** (sums["images"] / self.half_life)
            self.counts.lerp_(sums["counts"] / sums["images"], way)

    def start(self, latents: Tensor, seed: int) -> None:
        """There is nothing to start from data."""


def _nearest(z: Tensor, codes: Tensor) -> Tensor:
    """[N, d] and [K, d] -> [N]: the code with the least |z − e|², of which |z|² is the same for all."""
    # z·e − |e|²/2 as one product of matrices: adding the norms by themselves would cost as much again.
    ones = torch.ones_like(z[:, :1])
    halves = 0.5 * codes.square().sum(1, keepdim=True)
    return (torch.cat([z.detach(), -ones], 1) @ torch.cat([codes, halves], 1).T).argmax(1)


def _tally(z: Tensor, indices: Tensor, vocabulary: int) -> tuple[Tensor, Tensor]:
    """[N, d] and [N] -> how many latents each code has [K], and their sums [K, d]."""
    sums = torch.zeros(vocabulary, z.shape[1], dtype=z.dtype, device=z.device).index_add_(0, indices, z)
    return _counts(indices, vocabulary).to(z.dtype), sums


def _counts(indices: Tensor, vocabulary: int) -> Tensor:
    """[N] -> [K] float32. `bincount` would make the host wait for a GPU, to see whether there is a larger index."""
    ones = torch.ones(len(indices), device=indices.device)
    return torch.zeros(vocabulary, device=indices.device).index_add_(0, indices, ones)

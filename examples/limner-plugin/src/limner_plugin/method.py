"""`letters`: pictures are Gaussian around a mean that depends on which pairs of letters stand in the caption.

    p(x | caption) = N(mean(pairs), diag(deviation(pairs)²))

It is as small as a method can be: one player, one phase, one network. As a baseline it says how much of a picture its caption
explains to whoever cannot read, but has learned that captions with "bl" and "lu" in them belong to pictures with blue in them.
Where a caption does not say where a thing is, the mean picture shows it as a faint cloud of its colour.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from limner.core.capabilities import Codec
from limner.core.cond import Batch, Cond
from limner.core.config import DataSpec, Sampling
from limner.core.method import Losses, Method, Phase, Player, StepContext
from limner.core.seeds import noise
from limner_plugin.config import LettersConfig, LettersSampling

PAIRS = 1024
"""Numbers that a pair of letters may get. Pairs of small letters get 26² different ones; a few others share theirs."""


def count_pairs(text: Tensor) -> Tensor:
    """[B, L] of caption bytes, each + 1, and 0 behind the end -> [B, PAIRS]: how often each pair of letters stands there."""
    first, second = text[:, :-1], text[:, 1:]
    counts = torch.zeros(len(text), PAIRS, device=text.device)
    return counts.scatter_add_(1, (31 * first + second) % PAIRS, (second > 0).float())


class Letters(Method):
    """The method. `codec` is what it works in: the pixels, unless a recipe gives it the latents of an autoencoder."""

    sampling_type = LettersSampling

    def __init__(self, config: LettersConfig, codec: Codec, spec: DataSpec) -> None:
        super().__init__(codec)
        self.config = config
        self.accepts = frozenset({"text"} if spec.caption_length else ())  # without captions: one mean for all pictures
        hidden = nn.Linear(PAIRS, config.width)
        self.network = nn.Sequential(hidden, nn.ReLU(), nn.Linear(config.width, 2 * math.prod(codec.shape)))

    def players(self) -> Mapping[str, Player]:
        """Which weights move, and by which optimiser."""
        return {"letters": Player("network", self.config.optimiser)}

    def phases(self) -> tuple[Phase, ...]:
        """What happens in one iteration: one forward pass, after which the one player moves."""
        return (Phase("likelihood", ("letters",)),)

    def losses(self, phase: str, batches: tuple[Batch, ...], at: StepContext) -> Losses:
        """The negative log-likelihood of each picture, in nats per entry and without the constant log(2π)/2."""
        (batch,) = batches
        target = self.codec.encode(batch.images).flatten(1)
        mean, log_deviation = self.gaussian(batch.cond, len(batch))
        nats = 0.5 * ((target - mean) / log_deviation.exp()).square() + log_deviation
        return Losses({"letters": nats.mean(1)}, logs={"squared_error": (target - mean).square().mean(1)})

    @torch.no_grad()
    def sample(self, seeds: Sequence[int], cond: Cond, sampling: Sampling) -> Tensor:
        """[len(seeds), C, H, W] in [-1, 1]; picture i depends on seeds[i] and on row i of `cond` alone."""
        assert isinstance(sampling, LettersSampling)
        mean, log_deviation = self.gaussian(cond, len(seeds))
        normal = noise(seeds, mean.shape[1]).to(self.device)
        latents = mean + sampling.spread * log_deviation.exp() * normal
        return self.codec.decode(latents.view(len(seeds), *self.codec.shape)).clamp(-1, 1)

    def gaussian(self, cond: Cond, count: int) -> tuple[Tensor, Tensor]:
        """Mean and log of the standard deviation of `count` pictures, [count, entries] each."""
        pairs = torch.zeros(count, PAIRS, device=self.device) if cond.text is None else count_pairs(cond.text)
        mean, log_deviation = self.network(pairs).float().chunk(2, dim=1)
        return mean, log_deviation.clamp(min=-5)

"""A prior over the codes of a frozen codec: a causal transformer that draws them one after the other (van den Oord et al. 2017,
arXiv:1711.00937, section 3.3, with a transformer in the place of the PixelCNN, as in Esser, Rombach & Ommer 2021,
arXiv:2012.09841, section 3.2).

One player. The loss is −log p(codes), in nats per image; with classes, given the class.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from limner.core.capabilities import Autoencoder, Codec
from limner.core.cond import Batch, Cond
from limner.core.config import ConditionKind, DataSpec, Sampling
from limner.core.diagnosis import Rule
from limner.core.errors import InputError
from limner.core.method import Losses, Method, Phase, Player, StepContext
from limner.core.precision import float64_device
from limner.core.seeds import noise
from limner.methods.labels import count_labels, draw_labels, even_shares, require_classes
from limner.methods.vq.config import PriorSampling, ResolvedPriorConfig
from limner.methods.vq.diagnosis import PRIOR_RULES
from limner.nets.transformer import CausalTransformer, TransformerSize, sample_categorical


class Prior(Method, Autoencoder):
    """Also a Codec, by its own: `encode` and `decode` are the frozen codec's, so that a whole run reconstructs."""

    chunk: ClassVar[int] = 128
    sampling_type = PriorSampling

    shares: Tensor

    def __init__(self, config: ResolvedPriorConfig, codec: Codec, spec: DataSpec) -> None:
        super().__init__(codec)
        if codec.kind != "codes" or codec.vocabulary is None or len(codec.shape) != 2:
            raise InputError(
                "a prior draws codes, and nothing here makes any; give codec=RUN, a finished run of vq-vae, fsq or vqgan, or "
                "use one of these presets"
            )
        self.config = config
        if config.labels:
            require_classes(spec)
        self.accepts: frozenset[ConditionKind] = frozenset({"label"} if config.labels else ())
        size = TransformerSize(config.width, config.depth, config.heads, config.dropout)
        classes = len(spec.classes) if config.labels else 0
        self.transformer = CausalTransformer(codec.vocabulary, (codec.shape[0], codec.shape[1]), size, classes)
        self.register_buffer("shares", even_shares(len(spec.classes)))

    def players(self) -> Mapping[str, Player]:
        return {"prior": Player("transformer", self.config.optimiser, self.config.clip)}

    def phases(self) -> tuple[Phase, ...]:
        return (Phase("likelihood", ("prior",)),)

    def diagnosis(self) -> tuple[Rule, ...]:
        return PRIOR_RULES

    def losses(self, phase: str, batches: tuple[Batch, ...], at: StepContext) -> Losses:
        (batch,) = batches
        nats = self.nats(self.encoded(batch), batch.cond.label)
        return Losses({"prior": nats}, logs={"code_bits_per_dim": nats / (batch.images[0].numel() * math.log(2))})

    def nats(self, codes: Tensor, label: Tensor | None) -> Tensor:
        """[B, h, w] codes (and a class [B]) -> [B]: −log p(codes), exactly; in float32."""
        rows = codes.flatten(1)
        logits = self.transformer(rows, label if self.config.labels else None)
        return F.cross_entropy(logits.flatten(0, 1), rows.flatten(), reduction="none").view(rows.shape).sum(1)

    @torch.no_grad()
    def sample(self, seeds: Sequence[int], cond: Cond, sampling: Sampling) -> Tensor:
        """[len(seeds), C, H, W] in [-1, 1]; `sampling` is a `PriorSampling`."""
        assert isinstance(sampling, PriorSampling)
        temperature, top_k, top_p = sampling.temperature, sampling.top_k, sampling.top_p
        normal = noise(seeds, self.transformer.length, stream="codes").double()
        uniform = torch.special.ndtr(normal).to(float64_device(self.device))
        codes = self.transformer.draw(
            len(seeds),
            self.conditions(seeds, cond).label,
            lambda place, logits: sample_categorical(logits, uniform[:, place], temperature, top_k, top_p),
        )
        return self.codec.decode(codes.view(-1, *self.codec.shape))

    def conditions(self, seeds: Sequence[int], requested: Cond) -> Cond:
        """With a class drawn by the seed where none is requested, as often as it was in training."""
        return replace(requested, label=draw_labels(self.shares, seeds, requested.label) if self.config.labels else None)

    def fit_at_start(self, batches: Iterable[Batch]) -> None:
        """How often each class is there."""
        if self.config.labels:
            count_labels(batches, self.shares)

    def encode(self, images: Tensor) -> Tensor:
        """[B, C, H, W] in [-1, 1] -> [B, h, w] int64, the codec's."""
        return self.codec.encode(images)

    def decode(self, latents: Tensor) -> Tensor:
        """[B, h, w] int64 -> [B, C, H, W] in [-1, 1], the codec's."""
        return self.codec.decode(latents)

"""A prior over the codes of a frozen codec: a causal transformer that draws them one after the other (van den Oord et al. 2017,
arXiv:1711.00937, section 3.3, with a transformer in the place of the PixelCNN, as in Esser, Rombach & Ommer 2021,
arXiv:2012.09841, section 3.2).

One player. The loss is −log p(codes), in nats per image; with classes, given the class.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor

from limner.core.capabilities import Autoencoder, Codec, CodecKind
from limner.core.cond import Batch, Cond
from limner.core.diagnosis import Rule
from limner.core.errors import InputError
from limner.core.method import Losses, Method, MethodConfig, Phase, Player, RunContext, StepContext
from limner.core.optim import Clip, Optimiser
from limner.core.precision import float64_device
from limner.core.schedule import Schedule
from limner.core.seeds import noise
from limner.methods.labels import count_labels, draw_labels
from limner.methods.vq.diagnosis import PRIOR_RULES
from limner.nets.transformer import CausalTransformer, TransformerSize, sample_categorical

RARE = 20
"""Training pictures below which a class is not learned by itself where nobody asks for it."""


class PriorConfig(MethodConfig):
    """The prior's own choices."""

    takes: ClassVar[CodecKind] = "codes"

    kind: Literal["prior"] = "prior"
    width: int = Field(128, ge=1)
    depth: int = Field(4, ge=1)
    heads: int = Field(4, ge=1)
    dropout: float = Field(0.1, ge=0, lt=1)
    labels: bool | Literal["auto"] = "auto"
    """Learn each class of the data: pictures are then made by class. `auto`: where there are classes, and none is rare."""
    optimiser: Optimiser = Optimiser(
        kind="adamw", lr=Schedule(value=1e-3), betas=(0.9, Schedule(value=0.95)), weight_decay=0.01
    )
    clip: Clip | None = None

    @model_validator(mode="after")
    def _divides(self) -> PriorConfig:
        if self.width % self.heads:
            raise ValueError(f"heads={self.heads} does not divide width={self.width}")
        return self

    def settled(self, facts: RunContext) -> PriorConfig:
        """labels="auto" as yes or no."""
        if self.labels != "auto":
            return self
        return self.model_copy(update={"labels": facts.classes >= 2 and facts.rarest >= RARE})


class Prior(Method, Autoencoder):
    """Also a Codec, by its own: `encode` and `decode` are the frozen codec's, so that a whole run reconstructs."""

    chunk: ClassVar[int] = 128
    knobs: ClassVar[frozenset[str]] = frozenset({"temperature", "top_k", "top_p"})

    shares: Tensor

    def __init__(self, config: PriorConfig, codec: Codec, classes: tuple[str, ...] = ()) -> None:
        super().__init__(codec)
        if codec.kind != "codes" or codec.vocabulary is None or len(codec.shape) != 2:
            raise InputError(
                "a prior draws codes, and nothing here makes any; give codec=RUN, a finished run of vq-vae, fsq or vqgan, or "
                "use one of these presets"
            )
        self.config = config
        self.conditional = config.labels is True  # a run has settled "auto"; a Method built by itself goes without
        if self.conditional and not classes:
            raise InputError("method.labels=true needs pictures with classes (sub-folders, or a label column); these have none")
        size = TransformerSize(config.width, config.depth, config.heads, config.dropout)
        known = len(classes) if self.conditional else 0
        self.transformer = CausalTransformer(codec.vocabulary, (codec.shape[0], codec.shape[1]), size, known)
        self.register_buffer("shares", torch.full((max(len(classes), 1),), 1 / max(len(classes), 1)))

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
        logits = self.transformer(rows, label if self.conditional else None)
        return F.cross_entropy(logits.flatten(0, 1), rows.flatten(), reduction="none").view(rows.shape).sum(1)

    @torch.no_grad()
    # Many parameters: what a person may ask of a draw, each by its own name.
    def sample(
        self, seeds: Sequence[int], cond: Cond, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0, **knobs: Any
    ) -> Tensor:
        """`temperature`, `top_k`, `top_p` as in `sample_categorical`: lower ones give more typical, less varied pictures."""
        normal = noise(seeds, self.transformer.length, stream="codes").double()
        uniform = torch.special.ndtr(normal).to(float64_device(self.device))
        codes = self.transformer.draw(
            len(seeds),
            self.labels(seeds, cond.label),
            lambda place, logits: sample_categorical(logits, uniform[:, place], temperature, top_k, top_p),
        )
        return self.codec.decode(codes.view(-1, *self.codec.shape))

    def labels(self, seeds: Sequence[int], asked: Tensor | None = None) -> Tensor | None:
        """What was asked for; where that is nothing (-1), a class drawn by the seed, as often as it was in training."""
        return draw_labels(self.shares, seeds, asked) if self.conditional else None

    def fit(self, batches: Iterable[Batch], when: Literal["start", "checkpoint"]) -> None:
        """At the start: how often each class is there."""
        if when == "start" and self.conditional:
            count_labels(batches, self.shares)

    def encode(self, images: Tensor) -> Tensor:
        """[B, C, H, W] in [-1, 1] -> [B, h, w] int64, the codec's."""
        return self.codec.encode(images)

    def decode(self, latents: Tensor) -> Tensor:
        """[B, h, w] int64 -> [B, C, H, W] in [-1, 1], the codec's."""
        return self.codec.decode(latents)

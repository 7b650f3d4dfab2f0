"""`letters`: a Gaussian whose mean picture depends on how often each letter stands in the caption.

It is as small as a method can be: one player, one phase, one network. For captions that differ in their words it is a fair
baseline: it says how much of a picture the mere letters of its caption explain.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from limner.core.config import ConditionKind, DataSpec
from limner.recipes.registry import Family, Preset
from limner_plugin.config import LettersConfig, LettersSampling

if TYPE_CHECKING:
    from limner.core.capabilities import Codec
    from limner.core.method import Method


def build(config: LettersConfig, codec: Codec, spec: DataSpec) -> Method:
    """The untrained method. torch is imported here, and not when limner lists its methods."""
    import torch
    from torch import Tensor, nn

    from limner.core.cond import Batch, Cond
    from limner.core.method import Losses, Method, Phase, Player, StepContext
    from limner.core.seeds import noise

    class Letters(Method):
        """p(x | caption) = N(mean(caption), diag(sigma(caption)²)), over the codec's latents or the pixels."""

        sampling_type = LettersSampling

        def __init__(self) -> None:
            super().__init__(codec)
            self.accepts: frozenset[ConditionKind] = frozenset({"text"} if spec.caption_length else ())
            entries = math.prod(codec.shape)
            self.network = nn.Sequential(nn.Linear(257, config.width), nn.ReLU(), nn.Linear(config.width, 2 * entries))

        def players(self) -> Mapping[str, Player]:
            return {"letters": Player("network", config.optimiser)}

        def phases(self) -> tuple[Phase, ...]:
            return (Phase("likelihood", ("letters",)),)

        def gaussian(self, count: int, text: Tensor | None) -> tuple[Tensor, Tensor]:
            """Mean and log standard deviation, [count, entries] each; `text` [count, L] holds bytes + 1; 0 is padding."""
            letters = torch.zeros(count, 257, device=self.device)
            if text is not None:
                letters.scatter_add_(1, text, torch.ones_like(text, dtype=letters.dtype))
            letters = torch.cat([torch.zeros_like(letters[:, :1]), letters[:, 1:]], 1)  # padding says nothing
            mean, log_sigma = self.network(letters).float().chunk(2, dim=1)
            return mean, 3 * torch.tanh(log_sigma / 3)

        def losses(self, phase: str, batches: tuple[Batch, ...], at: StepContext) -> Losses:
            (batch,) = batches
            target = codec.encode(batch.images).flatten(1)
            mean, log_sigma = self.gaussian(len(batch), batch.cond.text if "text" in self.accepts else None)
            nats = (0.5 * ((target - mean) / log_sigma.exp()).square() + log_sigma).mean(1)
            return Losses({"letters": nats}, {"squared_error": (target - mean).square().mean(1)})

        @torch.no_grad()
        def sample(self, seeds: Sequence[int], cond: Cond, sampling: Any) -> Tensor:
            mean, log_sigma = self.gaussian(len(seeds), cond.text if "text" in self.accepts else None)
            drawn = mean + sampling.spread * log_sigma.exp() * noise(seeds, mean.shape[1]).to(self.device)
            return codec.decode(drawn.view(len(seeds), *codec.shape)).clamp(-1, 1)

    return Letters()


FAMILY = Family(LettersConfig, LettersSampling, build, "a Gaussian picture for the letters of a caption", "an example")
PRESET = Preset("letters", "what the letters of a caption say of a picture", "an example", recipe="method:\n  kind: letters\n")

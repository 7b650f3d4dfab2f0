"""A causal transformer over images of codes, and how a code is sampled from its logits.

The architecture is that of Vaswani et al. 2017 (arXiv:1706.03762) with layer norm before each sublayer, as in Radford et al.
2019 ("Language Models are Unsupervised Multitask Learners"); sampling uses a cache of keys and values.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limner.core.precision import in_float64, no_autocast
from limner.nets.cpu import Dropout
from limner.nets.layers import rows_for_labels

INIT_STD = 0.02
"""Standard deviation of the initial weights (Radford et al. 2019)."""


def attend(q: Tensor, k: Tensor, v: Tensor, causal: bool) -> Tensor:
    """Queries [B, heads, T, d], keys and values [B, heads, S, d] -> [B, heads, T, d]: softmax(q·kᵀ/√d)·v.

    With `causal`, a query at t attends to keys up to t only. A CPU computes it by plain matrix products, because the gradient
    of torch's fused kernel takes seven times as long in bfloat16 (29 ms against 4 for 64 sequences of 49 codes, 4 heads of 32
    entries, one thread). Scores are float32, as in the fused kernel: rounded to bfloat16 they would save a twentieth of the
    time, and the error of the gradients of q and k would be 6 % instead of 0.8 %.
    """
    if q.device.type != "cpu":
        fused: Tensor = F.scaled_dot_product_attention(q, k, v, is_causal=causal)
        return fused
    wide = torch.promote_types(q.dtype, torch.float32)
    with no_autocast(q.device):
        scores = (q.to(wide) @ k.to(wide).mT) * q.shape[3] ** -0.5
    if causal:
        scores = scores + torch.full(scores.shape[2:], -torch.inf, device=q.device).triu(1)
    values: Tensor = scores.softmax(3).to(v.dtype) @ v
    return values


class TransformerBlock(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)), on sequences [B, T, width]."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.drop = Dropout(dropout)

    def forward(self, x: Tensor, cache: Tensor | None = None, place: int = 0) -> Tensor:
        """[B, T, width] -> the same.

        With a `cache` of keys and values [2, B, heads, length, width / heads], `x` [B, 1, width] is the entry at `place` alone;
        its key and value are added to the cache.
        """
        q, k, v = self.qkv(self.norm1(x)).view(*x.shape[:2], 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        if cache is not None:
            cache[0, :, :, place], cache[1, :, :, place] = k[:, :, 0], v[:, :, 0]
            k, v = cache[:, :, :, : place + 1]
        values = attend(q, k, v, causal=cache is None)
        x = x + self.drop(self.out(values.transpose(1, 2).flatten(2)))
        x = x + self.drop(self.down(F.silu(self.up(self.norm2(x)))))
        return x


@dataclass(frozen=True)
class TransformerSize:
    """How large a transformer is."""

    width: int
    """Entries of each position's vector."""
    depth: int
    """Blocks."""
    heads: int
    """Attention heads; a divisor of `width`."""
    dropout: float
    """Share of entries that are set to zero in training."""


class CausalTransformer(nn.Module):
    """Codes [B, T] int64, class numbers [B] (-1 or None: no class) -> logits [B, T, vocabulary] of each code, given all before.

    The codes form an image of `grid` = (rows, columns), T = rows · columns, row by row. The input at a position is the sum of
    learned embeddings of the code before it, of the code above it, of the position and of the class; all of these are known
    before the code itself.
    """

    def __init__(self, vocabulary: int, grid: tuple[int, int], size: TransformerSize, classes: int = 0) -> None:
        super().__init__()
        width, depth = size.width, size.depth
        self.vocabulary, self.length, self.columns, self.heads = vocabulary, grid[0] * grid[1], grid[1], size.heads
        # One embedding more than there are codes: nothing stands before the first code, or above the first row.
        self.before, self.above = nn.Embedding(vocabulary + 1, width), nn.Embedding(vocabulary + 1, width)
        self.place = nn.Parameter(torch.empty(self.length, width))
        self.kind = nn.Embedding(classes, width) if classes else None
        self.drop = Dropout(size.dropout)
        self.blocks = nn.ModuleList(TransformerBlock(width, size.heads, size.dropout) for _ in range(depth))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary)
        for name, weight in self.named_parameters():
            if (
                weight.dim() > 1
            ):  # layers that add to the residual stream: scaled down by its depth (Radford et al. 2019, section 2.3)
                is_residual = name.endswith(("out.weight", "down.weight"))
                nn.init.normal_(weight, 0.0, INIT_STD / (2 * depth) ** 0.5 if is_residual else INIT_STD)
            elif name.endswith("bias"):
                nn.init.zeros_(weight)

    def forward(self, codes: Tensor, label: Tensor | None = None) -> Tensor:
        start = torch.full_like(codes, self.vocabulary)
        before = torch.cat([start[:, :1], codes[:, :-1]], 1)
        above = torch.cat([start[:, : self.columns], codes[:, : -self.columns]], 1)
        x = self.drop(self._enter(before, above, self.place, label))
        for block in self.blocks:
            x = block(x)
        return self._leave(x)

    def _enter(self, before: Tensor, above: Tensor, place: Tensor, label: Tensor | None) -> Tensor:
        """The sum of embeddings: codes [B, T], codes [B, T], positions [T, width] and classes [B] -> [B, T, width]."""
        x: Tensor = self.before(before) + self.above(above) + place
        return x if self.kind is None else x + rows_for_labels(self.kind.weight, label)[:, None]

    def _leave(self, x: Tensor) -> Tensor:
        """[B, T, width] -> logits [B, T, vocabulary] in float32: bfloat16 rounds a logit of 10 to ±0.03, too much for a
        likelihood."""
        with no_autocast(x.device):
            logits: Tensor = self.head(self.norm(x.to(self.head.weight.dtype)))
        return logits

    @torch.no_grad()
    def draw(self, count: int, label: Tensor | None, choose: Callable[[int, Tensor], Tensor]) -> Tensor:
        """Codes [count, T], sampled one position after the other.

        `choose` gets the position and the logits [count, vocabulary] there, and returns the codes [count]. `label` [count] or
        None is the class.
        """
        weight = self.head.weight
        shape = (len(self.blocks), 2, count, self.heads, self.length, weight.shape[1] // self.heads)
        cache = torch.empty(shape, dtype=weight.dtype, device=weight.device)
        codes = torch.full((count, self.length), self.vocabulary, device=weight.device)
        start = codes[:, :1].clone()
        for place in range(self.length):
            before = codes[:, place - 1 : place] if place else start
            above = codes[:, place - self.columns : place - self.columns + 1] if place >= self.columns else start
            x = self._enter(before, above, self.place[place], label)
            for block, of_block in zip(self.blocks, cache, strict=True):
                x = block(x, of_block, place)
            codes[:, place] = choose(place, self._leave(x)[:, 0])
        return codes


def sample_categorical(logits: Tensor, uniform: Tensor, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0) -> Tensor:
    """Logits [B, K] and `uniform` [B] in [0, 1] -> a category of each row [B] int64, by inverting the distribution function.

    `temperature` divides the logits. Then only the `top_k` likeliest categories remain (0: all; Fan et al. 2018,
    arXiv:1805.04833), and of these the smallest set that has the probability `top_p` (Holtzman et al. 2019, arXiv:1904.09751).

    >>> sample_categorical(torch.zeros(3, 4), torch.tensor([0.1, 0.4, 0.9]))
    tensor([0, 1, 3])
    """
    probabilities = (in_float64(logits) / temperature).softmax(1)
    if 0 < top_k < probabilities.shape[1] or top_p < 1:
        likeliest, order = probabilities.sort(dim=1, descending=True, stable=True)
        if top_k > 0:
            likeliest[:, top_k:] = 0
            likeliest /= likeliest.sum(1, keepdim=True)
        likeliest[likeliest.cumsum(1) - likeliest >= top_p] = 0
        probabilities = torch.zeros_like(probabilities).scatter_(1, order, likeliest)
    cumulative = probabilities.cumsum(1)
    # The first category at which the sum reaches `uniform`; a uniform of 0 would select one of probability 0.
    target = uniform.to(probabilities).clamp(min=1e-12)[:, None] * cumulative[:, -1:]
    return (cumulative < target).sum(1).clamp(max=probabilities.shape[1] - 1).to(logits.device)

"""A causal transformer over sequences of codes (Vaswani et al. 2017, arXiv:1706.03762; normalised before each part, as in
Radford et al. 2019, "Language Models are Unsupervised Multitask Learners"), with a cache of keys and values, and the draw.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limner.core.precision import in_float64
from limner.nets.cpu import Dropout
from limner.nets.layers import rows_of

STD = 0.02


def attend(q: Tensor, k: Tensor, v: Tensor, causal: bool) -> Tensor:
    """[B, heads, T, d], [B, heads, S, d] twice -> [B, heads, T, d]: softmax(q·kᵀ/√d)·v, where `causal` only what is not later.

    On a CPU by plain products: the gradient of torch's fused kernel takes seven times as long in bfloat16 (29 ms against 4 for
    64 sequences of 49 codes, 4 heads of 32 entries, on one thread). Scores are float32, as in that kernel: a score of 10 known
    to ±.03 makes gradients of q and k 6 % wrong instead of .8 %, and saves a twentieth of the time.
    """
    if q.device.type != "cpu":
        fused: Tensor = F.scaled_dot_product_attention(q, k, v, is_causal=causal)
        return fused
    wide = torch.promote_types(q.dtype, torch.float32)
    with torch.autocast(q.device.type, enabled=False):
        scores = (q.to(wide) @ k.to(wide).mT) * q.shape[3] ** -0.5
    if causal:
        scores = scores + torch.full(scores.shape[2:], -torch.inf, device=q.device).triu(1)
    seen: Tensor = scores.softmax(3).to(v.dtype) @ v
    return seen


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.drop = Dropout(dropout)

    def forward(self, x: Tensor, cache: Tensor | None = None, place: int = 0) -> Tensor:
        """[B, T, width]; with a `cache` [2, B, heads, length, width / heads] x is the one entry at `place`, T = 1."""
        q, k, v = self.qkv(self.norm1(x)).view(*x.shape[:2], 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        if cache is not None:
            cache[0, :, :, place], cache[1, :, :, place] = k[:, :, 0], v[:, :, 0]
            k, v = cache[:, :, :, : place + 1]
        seen = attend(q, k, v, causal=cache is None)
        x = x + self.drop(self.out(seen.transpose(1, 2).flatten(2)))
        x = x + self.drop(self.down(F.silu(self.up(self.norm2(x)))))
        return x


@dataclass(frozen=True)
class TransformerSize:
    """How large a transformer is; `heads` divides `width`, and `dropout` is the share of entries set to zero in training."""

    width: int
    depth: int
    heads: int
    dropout: float


class CausalTransformer(nn.Module):
    """Codes [B, T] (and a class [B], -1 for none) -> logits [B, T, vocabulary] for each code, given those before it.

    T = rows · columns places (`grid`), row by row. What enters at a place is the code left of it (the one before), the code
    above it, both learned embeddings, the place, and the class; all of them lie before what is to be told.
    """

    def __init__(self, vocabulary: int, grid: tuple[int, int], size: TransformerSize, classes: int = 0) -> None:
        super().__init__()
        width, depth = size.width, size.depth
        self.vocabulary, self.length, self.columns, self.heads = vocabulary, grid[0] * grid[1], grid[1], size.heads
        # One more than there are codes: nothing is before the first, or above the first row.
        self.before, self.above = nn.Embedding(vocabulary + 1, width), nn.Embedding(vocabulary + 1, width)
        self.place = nn.Parameter(torch.empty(self.length, width))
        self.kind = nn.Embedding(classes, width) if classes else None
        self.drop = Dropout(size.dropout)
        self.blocks = nn.ModuleList(Block(width, size.heads, size.dropout) for _ in range(depth))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary)
        for name, weight in self.named_parameters():
            if weight.dim() > 1:  # parts that add to the stream are scaled by its depth (Radford et al. 2019, section 2.3)
                added = name.endswith(("out.weight", "down.weight"))
                nn.init.normal_(weight, 0.0, STD / (2 * depth) ** 0.5 if added else STD)
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
        """[B, T], [B, T], [T, width] and [B] -> [B, T, width]."""
        x: Tensor = self.before(before) + self.above(above) + place
        return x if self.kind is None else x + rows_of(self.kind.weight, label)[:, None]

    def _leave(self, x: Tensor) -> Tensor:
        """Logits in float32: a bfloat16 one of 10 is known to ±.03, too coarse for a likelihood."""
        with torch.autocast(x.device.type, enabled=False):
            logits: Tensor = self.head(self.norm(x.to(self.head.weight.dtype)))
        return logits

    @torch.no_grad()
    def draw(self, count: int, label: Tensor | None, choose: Callable[[int, Tensor], Tensor]) -> Tensor:
        """[count, T] codes, one place after the other: `choose` is given the place and the logits [count, vocabulary] there,
        and gives the codes [count]."""
        weight = self.head.weight
        shape = (len(self.blocks), 2, count, self.heads, self.length, weight.shape[1] // self.heads)
        cache = torch.empty(shape, dtype=weight.dtype, device=weight.device)
        codes = torch.full((count, self.length), self.vocabulary, device=weight.device)
        start = codes[:, :1].clone()
        for place in range(self.length):
            before = codes[:, place - 1 : place] if place else start
            above = codes[:, place - self.columns : place - self.columns + 1] if place >= self.columns else start
            x = self._enter(before, above, self.place[place], label)
            for block, held in zip(self.blocks, cache, strict=True):
                x = block(x, held, place)
            codes[:, place] = choose(place, self._leave(x)[:, 0])
        return codes


def pick(logits: Tensor, uniform: Tensor, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0) -> Tensor:
    """Logits [B, K] and [B] in [0, 1] -> [B]: a code of each row, drawn by inverting the distribution function.

    `temperature` divides the logits; of what is left, only the `top_k` likeliest codes stay (0: all; Fan et al. 2018,
    arXiv:1805.04833), and of these the fewest that have `top_p` of the mass (Holtzman et al. 2019, arXiv:1904.09751).
    """
    chances = (in_float64(logits) / temperature).softmax(1)
    if 0 < top_k < chances.shape[1] or top_p < 1:
        likeliest, order = chances.sort(dim=1, descending=True, stable=True)
        if top_k > 0:
            likeliest[:, top_k:] = 0
            likeliest /= likeliest.sum(1, keepdim=True)
        likeliest[likeliest.cumsum(1) - likeliest >= top_p] = 0
        chances = torch.zeros_like(chances).scatter_(1, order, likeliest)
    reached = chances.cumsum(1)
    # The first place where the sum reaches the draw; a draw of 0 would take what has no chance at all.
    target = uniform.to(chances).clamp(min=1e-12)[:, None] * reached[:, -1:]
    return (reached < target).sum(1).clamp(max=chances.shape[1] - 1).to(logits.device)

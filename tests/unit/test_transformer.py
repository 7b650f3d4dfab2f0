"""The transformer over codes: causal, cached as it is whole, a distribution that sums to one; and the draw."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
import torch
from torch import Tensor

from limner.nets.transformer import CausalTransformer, TransformerSize, sample_categorical


def network(vocabulary: int = 11, size: tuple[int, int] = (3, 4), classes: int = 3, **more: int) -> CausalTransformer:
    """In evaluation mode, with weights large enough for every part to matter."""
    torch.manual_seed(0)
    made = CausalTransformer(vocabulary, size, TransformerSize(more.get("width", 16), more.get("depth", 3), 4, 0.1), classes)
    with torch.no_grad():
        for weight in made.parameters():
            weight.add_(0.3 * torch.randn_like(weight))
    return made.eval()


def codes_like(net: CausalTransformer, count: int = 5) -> Tensor:
    return torch.randint(net.vocabulary, (count, net.length), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("classes", [0, 3])
@pytest.mark.parametrize("size", [(3, 4), (1, 6), (5, 1)])
def test_the_cache_gives_the_logits_of_the_whole_pass(size: tuple[int, int], classes: int) -> None:
    net = network(size=size, classes=classes)
    codes = codes_like(net)
    label = torch.tensor([0, 2, -1, 1, 2]) if classes else None
    seen: list[Tensor] = []

    def follow(place: int, logits: Tensor) -> Tensor:
        seen.append(logits)
        return codes[:, place]

    assert torch.equal(net.draw(len(codes), label, follow), codes)
    with torch.no_grad():
        whole = net(codes, label)
    torch.testing.assert_close(torch.stack(seen, 1), whole, rtol=1e-5, atol=1e-5)
    assert float(whole.std()) > 0.3


def test_no_logit_sees_its_own_code_or_later_ones() -> None:
    net = network()
    codes = codes_like(net, 1)
    with torch.no_grad():
        before = net(codes)
        for place in range(net.length):
            other = codes.clone()
            other[0, place:] = (other[0, place:] + 1) % net.vocabulary
            changed = (net(other) - before).abs().amax(2)[0]
            assert float(changed[: place + 1].max()) == 0
            assert place == net.length - 1 or float(changed[place + 1]) > 1e-4


def test_every_code_before_and_the_class_matter() -> None:
    net = network()
    codes = codes_like(net, 1)
    with torch.no_grad():
        last = net(codes, torch.tensor([0]))[0, -1]
        for place in range(net.length - 1):
            other = codes.clone()
            other[0, place] = (other[0, place] + 1) % net.vocabulary
            assert float((net(other, torch.tensor([0]))[0, -1] - last).abs().max()) > 1e-5, place
        for label in (1, 2, -1):
            assert float((net(codes, torch.tensor([label]))[0, -1] - last).abs().max()) > 1e-3


def test_a_tiny_distribution_sums_to_one() -> None:
    """All 3^4 pictures of 2x2 codes, and the share of each among many draws."""
    net = network(vocabulary=3, size=(2, 2), classes=2).double()
    every = torch.tensor(list(itertools.product(range(3), repeat=4)))
    label = torch.full((81,), 1)
    with torch.no_grad():
        logs = net(every, label).log_softmax(2).gather(2, every[:, :, None]).sum((1, 2))
    assert float(logs.exp().sum()) == pytest.approx(1.0, abs=1e-12)
    uniform = torch.rand(20_000, 4, generator=torch.Generator().manual_seed(2))
    drawn = net.draw(20_000, torch.full((20_000,), 1), lambda place, logits: sample_categorical(logits, uniform[:, place]))
    counted = Counter(map(tuple, drawn.tolist()))
    for row, log in zip(every.tolist(), logs.tolist(), strict=True):
        chance = torch.tensor(log).exp().item()
        assert counted[tuple(row)] / 20_000 == pytest.approx(chance, abs=5 * (chance / 20_000) ** 0.5 + 1e-4)


def test_residual_parts_start_small_in_a_deep_network() -> None:
    torch.manual_seed(0)
    net = CausalTransformer(16, (2, 2), TransformerSize(64, 8, 4, 0.0))
    block = net.blocks[0]
    assert float(block.up.weight.std()) == pytest.approx(0.02, rel=0.05)  # type: ignore[union-attr]
    assert float(block.down.weight.std()) == pytest.approx(0.005, rel=0.05)  # type: ignore[union-attr]
    assert float(net.head.weight.std()) == pytest.approx(0.02, rel=0.1)


LOGITS = torch.tensor([0.4, 0.3, 0.2, 0.1])[[2, 0, 3, 1]].log()
"""Chances .2, .4, .1, .3."""


def shares(count: int = 100_001, **knobs: float) -> list[float]:
    """How often each of the four codes is drawn."""
    uniform = (torch.arange(count) + 0.5) / count
    drawn = sample_categorical(LOGITS.expand(count, -1), uniform, **knobs)  # type: ignore[arg-type]
    return (torch.bincount(drawn, minlength=4) / count).tolist()


@pytest.mark.parametrize(
    ("knobs", "expected"),
    [
        ({}, [0.2, 0.4, 0.1, 0.3]),
        ({"temperature": 0.5}, [4 / 30, 16 / 30, 1 / 30, 9 / 30]),
        ({"temperature": 1e-3}, [0, 1, 0, 0]),
        ({"top_k": 1}, [0, 1, 0, 0]),
        ({"top_k": 2}, [0, 4 / 7, 0, 3 / 7]),
        ({"top_k": 3}, [2 / 9, 4 / 9, 0, 3 / 9]),
        ({"top_k": 4}, [0.2, 0.4, 0.1, 0.3]),
        ({"top_k": 9}, [0.2, 0.4, 0.1, 0.3]),
        ({"top_p": 0.05}, [0, 1, 0, 0]),
        ({"top_p": 0.41}, [0, 4 / 7, 0, 3 / 7]),
        ({"top_p": 0.69}, [0, 4 / 7, 0, 3 / 7]),
        ({"top_p": 0.71}, [2 / 9, 4 / 9, 0, 3 / 9]),
        ({"top_k": 3, "top_p": 0.5}, [0, 4 / 7, 0, 3 / 7]),
        ({"top_p": 0.6, "temperature": 0.5}, [0, 16 / 25, 0, 9 / 25]),
    ],
)
def test_what_is_drawn(knobs: dict[str, float], expected: list[float]) -> None:
    assert shares(**knobs) == pytest.approx(expected, abs=2e-5)


def test_what_has_no_chance_is_never_drawn() -> None:
    logits = torch.tensor([[-torch.inf, 0.0, -torch.inf, 0.0, -torch.inf]])
    for draw in (0.0, 1e-30, 0.5, 1 - 1e-16, 1.0):
        assert int(sample_categorical(logits, torch.tensor([draw], dtype=torch.float64))) in (1, 3)
        assert int(sample_categorical(logits, torch.tensor([draw], dtype=torch.float64), top_k=2)) in (1, 3)


def test_rows_have_knobs_of_their_own_distribution() -> None:
    """top-k and top-p look at each row by itself, and a row's draw does not depend on the others."""
    logits = torch.randn(50, 20, generator=torch.Generator().manual_seed(0))
    uniform = torch.rand(50, generator=torch.Generator().manual_seed(1))
    together = sample_categorical(logits, uniform, 0.9, 5, 0.8)
    alone = torch.cat([sample_categorical(logits[i : i + 1], uniform[i : i + 1], 0.9, 5, 0.8) for i in range(50)])
    assert torch.equal(together, alone)
    ranks = (logits > logits.gather(1, together[:, None])).sum(1)
    assert int(ranks.max()) < 5

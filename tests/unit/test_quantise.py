"""Quantisers against values of vector-quantize-pytorch 1.32, their state against a step by hand, and dead codes revived."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from limner.nets.quantise import DEAD_CODE_USAGE, FiniteScalars, VectorQuantiser, perplexity, usage


def made(*shape: int, step: int = 37, modulus: int = 101, over: float = 25.0) -> Tensor:
    """Numbers in -2..2 that are the same on every machine."""
    return ((torch.arange(math.prod(shape)) * step % modulus).float() / over - 2).view(shape)


def draws(vocabulary: int, seed: int = 0) -> Tensor:
    return torch.rand(2, vocabulary, generator=torch.Generator().manual_seed(seed))


# ---- finite scalars -----------------------------------------------------------------------------------------------------

GOLDEN = {
    (8, 5, 5, 5): (
        [[[640, 986], [238, 688], [188, 207]], [[239, 889], [188, 447], [937, 38]]],
        [[-0.75, 0.0, 0.5, 1.0], [0.5, 1.0, -1.0, -1.0]],
        -2.25,
    ),
    (8, 6, 5): (
        [[[56, 226], [46, 104], [228, 7]], [[237, 55], [170, 46], [104, 227]]],
        [[-1.0, -0.6666666865348816, 0.0], [-0.25, 0.3333333432674408, 1.0]],
        -1.9999999701976776,
    ),
    (7, 5, 5, 5, 5): (
        [[[4060, 863], [1958, 4102], [1039, 2806]], [[4066, 855], [1958, 4102], [164, 2806]]],
        [[0.0, 0.5, 1.0, -1.0, -1.0], [1.0, -1.0, -1.0, -0.5, 0.5]],
        -0.6666666567325592,
    ),
    (3, 4): (
        [[[0, 7], [11, 3], [10, 2]], [[7, 11], [3, 10], [2, 6]]],
        [[1.0, -1.0], [-1.0, 0.0]],
        -2.0,
    ),
}
"""levels -> indices, the values of the last row of the second image, and the sum of all values."""


@pytest.mark.parametrize("levels", GOLDEN)
def test_finite_scalars_equal_their_golden_values(levels: tuple[int, ...]) -> None:
    indices, row, total = GOLDEN[levels]
    found = FiniteScalars(levels, 100.0)(made(2, len(levels), 3, 2))
    assert found.indices.tolist() == indices
    assert found.values.permute(0, 2, 3, 1)[1, 2].tolist() == row
    assert float(found.values.double().sum()) == total
    assert found.commitment.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("levels", [(3,), (4,), (8, 5, 5, 5), (7, 5, 5, 5, 5)])
def test_every_combination_of_levels_is_a_code_and_comes_back(levels: tuple[int, ...]) -> None:
    """lookup inverts the indices, and quantising a code's own vector gives the code again."""
    quantiser = FiniteScalars(levels, 100.0)
    every = torch.arange(math.prod(levels)).view(1, -1, 1)
    vectors = quantiser.lookup(every)
    assert len(torch.unique(vectors[0, :, :, 0].T, dim=0)) == math.prod(levels)
    assert float(vectors.abs().max()) <= 1
    wide = 20 * torch.randn(1, len(levels), 4000, 1, generator=torch.Generator().manual_seed(0))
    found = quantiser(wide)
    assert torch.equal(quantiser.lookup(found.indices), found.values)
    # tanh⁻¹ of the level's own place leads there
    half = (torch.tensor(levels) - 1) * 1.001 / 2
    offset = torch.where(torch.tensor(levels) % 2 == 0, 0.5, 0.0)
    width = (torch.tensor(levels) // 2).view(1, -1, 1, 1)
    steps = (vectors * width + offset.view(1, -1, 1, 1)) / half.view(1, -1, 1, 1)
    z = torch.atanh(steps.double()).float() - torch.atanh(offset / half).view(1, -1, 1, 1)
    assert torch.equal(quantiser(z).indices, every)


def test_the_gradient_passes_straight_through() -> None:
    z = made(2, 2, 3, 2).requires_grad_()
    (gradient,) = torch.autograd.grad(FiniteScalars((5, 5), 1.0)(z).values.sum(), z)
    half = 4 * 1.001 / 2
    torch.testing.assert_close(gradient, half * (1 - torch.tanh(z) ** 2) / 2)
    quantiser = VectorQuantiser(6, 2, 1.0)
    direction = made(2, 2, 3, 2, step=5)
    (gradient,) = torch.autograd.grad((quantiser(z).values * direction).sum(), z)
    torch.testing.assert_close(gradient, direction)


@pytest.mark.parametrize("kind", ["fsq", "vq"])
def test_quantising_in_bfloat16_is_quantising_in_float32(kind: str) -> None:
    """Under autocast: the same codes as without, more of them than bfloat16 has room for, and values in float32."""
    quantiser = FiniteScalars((255, 255), 1.0) if kind == "fsq" else VectorQuantiser(512, 2, 1.0)
    z = torch.randn(4, 2, 40, 40, generator=torch.Generator().manual_seed(0))
    plain = quantiser(z)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = quantiser(z)
    assert torch.equal(cast.indices, plain.indices)
    assert cast.values.dtype == cast.commitment.dtype == torch.float32
    assert torch.equal(cast.values, plain.values)


# ---- the book of codes --------------------------------------------------------------------------------------------------

NEAREST = {
    False: [[[4, 2], [2, 3], [1, 3]], [[1, 2], [2, 2], [3, 1]]],
    True: [[[4, 5], [2, 4], [5, 3]], [[1, 2], [0, 2], [4, 5]]],
}
COMMITMENT = {False: 0.2627173662185669 / 0.25, True: 0.04464535415172577 / 0.25}
COUNTS = {False: [0.9, 1.2, 1.4, 1.2, 1.0, 0.9], True: [1.0, 1.0, 1.2, 1.0, 1.2, 1.2]}
CODES = {
    False: [
        [-1.9999961, 1.6249968, 1.3749973],
        [0.8437507, 0.8562507, 0.8687507],
        [0.4153579, 0.2517862, -0.2003575],
        [-0.4479170, -0.7720839, -0.7595839],
        [-1.2124990, -1.3574988, -1.5024986],
        [-1.8749963, 1.7499967, 1.4999971],
    ],
    True: [
        [-0.6853614, 0.5187017, 0.5111049],
        [0.6832671, 0.5698790, 0.4564910],
        [0.8691541, 0.3163048, -0.3801610],
        [-0.2536588, -0.5917333, -0.7651857],
        [-0.5989009, -0.5770751, -0.5552495],
        [-0.5528348, 0.5472146, 0.6284344],
    ],
}
"""By `normalised`: what vector-quantize-pytorch gives on the codes and latents below, and its book after one step with decay .9
from counts of 1 (threshold_ema_dead_code=0, rotation_trick=False)."""


def book(normalised: bool, half_life: float = 1.0) -> VectorQuantiser:
    """Six codes of three entries, each counted once per image."""
    quantiser = VectorQuantiser(6, 3, half_life, normalised)
    codes = made(6, 3, step=29, modulus=31, over=8)
    quantiser.codes.copy_(F.normalize(codes, dim=1) if normalised else codes)
    quantiser.sums.copy_(quantiser.codes)
    quantiser.counts.fill_(1.0)
    return quantiser


@pytest.mark.parametrize("normalised", [False, True])
def test_the_book_equals_its_golden_values(normalised: bool) -> None:
    z = made(2, 3, 3, 2)
    # Counts are per image here and per batch there: the two images as the two halves of one make both the same.
    as_one = z.permute(1, 2, 0, 3).reshape(1, 3, 6, 2)
    quantiser = book(normalised, half_life=math.log(2) / -math.log(0.9))
    found = quantiser(z)
    assert found.indices.tolist() == NEAREST[normalised]
    assert float(found.commitment.mean()) == pytest.approx(COMMITMENT[normalised], rel=1e-6)
    torch.testing.assert_close(found.values, quantiser.lookup(found.indices))
    there = quantiser(as_one).indices
    quantiser.move_state(quantiser.statistics(as_one, there, draws(6)))
    torch.testing.assert_close(quantiser.counts, torch.tensor(COUNTS[normalised]))
    torch.testing.assert_close(quantiser.codes, torch.tensor(CODES[normalised]), rtol=1e-5, atol=1e-5)


def test_the_commitment_is_per_image_and_moves_latents_towards_their_codes() -> None:
    quantiser, z = book(False), made(2, 3, 3, 2).requires_grad_()
    found = quantiser(z)
    apart = (z - quantiser.lookup(found.indices)).detach()
    by_hand = [float(apart[i].square().mean()) for i in range(2)]
    assert found.commitment.tolist() == pytest.approx(by_hand)
    torch.testing.assert_close(quantiser(z.repeat(3, 1, 1, 1)).commitment, found.commitment.repeat(3))
    (gradient,) = torch.autograd.grad(found.commitment.sum(), z)
    torch.testing.assert_close(gradient, 2 * apart / z[0].numel())


def test_a_step_of_the_averages_by_hand() -> None:
    """Two images at half-life 1: a quarter of the old is left, whatever the number of chunks they came in."""
    z = made(2, 3, 3, 2)
    ends = []
    for parts in (1, 2):
        quantiser = book(False, half_life=1.0)
        sums: dict[str, Tensor] = {}
        for number, part in enumerate(z.chunk(parts)):
            for name, value in quantiser.statistics(part, quantiser(part).indices, draws(6, number)).items():
                sums[name] = sums[name] + value if name in sums else value
        quantiser.move_state(sums)
        ends.append(quantiser)
    whole, halves = ends
    rows, indices = z.permute(0, 2, 3, 1).reshape(-1, 3), book(False)(z).indices.flatten()
    for code in range(6):
        mine = rows[indices == code]
        count = 0.25 * 1.0 + 0.75 * len(mine) / 2
        total = 0.25 * book(False).sums[code] + 0.75 * mine.sum(0) / 2
        assert float(whole.counts[code]) == pytest.approx(count)
        torch.testing.assert_close(whole.sums[code], total)
        torch.testing.assert_close(whole.codes[code], total / count, rtol=1e-3, atol=1e-4)
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(halves.state_dict()[name], value, rtol=1e-5, atol=1e-6)


FAR = 20.0
"""Where the latents lie, in every entry: a code that is moved towards nothing is of no use there."""


def trained(quantiser: VectorQuantiser, steps: int, batch: int = 8, forgotten: str = "") -> list[int]:
    """Codes in use at each of so many steps; `forgotten` is the average that a revived code is not given anew."""
    generator = torch.Generator().manual_seed(1)
    alive = []
    for step in range(steps):
        z = FAR + torch.randn(batch, quantiser.dim, 4, 4, generator=generator)
        found = quantiser(z)
        sums = quantiser.statistics(z, found.indices, draws(quantiser.vocabulary, step))
        if forgotten:
            way = 1 - 0.5 ** (batch / quantiser.half_life)
            name = "counts" if forgotten == "counts" else "vectors"
            plain = getattr(quantiser, forgotten).lerp(sums[name] / batch, way)
        quantiser.move_state(sums)
        if forgotten:
            getattr(quantiser, forgotten).copy_(plain)
            quantiser._update_codes()
        alive.append(len(torch.unique(found.indices)))
    return alive


def cornered(half_life: float = 50.0) -> VectorQuantiser:
    """A book of 32 that were used alike on 16 latents per image, until 31 of them were left far from all latents."""
    torch.manual_seed(0)
    quantiser = VectorQuantiser(32, 4, half_life)
    quantiser.codes += FAR
    quantiser.codes[1:] += 100
    quantiser.counts.fill_(16 / 32)
    quantiser.sums.copy_(quantiser.codes * quantiser.counts[:, None])
    return quantiser


def test_the_dead_are_revived_and_stay_alive() -> None:
    quantiser = cornered()
    alive = trained(quantiser, 120)
    assert alive[0] == 1
    assert min(alive[-20:]) > 24, alive
    assert float(usage(quantiser.counts)) > 0.9
    assert 20 < float(perplexity(quantiser.counts)) <= 32


@pytest.mark.parametrize("forgotten", ["counts", "sums"])
def test_a_revived_code_needs_both_its_count_and_its_average(forgotten: str) -> None:
    """Without the count its vector is many times too long and it is dead again at once; without the average it is nowhere."""
    assert max(trained(cornered(), 120, forgotten=forgotten)[-20:]) < 8


def test_whether_a_code_is_dead_does_not_depend_on_the_batch() -> None:
    """From a fair share down to a dead one takes log2(1/DEAD_CODE_USAGE) half-lives in images, in batches of 4 and of 64."""
    found = []
    for batch in (4, 64):
        quantiser, images = cornered(half_life=200.0), 0
        while float(quantiser.codes[1:].amin()) > FAR + 60 and images < 4000:
            trained(quantiser, 1, batch)
            images += batch
        found.append(images)
    expected = 200 * math.log2(1 / DEAD_CODE_USAGE)
    assert all(expected - 1 <= images <= expected + 64 for images in found), (found, expected)


def test_revived_codes_are_latents_of_the_batch() -> None:
    """Among the offers of three chunks one is chosen, not their mean."""
    quantiser = cornered(half_life=1.0)
    sums: dict[str, Tensor] = {}
    chunks = [torch.randn(4, 4, 3, 3, generator=torch.Generator().manual_seed(seed)) for seed in range(3)]
    for number, z in enumerate(chunks):
        for name, value in quantiser.statistics(z, quantiser(z).indices, draws(32, number)).items():
            sums[name] = sums[name] + value if name in sums else value
    quantiser.counts[1:] = 0
    quantiser.move_state(sums)
    rows = torch.cat(chunks).permute(0, 2, 3, 1).reshape(-1, 4)
    apart = torch.cdist(quantiser.codes[1:], rows).amin(1)
    assert float(apart.median()) < 1e-3
    assert (apart < 0.05).float().mean() > 0.8


def test_it_starts_from_the_data() -> None:
    """k-means finds eight clear clusters, with their counts, the same twice; fewer latents than codes are no fault."""
    generator = torch.Generator().manual_seed(3)
    centres = 10 * torch.randn(8, 4, generator=generator)
    which = torch.arange(25 * 16) % 8
    z = (centres[which] + 0.1 * torch.randn(400, 4, generator=generator)).view(25, 4, 4, 4).permute(0, 3, 1, 2)
    quantiser, again = VectorQuantiser(24, 4, 100.0), VectorQuantiser(24, 4, 100.0)
    quantiser.initialise(z, 0)
    again.initialise(z, 0)
    assert torch.equal(quantiser.codes, again.codes)
    assert float(torch.cdist(centres, quantiser.codes).amin(1).max()) < 0.2
    assert float(quantiser.counts.sum()) == pytest.approx(16)
    assert float(quantiser(z).commitment.mean()) < 0.02
    quantiser.initialise(z[:1], 0)
    assert bool(quantiser.codes.isfinite().all())
    quantiser.move_state(quantiser.statistics(z, quantiser(z).indices, draws(24)))
    assert bool(quantiser.codes.isfinite().all())


def test_perplexity_and_usage() -> None:
    assert float(perplexity(torch.ones(7))) == pytest.approx(7)
    assert float(perplexity(torch.tensor([3.0, 0.0, 0.0]))) == pytest.approx(1)
    assert float(perplexity(torch.zeros(4))) == pytest.approx(1)
    assert float(perplexity(torch.tensor([1.0, 3.0]))) == pytest.approx(4 / 3**0.75)
    assert float(usage(torch.tensor([1.0, 1.0, 0.0, 0.0]))) == 0.5
    assert float(usage(torch.zeros(4))) == 0.0
    assert float(usage(torch.tensor([100.0, 1.0]))) == 0.5

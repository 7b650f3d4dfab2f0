"""Quantisers against vector-quantize-pytorch itself; tests/unit/test_quantise.py has values of its that need no install."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from limner.nets.quantise import FiniteScalars, VectorQuantiser

peer = pytest.importorskip("vector_quantize_pytorch")


@pytest.mark.parametrize("levels", [[8, 5, 5, 5], [8, 6, 5], [7, 5, 5, 5, 5], [8, 8, 8], [3, 4]])
def test_finite_scalars_are_the_peers_to_the_bit(levels: list[int]) -> None:
    theirs, mine = peer.FSQ(levels), FiniteScalars(levels, 1.0)
    generator = torch.Generator().manual_seed(0)
    z = (2 * torch.randn(6, len(levels), 9, 7, generator=generator)).requires_grad_()
    direction = torch.randn(z.shape, generator=generator)
    values, indices = theirs(z)
    found = mine(z)
    assert torch.equal(found.indices, indices.long())
    assert torch.equal(found.values, values)
    assert torch.equal(mine.lookup(found.indices), theirs.indices_to_codes(indices))
    (wanted,) = torch.autograd.grad((direction * values).sum(), z)
    (gradient,) = torch.autograd.grad((direction * found.values).sum(), z)
    assert torch.equal(gradient, wanted)


@pytest.mark.parametrize("normalised", [False, True])
def test_the_book_is_the_peers(normalised: bool) -> None:
    """Indices, output, loss, the latents' gradient and one step of the averages, on one codebook."""
    generator = torch.Generator().manual_seed(0)
    codes = torch.randn(64, 8, generator=generator)
    codes = F.normalize(codes, dim=1) if normalised else codes
    theirs = peer.VectorQuantize(
        dim=8,
        codebook_size=64,
        decay=0.99,
        commitment_weight=0.25,
        rotation_trick=False,
        threshold_ema_dead_code=0,
        accept_image_fmap=True,
        use_cosine_sim=normalised,
    )
    mine = VectorQuantiser(64, 8, math.log(2) / -math.log(0.99), normalised)
    counts = torch.linspace(0.2, 2.0, 64)  # unlike, or their smoothing would cancel
    inside = theirs._codebook
    for state, value in ((inside.embed, codes), (inside.embed_avg, codes * counts[:, None]), (inside.cluster_size, counts)):
        state.data.copy_(value[None])
    for state, value in ((mine.codes, codes), (mine.sums, codes * counts[:, None]), (mine.counts, counts)):
        state.copy_(value)
    z = torch.randn(1, 8, 30, 20, generator=generator).requires_grad_()
    direction = torch.randn(z.shape, generator=generator)
    values, indices, loss = theirs.train()(z)
    found = mine(z)
    assert torch.equal(found.indices, indices)
    torch.testing.assert_close(found.values, values)
    torch.testing.assert_close(0.25 * found.commitment.mean(), loss.squeeze())
    (wanted,) = torch.autograd.grad((direction * values).sum() + loss.sum(), z)
    (gradient,) = torch.autograd.grad((direction * found.values).sum() + 0.25 * found.commitment.mean(), z)
    torch.testing.assert_close(gradient, wanted)
    mine.move_state(mine.statistics(z, found.indices, torch.rand(2, 64, generator=generator)))
    torch.testing.assert_close(mine.counts, inside.cluster_size[0])
    torch.testing.assert_close(mine.codes, inside.embed[0])

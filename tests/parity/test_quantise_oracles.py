"""Quantisers against vector-quantize-pytorch, where it is installed; its golden values are in tests/unit/test_quantise.py."""

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
    z = 2 * torch.randn(6, len(levels), 9, 7, generator=torch.Generator().manual_seed(0))
    values, indices = theirs(z)
    found = mine(z)
    assert torch.equal(found.indices, indices.long())
    assert torch.equal(found.values, values)
    assert torch.equal(mine.lookup(found.indices), theirs.indices_to_codes(indices))


@pytest.mark.parametrize("normalised", [False, True])
def test_the_book_is_the_peers(normalised: bool) -> None:
    """Indices, output, loss and one step of the averages, on one codebook."""
    generator = torch.Generator().manual_seed(0)
    codes = torch.randn(64, 8, generator=generator)
    codes = F.normalize(codes, dim=1) if normalised else codes
    theirs = peer.VectorQuantize(
        dim=8, codebook_size=64, decay=0.99, commitment_weight=0.25, rotation_trick=False, threshold_ema_dead_code=0,
        accept_image_fmap=True, use_cosine_sim=normalised,
    )  # fmt: skip
    mine = VectorQuantiser(64, 8, math.log(2) / -math.log(0.99), normalised)
    inside = theirs._codebook
    for buffer in (inside.embed, inside.embed_avg):
        buffer.data.copy_(codes[None])
    inside.cluster_size.data.fill_(1.0)
    mine.codes.copy_(codes)
    mine.sums.copy_(codes)
    mine.counts.fill_(1.0)
    z = torch.randn(1, 8, 30, 20, generator=generator)
    values, indices, loss = theirs.train()(z)
    found = mine(z)
    assert torch.equal(found.indices, indices)
    torch.testing.assert_close(found.values, values)
    torch.testing.assert_close(0.25 * found.commitment.mean(), loss.squeeze())
    mine.move(mine.statistics(z, found.indices, torch.rand(2, 64)))
    torch.testing.assert_close(mine.counts, inside.cluster_size[0])
    torch.testing.assert_close(mine.codes, inside.embed[0])

"""Randomness is a function of where we are."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from limner.core import seeds


def test_fold_is_the_same_everywhere_and_tells_parts_apart() -> None:
    assert seeds.fold(1, "a", 2) == seeds.fold(1, "a", 2)
    found = {seeds.fold(*parts) for parts in ((1, 23), (12, 3), (1, 2, 3), ("1", 23), (23, 1), (1,), ())}
    assert len(found) == 7
    assert all(0 <= seed < 2**63 for seed in found)
    code = "from limner.core import seeds; print(seeds.fold(7, 'epoch', 3))"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(other.stdout) == seeds.fold(7, "epoch", 3), "another process, with another hash seed"


def test_seed_all_repeats() -> None:
    drawn = []
    for parts in ((1, 2), (1, 2), (1, 3)):
        seeds.seed_all(*parts)
        drawn.append(torch.randn(4))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_noise_is_a_function_of_each_seed_alone() -> None:
    many = seeds.noise(range(50), 7)
    assert torch.equal(seeds.noise([17], 7)[0], many[17])
    assert torch.equal(seeds.noise([49, 3], 7), many[[49, 3]])
    assert not torch.equal(seeds.noise([17], 7, stream="other")[0], many[17])
    assert len(torch.unique(many, dim=0)) == 50
    large = seeds.noise(range(200), 100)
    assert float(large.mean()) == pytest.approx(0, abs=0.03)
    assert float(large.std()) == pytest.approx(1, abs=0.03)
    state = torch.random.get_rng_state()
    seeds.noise([1], 3)
    assert torch.equal(torch.random.get_rng_state(), state), "drawing a sample does not disturb training"


def test_order_is_a_permutation_in_every_epoch() -> None:
    count = 37
    drawn = seeds.order(5, 0, 0, 4 * count, count).reshape(4, count)
    for epoch in drawn:
        assert sorted(epoch.tolist()) == list(range(count))
    assert len({tuple(epoch) for epoch in drawn.tolist()}) == 4, "every epoch is shuffled anew"


@pytest.mark.parametrize("size", [1, 5, 16, 37, 100])
def test_order_is_the_same_however_it_is_cut(size: int) -> None:
    count, length = 37, 200
    whole = seeds.order(5, 2, 0, length, count)
    parts = [seeds.order(5, 2, start, min(size, length - start), count) for start in range(0, length, size)]
    assert np.array_equal(np.concatenate(parts), whole)


def test_order_depends_on_seed_and_stream() -> None:
    found = {tuple(seeds.order(seed, stream, 0, 50, 50)) for seed in (0, 1) for stream in (0, 1)}
    assert len(found) == 4
    assert seeds.order(0, 0, 0, 5, 1).tolist() == [0] * 5

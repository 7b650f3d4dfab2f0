"""Averages by a power of the position: closed forms, published values, and what is made of their snapshots."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import integrate
from torch import Tensor

from limner.core.config import DataSpec
from limner.core.errors import InputError
from limner.core.method import Method
from limner.recipes.build import build_method
from limner.recipes.recipe import Recipe
from limner.recipes.settings import compose
from limner.runs.averages import Snapshot, choose_guide, compact, part_name, remove_excess, write_snapshot
from limner.runs.run import Run
from limner.training.averages import (
    SIGMAS,
    Average,
    PowerAverages,
    coefficients,
    correlation,
    decay,
    mix_averages,
    power_of,
)


@pytest.mark.parametrize(
    ("sigma", "power"), [(0.05, 16.9721986), (0.10, 6.9372039), (0.15, 3.5578688), (0.20, 1.8262138), (0.25, 0.7198240)]
)
def test_powers(sigma: float, power: float) -> None:
    """Values of the paper's code; and the deviation of τ under (γ + 1)·τ^γ on 0..1 is σ again."""
    assert power_of(sigma) == pytest.approx(power, abs=5e-8)
    mean = (power + 1) / (power + 2)
    assert (power + 1) / (power + 3) - mean**2 == pytest.approx(sigma**2, rel=1e-7)


def test_decays() -> None:
    assert decay(power_of(0.10), 1000, 10) == pytest.approx(0.9233272, abs=5e-8)
    assert decay(power_of(0.05), 1000, 10) == pytest.approx(0.8347470, abs=5e-8)
    assert decay(power_of(0.05), 10, 10) == 0.0, "after the first batch nothing of the initial weights is left"
    assert decay(power_of(0.05), 0, 10) == 0.0


@pytest.mark.parametrize("sigma", [0.0, -0.1, 0.28, 1.0, float("nan")])
def test_a_length_out_of_range_is_refused(sigma: float) -> None:
    with pytest.raises(InputError, match=r"lies between 0 and 0.28, such as 0.05"):
        power_of(sigma)


@pytest.mark.parametrize(("a", "s", "b", "t"), [(16.97, 1.0, 6.94, 1.0), (16.97, 0.3, 6.94, 0.5), (2.0, 0.9, 5.0, 0.4)])
def test_correlations_are_integrals_of_products(a: float, s: float, b: float, t: float) -> None:
    def product(x: float) -> float:
        return (a + 1) * x**a / s ** (a + 1) * (b + 1) * x**b / t ** (b + 1)

    integral, _ = integrate.quad(product, 0, min(s, t))
    assert correlation(a, s, b, t) == pytest.approx(integral, rel=1e-9)
    assert correlation(b, t, a, s) == pytest.approx(integral, rel=1e-9)


def positions(count: int = 16, images: int = 1600) -> list[tuple[float, int]]:
    return [(sigma, images * place // count) for place in range(1, count + 1) for sigma in SIGMAS]


def test_an_average_that_is_there_is_itself() -> None:
    known = positions()
    for place, (sigma, at) in enumerate(known):
        expected = np.zeros(len(known))
        expected[place] = 1
        np.testing.assert_allclose(coefficients(known, sigma, at), expected, atol=1e-8)


@pytest.mark.parametrize("sigma", [0.02, 0.05, 0.08, 0.2])
@pytest.mark.parametrize("count", [1, 3, 16])
def test_shares_add_up_to_one(sigma: float, count: int) -> None:
    assert coefficients(positions(count), sigma, 1600).sum() == pytest.approx(1, abs=1e-9)


def test_without_snapshots_nothing_is_made() -> None:
    with pytest.raises(InputError, match=r"no snapshots.*ema.kind=power"):
        coefficients([], 0.05, 100)


def averages_of_a_walk(sigmas: tuple[float, ...], steps: int = 800, size: int = 400) -> dict[tuple[float, int], Tensor]:
    """(σ, step) -> the exact average of a random walk that ends at a deviation of 1, in float64, at sixteenths of the way."""
    walk = torch.randn(steps, size, generator=torch.Generator().manual_seed(0), dtype=torch.float64).cumsum(0) / steps**0.5
    averages = {}
    for sigma in sigmas:
        mean = torch.zeros(size, dtype=torch.float64)
        for step in range(1, steps + 1):
            mean = mean.lerp(walk[step - 1], 1 - decay(power_of(sigma), step, 1))
            if step % (steps // 16) == 0:
                averages[sigma, step] = mean
    return averages


@pytest.fixture(scope="module")
def walk() -> dict[tuple[float, int], Tensor]:
    """The tracked averages of a random walk, and others to compare with."""
    return averages_of_a_walk((*SIGMAS, 0.03, 0.075, 0.15, 0.20))


def snapshots_of(walk: Mapping[tuple[float, int], Tensor], *, rounded: bool = False) -> list[Average]:
    def read(tensor: Tensor) -> dict[str, Tensor]:
        return compact({"w": tensor}) if rounded else {"w": tensor}

    return [Average(sigma, at, lambda one=tensor: read(one)) for (sigma, at), tensor in walk.items() if sigma in SIGMAS]


@pytest.mark.parametrize(("sigma", "bound"), [(0.03, 3e-3), (0.075, 4e-4), (0.15, 6e-4), (0.20, 4e-3)])
@pytest.mark.parametrize("rounded", [False, True])
def test_other_lengths_are_made_of_the_tracked_ones(
    walk: dict[tuple[float, int], Tensor], sigma: float, bound: float, rounded: bool
) -> None:
    """Within 1e-2 in all, and far nearer between the two lengths; float16 adds 4e-4."""
    made = mix_averages(snapshots_of(walk, rounded=rounded), sigma, 800)["w"]
    error = float((made - walk[sigma, 800]).square().mean().sqrt())
    assert error < bound + 4e-4 * rounded < 1e-2


def test_an_average_is_made_at_an_earlier_position_too(walk: dict[tuple[float, int], Tensor]) -> None:
    made = mix_averages(snapshots_of(walk), 0.075, 400)["w"]
    assert float((made - walk[0.075, 400]).square().mean().sqrt()) < 1e-3


@pytest.mark.parametrize("sigma", SIGMAS)
def test_a_tracked_length_is_made_exactly(walk: dict[tuple[float, int], Tensor], sigma: float) -> None:
    made = mix_averages(snapshots_of(walk), sigma, 800)["w"]
    assert float((made.double() - walk[sigma, 800]).abs().max()) < 1e-6


def test_weights_that_stand_still_stay(walk: dict[tuple[float, int], Tensor]) -> None:
    averages = [Average(sigma, at, lambda: {"w": torch.full((3,), 0.3)}) for sigma, at in walk if sigma in SIGMAS]
    torch.testing.assert_close(mix_averages(averages, 0.13, 800)["w"], torch.full((3,), 0.3), rtol=1e-6, atol=0)


# ---- in training --------------------------------------------------------------------------------------------------------


def small_gan(width: int = 4) -> Method:
    return build_method(compose("gan", [f"method.generator.widths=[{width}]"]), DataSpec.of_images((8, 8, 1)))


def test_two_averages_follow_the_live_weights() -> None:
    """Weights c·t have the average c·Σ t·(t^(γ+1) − (t−Δ)^(γ+1)) / T^(γ+1), and of the power alone it is c·T·(γ+1)/(γ+2)."""
    method = small_gan()
    live = next(method.generator.parameters())
    ema = PowerAverages(method)
    before = next(ema.method.discriminator.parameters()).clone()
    times = np.arange(1, 201) * 8.0
    with torch.no_grad():
        for time in times:
            live.fill_(time / 1600)
            next(method.discriminator.parameters()).add_(1.0)
            ema.update(8, int(time))
    for sigma in SIGMAS:
        power = power_of(sigma)
        shares = times ** (power + 1) - (times - 8) ** (power + 1)
        expected = float((times * shares).sum() / shares.sum() / 1600)
        (name,) = [name for name, weight in method.named_parameters() if weight is live]
        mean = ema.averages()[sigma][name]
        torch.testing.assert_close(mean, torch.full_like(mean, expected))
        assert expected == pytest.approx((power + 1) / (power + 2), abs=3e-3)
        if sigma == SIGMAS[0]:
            assert torch.equal(ema.method.state_dict()[name], mean), "the shortest one is sampled from"
    assert torch.equal(next(ema.method.discriminator.parameters()), before), "nobody samples from the discriminator"
    assert not any("discriminator" in name for name in ema.state())
    assert not ema.method.training


def test_the_first_batch_is_copied() -> None:
    method = small_gan()
    ema = PowerAverages(method)
    with torch.no_grad():
        for weight in method.parameters():
            weight.normal_()
    ema.update(16, 16)
    for mean in ema.averages().values():
        assert all(torch.equal(mean[name], method.state_dict()[name]) for name in mean)


def test_running_moments_are_averaged_and_counters_copied() -> None:
    method = build_method(compose("dcgan", ["method.generator.width=16"]), DataSpec.of_images((8, 8, 1)))
    ema = PowerAverages(method)
    state = method.state_dict()
    moments = next(name for name in state if name.startswith("generator") and name.endswith("running_mean"))
    state[moments].fill_(4.0)
    for name in state:
        if name.startswith("generator") and not state[name].is_floating_point():
            state[name].fill_(7)
    ema.update(64, 64)
    copy = ema.method.state_dict()
    assert torch.equal(copy[moments], state[moments])
    assert all(torch.equal(copy[name], state[name]) for name in state if not state[name].is_floating_point())


def test_what_is_shown_lasts_until_the_next_update() -> None:
    method = small_gan()
    ema = PowerAverages(method)
    shown = {name: torch.full_like(mean, 1.5) for name, mean in ema.averages()[0.05].items()}
    ema.show(shown)
    assert all(torch.equal(ema.method.state_dict()[name], one) for name, one in shown.items())
    tracked = ema.averages()[0.05]
    assert not any(torch.equal(tracked[name], one) for name, one in shown.items())
    ema.update(1, 100)
    assert all(torch.equal(ema.method.state_dict()[name], mean) for name, mean in tracked.items())


def test_state_returns() -> None:
    one, two = PowerAverages(small_gan()), PowerAverages(small_gan())
    for mean in one.averages().values():
        for tensor in mean.values():
            tensor.normal_()
    two.load_state(one.state(), Path("x"))
    assert one.state().keys() == two.state().keys()
    assert all(torch.equal(tensor, two.state()[name]) for name, tensor in one.state().items())
    name = next(iter(one.averages()[0.05]))
    assert torch.equal(two.method.state_dict()[name], one.averages()[0.05][name])
    with pytest.raises(InputError, match=r"x: .* does not belong to this recipe"):
        PowerAverages(small_gan(5)).load_state(one.state(), Path("x"))


# ---- snapshots ----------------------------------------------------------------------------------------------------------


def test_float16_where_it_is_near_enough() -> None:
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(1000, generator=generator) * 0.02
    large, tiny = torch.tensor([1e5, 1.0]), torch.tensor([3e-8, 5e-8])
    stored = compact({"weights": weights, "large": large, "tiny": tiny, "zero": torch.zeros(2)})
    assert {name: one.dtype for name, one in stored.items()} == {
        "weights": torch.float16,
        "large": torch.float32,
        "tiny": torch.float32,
        "zero": torch.float16,
    }
    assert float((stored["weights"].float() - weights).norm() / weights.norm()) < 3e-4
    assert torch.equal(stored["large"], large)


@cache
def recipe() -> Recipe:
    return compose("gan", ["ema.kind=power", "precision=fp32"])


def run_with(path: Path, images: list[int], stage_start: int = 0, total: int = 1600) -> Run:
    """A run with snapshots of 1,000 weights each, two averages of about 2 kB."""
    (path / "checkpoints").mkdir(parents=True, exist_ok=True)
    run = Run(path)
    run.write_recipe(recipe())
    if not run.plan():
        run.add_plan(0, total)
    for at in images:
        averages = {sigma: {"w": torch.full((1000,), at + sigma)} for sigma in SIGMAS}
        state = {"images": at, "stage": int(stage_start > 0), "stage_start": stage_start}
        write_snapshot(path, averages, state, recipe())
    return run


def test_a_snapshot_has_its_position_and_its_lengths(tmp_path: Path) -> None:
    (snapshot,) = run_with(tmp_path, [128]).snapshots()
    assert (snapshot.images, snapshot.sigmas(), snapshot.path) == (128, SIGMAS, tmp_path / "averages" / "000000128")
    assert json.loads((snapshot.path / "state.json").read_text()) == {"images": 128, "stage": 0, "stage_start": 0}
    assert snapshot.tensors(part_name(0.05))["w"].dtype == torch.float16
    weights = snapshot.weights(0.05)["w"]
    assert weights.dtype == torch.float32
    torch.testing.assert_close(weights, torch.full((1000,), 128.05), rtol=5e-4, atol=0)


@pytest.mark.parametrize(
    ("images", "start", "expected"),
    [
        (range(100, 1601, 100), 0, 200),
        ([100, 300], 0, 100),
        ([100], 0, 100),
        ([900, 1600], 0, None),
        ([], 0, None),
        ([*range(100, 801, 100), 825, 900, 1000, 1600], 800, 900),
    ],
    ids=["sixteen", "nearest", "the run has only begun", "none of the first half", "none", "of the second stage"],
)
def test_the_guide_is_at_an_eighth(images: list[int], start: int, expected: int | None, tmp_path: Path) -> None:
    for at in images:
        run_with(tmp_path, [at], stage_start=start if at > start else 0)
    guide = choose_guide(Run(tmp_path).snapshots(), 1600)
    assert (None if guide is None else guide.images) == expected
    if expected is not None:
        torch.testing.assert_close(Run(tmp_path).guide_weights()["w"], torch.full((1000,), expected + 0.1), rtol=5e-4, atol=0)
    else:
        assert not images or Run(tmp_path).guide_weights() is None


@pytest.mark.parametrize(
    ("gigabytes", "expected"),
    [(1.0, list(range(100, 1601, 100))), (40e-6, [200, 1400, 1500, 1600]), (0, [200, 1600])],
)
def test_a_limit_of_the_disk(gigabytes: float, expected: list[int], tmp_path: Path) -> None:
    """The guide stays, and the newest, as many as there is room for."""
    for at in range(100, 1601, 100):
        run = run_with(tmp_path, [at])
        remove_excess(run.snapshots(), run.guide(), gigabytes)
    assert [one.images for one in run.snapshots()] == expected


def test_a_damaged_snapshot_says_what_to_do(tmp_path: Path) -> None:
    run = run_with(tmp_path, [200, 1600])
    guide = run.guide()
    assert guide is not None
    (guide.path / "sigma-0.100.safetensors").write_bytes(b"nonsense")
    message = (
        f"{guide.path / 'sigma-0.100.safetensors'} is damaged (its checksum is not that in COMPLETE); bring it back from a copy"
    )
    with pytest.raises(InputError, match=re.escape(message)):
        run.guide_weights()


def test_half_written_and_later_snapshots_go(tmp_path: Path) -> None:
    run = run_with(tmp_path, [100, 200, 300])
    (run.path / "averages" / "000000100" / "COMPLETE").unlink()
    (run.path / "averages" / ".000000400.1.2.tmp").mkdir()
    assert [one.images for one in run.snapshots()] == [200, 300]
    run.remove_leftovers()
    assert sorted(path.name for path in (run.path / "averages").iterdir()) == ["000000200", "000000300"]
    run.delete_after(200)
    assert run.snapshots() == [Snapshot(run.path / "averages" / "000000200", 200)]


def test_a_snapshot_that_is_there_stays(tmp_path: Path) -> None:
    run = run_with(tmp_path, [100])
    before = {path.name: path.read_bytes() for path in run.snapshots()[0].path.iterdir()}
    write_snapshot(tmp_path, {0.05: {"w": torch.ones(3)}}, {"images": 100, "stage": 0, "stage_start": 0}, recipe())
    assert {path.name: path.read_bytes() for path in run.snapshots()[0].path.iterdir()} == before


def test_a_run_without_snapshots_has_no_guide(tmp_path: Path) -> None:
    run = run_with(tmp_path, [])
    assert (run.snapshots(), run.guide(), run.guide_weights()) == ([], None, None)

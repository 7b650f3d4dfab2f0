"""Adapters from what a network predicts to a velocity, and guidance, by closed forms."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from limner.methods.flow.guidance import extrapolate, extrapolate_scaled, guided
from limner.methods.flow.prediction import by_image, by_noise, by_residual, by_velocity

DOUBLE = {"dtype": torch.float64}
SHAPE = (2, 3)


def path(time: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Pictures and noise [4, 2, 3], their mixture at `time`, and the time [4, 1, 1]."""
    own = torch.Generator().manual_seed(0)
    pictures, eps = (torch.randn(4, *SHAPE, generator=own, **DOUBLE) for _ in range(2))
    return pictures, eps, (1 - time) * pictures + time * eps, torch.full((4, 1, 1), time, **DOUBLE)


CENTRE, UNIT = torch.zeros(SHAPE, **DOUBLE), torch.ones(SHAPE, **DOUBLE)


@pytest.mark.parametrize("time", [0.1, 0.5, 0.9])
def test_every_right_prediction_is_the_same_velocity(time: float) -> None:
    pictures, eps, x, t = path(time)
    for velocity in (
        by_velocity(lambda _: eps - pictures, x, t, CENTRE, UNIT),
        by_image(lambda _: pictures, x, t, CENTRE, UNIT),
        by_noise(lambda _: eps, x, t, CENTRE, UNIT),
    ):
        torch.testing.assert_close(velocity, eps - pictures, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("time", [0.001, 0.3, 0.7, 1.0])
def test_the_residual_is_edms_preconditioning(time: float) -> None:
    """x_t − t·v is EDM's denoiser c_skip·y + c_out·F(c_in·y) at y = x_t/(1 − t), σ = t/(1 − t), σ_data = 0.5."""
    _, _, x, t = path(time)
    spread = 0.5 * UNIT

    def network(y: Tensor) -> Tensor:
        return torch.sin(2 * y) + 0.3

    picture = x - t * by_residual(network, x, t, CENTRE, spread)
    if time == 1.0:  # σ is infinite: the denoiser's limit is σ_data · F(x)
        torch.testing.assert_close(picture, 0.5 * network(x), rtol=1e-12, atol=1e-12)
        return
    sigma, y = time / (1 - time), x / (1 - time)
    both = sigma**2 + 0.25
    denoised = 0.25 / both * y + sigma * 0.5 / both**0.5 * network(y / both**0.5)
    torch.testing.assert_close(picture, denoised, rtol=1e-10, atol=1e-10)


def test_a_residual_of_zero_is_the_velocity_of_normal_data() -> None:
    """With the mean 0.3 and the deviation 0.5: at t = 0.8 and x = 0.7, u of the closed form."""
    x, t = torch.full((1, 1), 0.7, **DOUBLE), torch.full((1, 1), 0.8, **DOUBLE)
    velocity = by_residual(torch.zeros_like, x, t, torch.tensor([0.3], **DOUBLE), torch.tensor([0.5], **DOUBLE))
    expected = (0.8 - 0.2 * 0.25) / (0.04 * 0.25 + 0.64) * (0.7 - 0.2 * 0.3) - 0.3
    assert float(velocity) == pytest.approx(expected, rel=1e-14)


def test_the_target_of_a_residual_has_unit_variance_at_every_time() -> None:
    own = torch.Generator().manual_seed(1)
    spread, centre = torch.tensor([0.2, 1.5], **DOUBLE), torch.tensor([-0.9, 0.4], **DOUBLE)
    pictures = centre + spread * torch.randn(50_000, 2, generator=own, **DOUBLE)
    eps = torch.randn(50_000, 2, generator=own, **DOUBLE)
    for time in (0.05, 0.5, 0.95):
        t = torch.full((50_000, 1), time, **DOUBLE)
        x = (1 - t) * pictures + t * eps
        seen: list[Tensor] = []

        def zero(y: Tensor, seen: list[Tensor] = seen) -> Tensor:
            seen.append(y)
            return torch.zeros_like(y)

        gaussian = by_residual(zero, x, t, centre, spread)
        scale = spread / (((1 - time) * spread) ** 2 + time**2).sqrt()
        target = (gaussian - (eps - pictures)) / scale
        torch.testing.assert_close(seen[0].std(0), torch.ones(2, **DOUBLE), rtol=0.02, atol=0)
        torch.testing.assert_close(target.std(0), torch.ones(2, **DOUBLE), rtol=0.02, atol=0)
        assert float(target.mean(0).abs().max()) < 0.02


def test_a_weight_of_one_is_the_strong_model_itself() -> None:
    own = torch.Generator().manual_seed(2)
    strong, weak = (torch.randn(3, 4, generator=own, **DOUBLE) for _ in range(2))
    torch.testing.assert_close(extrapolate(strong, weak, 1.0), strong)
    torch.testing.assert_close(extrapolate_scaled(strong, weak, 1.0), strong)
    torch.testing.assert_close(extrapolate(strong, weak, 0.0), weak)


def test_the_scaled_extrapolation_has_its_golden_value() -> None:
    strong, weak = torch.tensor([[1.0, 2.0, 3.0]], **DOUBLE), torch.tensor([[2.0, 1.0, 1.0]], **DOUBLE)
    expected = torch.tensor([[-1 / 3, 17 / 6, 29 / 6]], **DOUBLE)
    torch.testing.assert_close(extrapolate_scaled(strong, weak, 2.0), expected, rtol=1e-7, atol=1e-7)


def test_guidance_leaves_pictures_outside_of_its_interval_alone() -> None:
    strong, weak = torch.ones(3, 2), torch.zeros(3, 2)
    calls = []

    def weaker() -> Tensor:
        calls.append(1)
        return weak

    def twice(v: Tensor, w: Tensor) -> Tensor:
        return extrapolate(v, w, 2.0)

    assert torch.equal(guided(lambda: strong, weaker, twice, torch.zeros(3, dtype=torch.bool)), strong)
    assert not calls, "the weak model was computed for nothing"
    mixed = guided(lambda: strong, weaker, twice, torch.tensor([True, False, True]))
    assert mixed[:, 0].tolist() == [2.0, 1.0, 2.0]

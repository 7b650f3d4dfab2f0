"""Schedules, clipping, optimiser state as named tensors, and the moving average."""

from __future__ import annotations

import math

import pytest
import torch
from pydantic import BaseModel, ValidationError
from torch import Tensor, nn

from limner.core import optim
from limner.core.config import DataSpec
from limner.core.method import averaged
from limner.core.optimiser_settings import Clip, Optimiser
from limner.core.schedule import Schedule, Scheduled
from limner.recipes.build import build_method
from limner.recipes.settings import compose
from limner.training.ema import Ema


class Holder(BaseModel):
    lr: Scheduled


@pytest.mark.parametrize(
    ("schedule", "values"),
    [
        (Schedule(value=3.0), {0.0: 3.0, 0.5: 3.0, 1.0: 3.0}),
        (Schedule(value=2.0, warmup=0.1), {0.0: 0.0, 0.05: 1.0, 0.1: 2.0, 1.0: 2.0}),
        (Schedule(value=2.0, decay_from=0.6), {0.6: 2.0, 0.8: 1.0, 1.0: 0.0}),
        (Schedule(value=2.0, decay_from=0.0, final=0.25), {0.0: 2.0, 0.5: 1.25, 1.0: 0.5}),
        (
            Schedule(value=4.0, decay_from=0.5, shape="cosine"),
            {0.5: 4.0, 0.625: 4 * (0.5 + math.sqrt(0.125)), 0.75: 2.0, 1.0: 0.0},
        ),
        (Schedule(value=1.0, warmup=0.2, decay_from=0.5, final=2.0), {0.1: 0.5, 0.3: 1.0, 0.75: 1.5, 1.0: 2.0}),
    ],
)
def test_schedule_values(schedule: Schedule, values: dict[float, float]) -> None:
    assert {at: schedule.at(at) for at in values} == pytest.approx(values, abs=1e-12)
    assert Holder.model_validate(Holder(lr=schedule).model_dump()).lr == schedule


def test_a_bare_number_is_a_constant_and_stays_one() -> None:
    holder = Holder.model_validate({"lr": 1e-3})
    assert holder.lr == Schedule(value=1e-3)
    assert holder.model_dump() == {"lr": 1e-3}
    assert set(Holder.model_validate({"lr": {"value": 1.0, "warmup": 0.1}}).model_dump()["lr"]) > {"value", "warmup"}
    for bad in ({"value": 1.0, "warmup": 1.0}, {"value": 1.0, "decay_from": 1.5}, {"value": 1.0, "warm": 0.1}, True, {}):
        with pytest.raises(ValidationError):
            Holder.model_validate({"lr": bad})


def grads() -> list[Tensor]:
    return [torch.tensor([3.0, -4.0]), torch.tensor([[12.0]])]  # the joint norm is 13


@pytest.mark.parametrize(
    ("clip", "scale"),
    [
        (Clip(by="norm", limit=6.5), 0.5),
        (Clip(by="norm", limit=100.0), 1.0),
        (Clip(by="normalised", limit=26.0), 2.0),
        (Clip(by="normalised", limit=1.0), 1 / 13),
    ],
)
def test_clip_by_norm(clip: Clip, scale: float) -> None:
    found = grads()
    assert float(optim.norm(found)) == pytest.approx(13.0)
    optim.clip_gradients(clip, found)
    for value, before in zip(found, grads(), strict=True):
        torch.testing.assert_close(value, before * scale)


def test_clip_by_value() -> None:
    found = grads()
    optim.clip_gradients(Clip(by="value", limit=3.5), found)
    assert found[0].tolist() == [3.0, -3.5]
    assert found[1].tolist() == [[3.5]]


def test_clipping_nothing_gives_nothing_and_no_nan() -> None:
    for by in ("norm", "value", "normalised"):
        zero = [torch.zeros(3)]
        optim.clip_gradients(Clip(by=by), zero)
        assert zero[0].tolist() == [0, 0, 0]


@pytest.mark.parametrize("kind", ["adam", "adamw", "sgd"])
def test_optimiser_state_round_trip(kind: str) -> None:
    """Three steps, state out and into a fresh optimiser, three more: as six at once, for weights in either memory order."""

    def weights() -> tuple[dict[Tensor, str], list[Tensor]]:
        generator = torch.Generator().manual_seed(0)
        conv = nn.Parameter(torch.randn(5, 4, 3, 3, generator=generator).contiguous(memory_format=torch.channels_last))
        flat = nn.Parameter(torch.randn(6, 2, generator=generator))
        return {conv: "net.conv", flat: "net.flat"}, [conv, flat]

    def steps(optimiser: torch.optim.Optimizer, own: list[Tensor], start: int) -> None:
        for step in range(start, start + 3):
            generator = torch.Generator().manual_seed(step)
            for weight in own:
                weight.grad = torch.empty_like(weight).copy_(torch.randn(weight.shape, generator=generator))
            optim.set_progress(optimiser, spec, 0.0)
            optimiser.step()

    spec = Optimiser(kind=kind, lr=0.1, betas=(0.9, 0.95), weight_decay=0.01)
    names, whole = weights()
    one = optim.build_optimiser(spec, whole)
    steps(one, whole, 0)
    state = {name: value.clone().contiguous() for name, value in optim.state_tensors(one, names).items()}
    halfway = [weight.detach().clone() for weight in whole]
    steps(one, whole, 3)
    other_names, parts = weights()
    with torch.no_grad():
        for weight, value in zip(parts, halfway, strict=True):
            weight.copy_(value)
    two = optim.build_optimiser(spec, parts)
    optim.load_state_tensors(two, other_names, state)
    steps(two, parts, 3)
    assert state
    for a, b in zip(whole, parts, strict=True):
        assert torch.equal(a, b)


def test_state_of_another_shape_is_refused() -> None:
    from limner.core.errors import InputError

    weight = nn.Parameter(torch.zeros(3))
    optimiser = optim.build_optimiser(Optimiser(), [weight])
    for state in ({"w/exp_avg": torch.zeros(4)}, {"other/exp_avg": torch.zeros(3)}):
        with pytest.raises(InputError, match="another recipe"):
            optim.load_state_tensors(optimiser, {weight: "w"}, state)


def test_ema_half_life() -> None:
    """After one half-life in images, half of the old is left, whatever the batch; 0 copies."""
    method = build_method(compose("gan", ["method.generator.widths=[4]"]), DataSpec.of_images((8, 8, 1)))
    for batch in (10, 50, 100):
        ema = Ema(method)
        name, live = next(iter(method.generator.named_parameters()))
        mean = ema.method.get_parameter(f"generator.{name}")
        start = mean.clone()
        with torch.no_grad():
            live.add_(1.0)
        for _ in range(100 // batch):
            ema.update(batch, 100)
        torch.testing.assert_close(mean, start + 0.5)
        critic = next(ema.method.discriminator.parameters())
        before = critic.clone()
        with torch.no_grad():
            next(method.discriminator.parameters()).add_(1.0)
        ema.update(batch, 0)
        torch.testing.assert_close(mean, live.detach())
        assert torch.equal(critic, before), "nobody samples from the discriminator"
        assert not mean.requires_grad
        assert not ema.method.training


def test_ema_follows_running_moments() -> None:
    method = build_method(compose("dcgan", ["method.generator.width=16"]), DataSpec.of_images((8, 8, 1)))
    ema = Ema(method)
    name = next(name for name, _ in method.generator.named_buffers() if name.endswith("running_mean"))
    with torch.no_grad():
        method.generator.get_buffer(name).fill_(4.0)
    ema.update(64, 64)
    assert ema.method.get_buffer(f"generator.{name}").tolist() == [2.0] * len(method.generator.get_buffer(name))
    assert f"generator.{name}" in averaged(method)
    assert not any(key.startswith("discriminator.") for key in averaged(method))

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


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("kind=muon", {"kind": "muon"}),
        ("lr.value=1e-3", {"value": 1e-3}),
        ("lr={value: 1e-3, warmup: 0.1}", {"value": 1e-3, "warmup": 0.1}),
        ("lr=1e-3", {"value": 1e-3, "warmup": 0.0, "decay_from": 1.0}),  # a bare number is a constant
    ],
)
def test_one_setting_of_an_optimiser_leaves_the_others_at_the_familys_defaults(
    setting: str, expected: dict[str, object]
) -> None:
    """A rate for `flow` lost its warm-up and its decay, and another kind its rate too: the defaults of the class came in."""
    default = compose("flow").method.model_dump()["optimiser"]
    assert default["lr"]["warmup"] > 0
    assert default["lr"]["decay_from"] < 1
    optimiser = compose("flow", [f"method.optimiser.{setting}"]).method.optimiser  # type: ignore[attr-defined]
    got = {"kind": optimiser.kind, **{name: getattr(optimiser.lr, name) for name in ("value", "warmup", "decay_from")}}
    assert got == {"kind": "adam", **{name: default["lr"][name] for name in ("value", "warmup", "decay_from")}} | expected


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


@pytest.mark.parametrize("kind", ["adam", "adamw", "sgd", "muon"])
def test_optimiser_state_round_trip(kind: str) -> None:
    """Three steps, state out and into a fresh optimiser, three more: as six at once, for weights in either memory order."""

    def weights() -> tuple[dict[Tensor, str], list[Tensor]]:
        generator = torch.Generator().manual_seed(0)
        conv = nn.Parameter(torch.randn(33, 4, 3, 3, generator=generator).contiguous(memory_format=torch.channels_last))
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


@pytest.mark.parametrize("shape", [(32, 80), (80, 32), (48, 48)])
def test_muon_sets_singular_values_by_the_published_polynomial(shape: tuple[int, int]) -> None:
    """Against the singular value decomposition: the same vectors, and each value by five rounds of the quintic."""
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    values = values / values.square().sum().sqrt()
    for _ in range(5):
        values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
    torch.testing.assert_close(optim.orthogonalise(matrix), left @ values.diag() @ right, rtol=1e-6, atol=1e-6)
    assert float(values.min()) > 0.1
    assert float(values.max()) < 1.3
    torch.testing.assert_close(optim.orthogonalise(1e4 * matrix), optim.orthogonalise(matrix), rtol=1e-6, atol=1e-6)
    assert not optim.orthogonalise(torch.zeros(shape)).any()


def test_muon_is_torchs_where_torchs_takes_the_weight_and_adam_elsewhere() -> None:
    """Three steps beside torch.optim.Muon, which rounds to bfloat16, on a matrix, and beside Adam on the rest, to the bit."""
    own = torch.Generator().manual_seed(5)
    start = [torch.randn(*shape, generator=own) for shape in ((40, 64), (64, 8, 3, 3), (64,), (64, 16))]
    ours, theirs = ([nn.Parameter(each.clone()) for each in start] for _ in range(2))
    muon = optim.build_optimiser(Optimiser(kind="muon", lr=0.02, weight_decay=0.0), ours)
    settings = {"momentum": 0.95, "nesterov": True, "adjust_lr_fn": "match_rms_adamw", "weight_decay": 0.0}
    matrix = torch.optim.Muon(theirs[:1], lr=0.02, **settings)
    rest = torch.optim.Adam(theirs[2:], lr=0.02, fused=True)
    for _ in range(3):
        for a, b in zip(ours, theirs, strict=True):
            a.grad = torch.randn(a.shape, generator=own)
            b.grad = a.grad.clone()
        optim.set_progress(muon, Optimiser(kind="muon", lr=0.02), 0.0)
        for optimiser in (muon, matrix, rest):
            optimiser.step()
    moved, other = ours[0].detach() - start[0], theirs[0].detach() - start[0]
    assert float((moved - other).norm() / other.norm()) < 0.02
    assert torch.equal(ours[2], theirs[2])
    assert torch.equal(ours[3], theirs[3]), "16 entries in a row are too few"
    # A convolution is the matrix of its filters.
    flat = nn.Parameter(start[1].flatten(1).clone())
    alone = optim.build_optimiser(Optimiser(kind="muon", lr=0.02), [flat])
    conv = nn.Parameter(start[1].clone().contiguous(memory_format=torch.channels_last))
    beside = optim.build_optimiser(Optimiser(kind="muon", lr=0.02), [conv])
    for weight, optimiser in ((flat, alone), (conv, beside)):
        weight.grad = start[1].reshape(weight.shape).cos()
        optim.set_progress(optimiser, Optimiser(kind="muon", lr=0.02), 0.0)
        optimiser.step()
    torch.testing.assert_close(conv.flatten(1), flat)
    assert float((flat.detach() - start[1].flatten(1)).square().mean().sqrt()) == pytest.approx(0.02 * 0.2, rel=0.15)


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

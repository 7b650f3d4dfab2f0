"""The flow's own parts: how times are drawn, what is measured of the data, classes that are hidden, networks for any size."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from contract.helpers import composed, method_of, settled
from limner.core.cond import Batch, Cond
from limner.core.config import check_sampling_used, parse_sampling
from limner.core.errors import InputError
from limner.core.method import StepContext
from limner.core.seeds import noise
from limner.methods.affine import AffineChanges, warp
from limner.methods.flow import solvers
from limner.methods.flow.config import FlowConfig, FlowSampling, automatic_multipliers
from limner.methods.flow.flow import CHANGE_NUMBERS, Flow
from limner.methods.flow.guidance import extrapolate, extrapolate_scaled
from limner.nets.dit import Dit, DitSize
from limner.nets.unet import UNet, UNetSize
from limner.recipes.build import build_method


def flow(*settings: str, shape: tuple[int, int, int] = (8, 8, 1)) -> Flow:
    method = method_of("flow", shape, *settings)
    assert isinstance(method, Flow)
    return method


def batch_of(count: int, seed: int = 0) -> Batch:
    own = torch.Generator().manual_seed(seed)
    return Batch(torch.zeros(count, 1, 8, 8), draw=lambda shape, device: torch.randn(shape, generator=own))


@pytest.mark.parametrize(
    ("settings", "median", "middle"),
    [
        (("method.times=uniform",), 0.5, 0.5),
        (("method.times=logit-normal",), 0.5, 0.50),
        (("method.times=logit-normal", "method.time_mean=-1.2", "method.time_spread=1.2"), 1 / (1 + math.exp(1.2)), 0.29),
        (("method.times=edm",), 1 / (1 + math.exp(1.2)), 0.29),
    ],
)
def test_times_have_the_distribution_that_is_set(settings: tuple[str, ...], median: float, middle: float) -> None:
    """The median of the times, and the share of them between a quarter and three quarters."""
    for stratified in ("true", "false"):
        times = flow(*settings, f"method.stratified={stratified}")._draw_times(batch_of(4000))
        assert float(times.median()) == pytest.approx(median, abs=0.02)
        inside = float(((times > 0.25) & (times < 0.75)).double().mean())
        if settings[0] == "method.times=uniform":
            assert inside == pytest.approx(middle, abs=0.03)
        else:  # Φ((log 3 − m)/s) − Φ((−log 3 − m)/s)
            mean, spread = (0.0, 1.0) if settings == ("method.times=logit-normal",) else (-1.2, 1.2)
            normal = torch.distributions.Normal(mean, spread)
            expected = float(normal.cdf(torch.tensor(math.log(3))) - normal.cdf(torch.tensor(-math.log(3))))
            assert inside == pytest.approx(expected, abs=0.03)


def test_stratified_times_share_a_batch_out() -> None:
    """One time falls into each of as many equal shares of the distribution as there are pictures."""
    times = flow("method.times=uniform")._draw_times(batch_of(16))
    assert (times * 16).long().tolist() == list(range(16))
    free = flow("method.times=uniform", "method.stratified=false")._draw_times(batch_of(16))
    assert sorted((free * 16).long().tolist()) != list(range(16))


def test_an_untrained_flow_is_right_about_means_and_deviations() -> None:
    """Before any step, samples have the mean and the deviation of each pixel of the training pictures."""
    method = flow(shape=(8, 8, 3)).eval()
    own = torch.Generator().manual_seed(3)
    centre, spread = torch.rand(3, 8, 8, generator=own) - 0.5, 0.1 + 0.2 * torch.rand(3, 8, 8, generator=own)
    pictures = centre + spread * torch.randn(2048, 3, 8, 8, generator=own)
    method.fit_at_start(Batch(part) for part in pictures.split(64))
    torch.testing.assert_close(method.centre, pictures.mean(0))
    torch.testing.assert_close(method.spread, pictures.std(0).clamp(min=0.1))
    drawn = method.sample(range(512), Cond(), FlowSampling(steps=20))
    torch.testing.assert_close(drawn.mean(0), centre.clamp(-1, 1), rtol=0, atol=0.08)
    torch.testing.assert_close(drawn.std(0), spread, rtol=0.25, atol=0.02)


def test_a_class_is_hidden_as_often_as_is_set() -> None:
    method = flow("method.labels=true", "method.drop_labels=0.25")
    batch = batch_of(4000)
    batch = Batch(batch.images, Cond(label=torch.full((4000,), 7)), batch.draw)
    label = method._hide_labels(batch)
    assert label is not None
    assert float((label == -1).double().mean()) == pytest.approx(0.25, abs=0.03)
    assert set(label.tolist()) == {-1, 7}


def test_guidance_of_one_is_the_conditional_model_and_more_of_it_moves_away() -> None:
    method = flow("method.labels=true").eval()
    with torch.no_grad():
        for weight in method.parameters():
            weight.add_(0.05 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)))
    label = Cond(label=torch.tensor([2, 2, 5, 5]))
    plain = method.sample([1, 2, 3, 4], label, FlowSampling(steps=4, guidance=1.0))
    calls: list[Tensor | None] = []
    original = method._velocity

    def velocity(x: Tensor, time: Tensor, label: Tensor | None, network: nn.Module | None = None) -> Tensor:
        calls.append(label)
        return original(x, time, label, network)

    method._velocity = velocity  # type: ignore[method-assign]
    assert torch.equal(method.sample([1, 2, 3, 4], label, FlowSampling(steps=4, guidance=1.0)), plain)
    assert len(calls) == 4
    assert all(one is not None for one in calls), "the model without a class was computed for nothing"
    stronger = method.sample([1, 2, 3, 4], label, FlowSampling(steps=4, guidance=2.0))
    assert len(calls) == 4 + 8
    assert float((stronger - plain).abs().mean()) > 1e-4
    late = method.sample([1, 2, 3, 4], label, FlowSampling(steps=4, guidance=2.0, guidance_from=0.6))
    assert 0 < float((late - plain).abs().mean()) < float((stronger - plain).abs().mean())


def conditional_flow(monkeypatch: pytest.MonkeyPatch, seed: int = 1) -> Flow:
    """With weights that are not those at the start, computing in float32."""
    monkeypatch.setattr("limner.methods.flow.flow.choose", lambda device: "fp32")
    method = flow("method.labels=true").eval().requires_grad_(False)
    for weight in method.parameters():
        weight.add_(0.05 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(seed)))
    return method


SEEDS, LABEL = [5, 6, 7], Cond(label=torch.tensor([2, 2, 5]))


def solver_velocity(method: Flow, cond: Cond) -> solvers.Velocity:
    """The model's own velocity, as solvers call it."""
    return lambda x, time: method.velocity(x.float(), time.float(), cond).double()


@pytest.mark.parametrize("solver", ["euler", "heun", "midpoint", "dpm", "ancestral", "adaptive"])
def test_a_sample_with_guidance_of_one_is_the_solver_on_the_conditional_velocity(
    solver: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the bit, with the state in float64, at the times, and by the tolerance, that are set."""
    method = conditional_flow(monkeypatch)
    start, velocity = noise(SEEDS, 1, 8, 8).double(), solver_velocity(method, LABEL)
    times = solvers.shifted_times(3, 2.5)
    if solver == "adaptive":
        end, _ = solvers.adaptive(velocity, start, tolerance=0.2)
    elif solver == "ancestral":
        end = solvers.ancestral(velocity, start, times, lambda step: noise(SEEDS, 1, 8, 8, stream=f"step {step}").double())
    else:
        end = getattr(solvers, solver)(velocity, start, times)
    settings = {"steps": 3, "solver": solver, "shift": 2.5, "tolerance": 0.2, "guidance": 1.0}
    sample = method.sample(SEEDS, LABEL, FlowSampling.model_validate(settings))
    assert torch.equal(sample, end.float().clamp(-1, 1))
    assert float(sample.abs().max()) > 0.1


@pytest.mark.parametrize("guide", ["class", "checkpoint"])
def test_a_guided_sample_is_the_solver_on_the_guided_velocity(guide: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Away from the model without a class by CFG-Zero*, or from the early checkpoint, which is given the class; at the times of
    the interval, its ends included, and nowhere else."""
    method, early = conditional_flow(monkeypatch), conditional_flow(monkeypatch, seed=2)
    method.read_guide = lambda: {name: weight for name, weight in early.state_dict().items() if name.startswith("network.")}
    strong = solver_velocity(method, LABEL)
    weak = solver_velocity(method, Cond()) if guide == "class" else solver_velocity(early, LABEL)
    mix = extrapolate_scaled if guide == "class" else extrapolate

    def velocity(x: Tensor, time: Tensor) -> Tensor:
        if float(time[0]) not in (0.75, 0.5):
            return strong(x, time)
        return mix(strong(x, time).float(), weak(x, time).float(), 2.5).double()

    with torch.no_grad():
        end = solvers.euler(velocity, noise(SEEDS, 1, 8, 8).double(), [1.0, 0.75, 0.5, 0.25, 0.0])
    settings = {"guide": guide, "guidance": 2.5, "guidance_from": 0.75, "guidance_to": 0.5}
    sampling = FlowSampling.model_validate({"steps": 4, "solver": "euler", "shift": 1.0, **settings})
    sample = method.sample(SEEDS, LABEL, sampling)
    assert torch.equal(sample, end.float().clamp(-1, 1))
    assert not torch.equal(sample, method.sample(SEEDS, LABEL, sampling.model_copy(update={"guidance": 1.0})))


def test_guidance_without_classes_is_refused_in_one_line() -> None:
    method = flow("method.labels=false")
    with pytest.raises(InputError, match="guidance=2 leads away from the model without a class, and this one has no classes"):
        method.sample([0], Cond(), FlowSampling(guidance=2.0, guide="class"))
    with pytest.raises(InputError, match=r"train one with method\.drop_labels=0\.1, or set guidance=1"):
        flow("method.labels=true", "method.drop_labels=0").sample([0], Cond(), FlowSampling(guidance=2.0))
    with pytest.raises(InputError, match="leads away from an early checkpoint, and this run kept none"):
        method.sample([0], Cond(), FlowSampling(guidance=2.0, guide="checkpoint"))


def test_the_early_checkpoint_guides_without_classes() -> None:
    """Guidance by a weight of 0 is the early checkpoint itself; the weights of the model are never touched."""
    method = flow("method.labels=false").eval()
    early = {name: weight.clone() for name, weight in method.state_dict().items() if name.startswith("network.")}
    with torch.no_grad():
        for weight in method.parameters():
            weight.add_(0.05 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)))
    late = {name: weight.clone() for name, weight in method.state_dict().items()}
    method.read_guide = lambda: early
    weak = method.sample(range(4), Cond(), FlowSampling(steps=4, guidance=0.0))
    plain = method.sample(range(4), Cond(), FlowSampling(steps=4))
    stronger = method.sample(range(4), Cond(), FlowSampling(steps=4, guidance=2.0))
    assert float((weak - plain).abs().mean()) > 1e-3
    assert float((stronger - weak).abs().mean()) > float((plain - weak).abs().mean())
    assert all(torch.equal(weight, late[name]) for name, weight in method.state_dict().items())
    method.load_state_dict(early, strict=False)
    torch.testing.assert_close(method.sample(range(4), Cond(), FlowSampling(steps=4)), weak)


@pytest.mark.parametrize("solver", ["euler", "midpoint", "dpm", "ancestral", "adaptive"])
def test_every_solver_ends_near_the_finest_one(solver: str) -> None:
    """On a network with real weights; ancestral ends elsewhere for the same noise, with the same mean."""
    method = flow().eval()
    fine = method.sample(range(32), Cond(), FlowSampling(steps=200, solver="heun", shift=1.0))
    drawn = method.sample(range(32), Cond(), FlowSampling.model_validate({"steps": 60, "solver": solver, "tolerance": 1e-3}))
    if solver == "ancestral":
        assert float((drawn - fine).abs().mean()) > 0.05
        assert float(drawn.mean()) == pytest.approx(float(fine.mean()), abs=0.05)
    else:
        torch.testing.assert_close(drawn, fine, rtol=0, atol=0.03)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 9, 14), (4, 33, 31), (2, 16, 40)])
@pytest.mark.parametrize("kind", ["unet", "transformer"])
def test_networks_take_any_size(shape: tuple[int, int, int], kind: str) -> None:
    """The output has the picture's size, is zero at first, and with trained weights depends on every input."""
    torch.manual_seed(0)
    network: UNet | Dit
    if kind == "unet":
        network = UNet(shape, UNetSize(8, automatic_multipliers(-(-max(shape[1:]) // 2)), 1, 8, 2, 2, 0.0), 3)
    else:
        network = Dit(shape, DitSize(16, 2, 2, 4, 0.0), 3)
    x, time, label = torch.randn(2, *shape), torch.tensor([0.2, 0.7]), torch.tensor([0, -1])
    assert torch.equal(network(x, time, label), torch.zeros(2, *shape))
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    out = network(x, time, label)
    assert out.shape == x.shape
    corner = x.clone()
    corner[:, :, -1, -1] += 1.0
    assert not torch.allclose(network(corner, time, label), out)
    assert not torch.allclose(network(x, time.flip(0), label), out)
    other = network(x, time, torch.tensor([1, -1]))
    assert not torch.allclose(other[0], out[0])
    assert torch.allclose(other[1], out[1], atol=1e-6)
    torch.testing.assert_close(network(x, time, None)[1], out[1])


def test_sizes_follow_from_the_pictures() -> None:
    for size, patch, multipliers in ((8, 1, (1,)), (28, 2, (1, 2)), (32, 2, (1, 2)), (64, 2, (1, 2, 2)), (128, 4, (1, 2, 2))):
        config = settled(composed("flow"), (size, size, 3)).method
        assert isinstance(config, FlowConfig)
        assert (config.network.patch, config.network.multipliers) == (patch, multipliers)


def test_heads_that_do_not_fit_are_refused_in_one_line() -> None:
    with pytest.raises(InputError, match=r"method\.network\.heads=3 does not divide method\.network\.width=8"):
        flow("method.network.heads=3")


def test_an_interval_of_guidance_that_is_upside_down_is_refused() -> None:
    with pytest.raises(ValueError, match="time falls from 1 to 0"):
        FlowSampling(guidance_from=0.2, guidance_to=0.5)


def test_the_loss_is_the_squared_error_of_the_velocity() -> None:
    """Of an untrained network it is that of the normal distribution's velocity, in closed form on normal data."""
    method = flow("method.times=uniform")
    method.spread.fill_(0.5)
    own = torch.Generator().manual_seed(5)
    images = 0.5 * torch.randn(2000, 1, 8, 8, generator=own)
    draw = torch.Generator().manual_seed(6)
    batch = Batch(images, draw=lambda shape, device: torch.randn(shape, generator=draw))
    loss = method.losses("velocity", (batch,), StepContext(0, 0.0)).of["flow"].mean()
    # E|ε − x₀ − E[ε − x₀ | x_t]|² = s²/S², whose mean over t in 0..1 for s = 0.5 is (s²/S² integrated)
    t = torch.linspace(0, 1, 20_001, dtype=torch.float64)
    expected = torch.trapezoid(0.25 / ((1 - t) ** 2 * 0.25 + t**2), t)
    assert float(loss.detach()) == pytest.approx(float(expected), rel=0.01)


def test_a_flow_draws_the_latents_of_nothing_too_small() -> None:
    with pytest.raises(InputError, match="at least 8 pixels a side"):
        build_method(settled(composed("flow"), (4, 8, 3)), composed("flow").data.model_copy(update={"size": (4, 8)}).spec())


def test_settings_that_are_refused_have_no_effect_indeed() -> None:
    """The same bits with and without them; with the other value of what they need, other pictures."""
    method = flow("method.labels=true").eval()
    with torch.no_grad():
        for weight in method.parameters():
            weight.add_(0.05 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)))

    def draw(**values: object) -> Tensor:
        return method.sample([1, 2], Cond(), FlowSampling.model_validate({"steps": 3, **values}))

    for base, values, other in (
        ({"solver": "adaptive", "tolerance": 0.5}, {"steps": 7}, {"solver": "dpm"}),
        ({"solver": "adaptive", "tolerance": 0.5}, {"shift": 5.0}, {"solver": "dpm"}),
        ({"steps": 1}, {"shift": 5.0}, {"steps": 2}),
        ({}, {"tolerance": 0.5}, {"solver": "adaptive"}),
        ({"guidance": 1.0}, {"guide": "checkpoint"}, None),
        ({"guidance": 1.0}, {"guidance_from": 0.6}, {"guidance": 3.0}),
        ({"guidance": 1.0}, {"guidance_to": 0.6}, {"guidance": 3.0}),
    ):
        assert torch.equal(draw(**base, **values), draw(**base)), values  # type: ignore[arg-type]
        with pytest.raises(InputError, match=f"^{next(iter(values))}=.* would do nothing here: it belongs to"):
            check_sampling_used(method.resolve_sampling(FlowSampling.model_validate({**base, **values})))
        if other is not None:
            assert not torch.equal(draw(**{**base, **other, **values}), draw(**{**base, **other})), values


@pytest.mark.parametrize(
    ("settings", "values", "in_force"),
    [
        ("method.labels=true", {}, {"steps": 10, "solver": "dpm", "shift": 2.0, "guidance": 2.0, "guide": "class"}),
        (
            "method.labels=true",
            {"guidance": 3},
            {"steps": 10, "solver": "dpm", "shift": 2.0, "guidance": 3.0, "guide": "class"},
        ),
        ("method.labels=false", {}, {"steps": 10, "solver": "dpm", "shift": 2.0, "guidance": 1.0}),
        ("method.labels=false", {"solver": "adaptive"}, {"solver": "adaptive", "tolerance": 0.02, "guidance": 1.0}),
        (
            "method.labels=false",
            {"guidance": 1.5, "steps": 1},
            {"steps": 1, "solver": "dpm", "guidance": 1.5, "guide": "checkpoint"},
        ),
    ],
)
def test_the_settings_in_force_are_those_of_this_model(settings: str, values: dict[str, object], in_force: object) -> None:
    """The default of guidance depends on the model; what was given is remembered as given, and drawn to the same bits."""
    method, given = flow(settings).eval(), FlowSampling.model_validate(values)
    resolved = method.resolve_sampling(given)
    interval = {} if resolved.guidance == 1 else {"guidance_from": 1.0, "guidance_to": 0.0}
    assert resolved.in_force() == {**in_force, **interval}  # type: ignore[dict-item]
    assert resolved.model_fields_set == set(values)
    assert given == FlowSampling.model_validate(values)
    assert method.resolve_sampling(resolved) == resolved
    if resolved.guide == "class":
        assert torch.equal(method.sample([3], Cond(), given), method.sample([3], Cond(), resolved))


def test_what_needs_guidance_is_refused_where_the_model_has_none_by_default() -> None:
    sampling = FlowSampling(guidance_from=0.5)
    check_sampling_used(flow("method.labels=true").resolve_sampling(sampling))
    with pytest.raises(
        InputError, match=r"^guidance_from=0\.5 would do nothing here: it belongs to guidance other than 1; leave"
    ):
        check_sampling_used(flow("method.labels=false").resolve_sampling(sampling))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"guidance": math.nan}, "guidance nan is out of range; give a number of 0 or more and of at most 100"),
        ({"guidance": -1}, "guidance -1 is out of range; give a number of 0 or more and of at most 100"),
        ({"steps": 0}, "steps 0 is out of range; give a whole number from 1 to 1000 (10 is the default)"),
        ({"solver": "hein"}, "solver 'hein' cannot be used; give 'euler', 'heun'"),
        ({"guidence": 2}, "no sampling setting 'guidence'; did you mean 'guidance'?"),
    ],
)
def test_a_wrong_setting_of_sampling_is_refused_in_one_line(values: dict[str, object], message: str) -> None:
    """`guidance` has no number as its default, and the message about its range was a fault of limner's own."""
    with pytest.raises(InputError, match=re.escape(message)):
        parse_sampling(FlowSampling, values, "the model")


def test_the_network_is_told_how_pictures_were_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    """An unchanged picture is told by zeros; what is told is what was done; pictures that are drawn are unchanged ones."""
    method = flow("method.augment=0.5", "method.labels=false")
    pictures = torch.rand(256, 1, 8, 8, generator=torch.Generator().manual_seed(1)) * 2 - 1
    changed, numbers = method._augmented(replace(batch_of(256), images=pictures))
    assert numbers is not None
    same = (numbers == 0).all(1)
    only_mirrored = (numbers[:, 0] == 1) & (numbers[:, 1:] == 0).all(1)
    assert 0.02 < float(same.float().mean()) < 0.12  # (1 − ½/2)·(1 − ½)⁴ = .047
    assert torch.equal(changed.images[same], pictures[same])
    assert torch.equal(changed.images[only_mirrored], pictures[only_mirrored].flip(3))
    assert only_mirrored.any()
    assert (changed.images[~same] != pictures[~same]).flatten(1).any(1).all()

    received: list[Tensor | None] = []
    inner = method.network.forward
    monkeypatch.setattr(method.network, "forward", lambda x, t, y, change: (received.append(change), inner(x, t, y, change))[1])
    losses = method.losses("velocity", (batch_of(4),), StepContext(0, 0.0))
    losses.of["flow"].sum().backward()
    assert received[0] is not None
    assert received[0].shape == (4, CHANGE_NUMBERS)
    method.eval().sample([0], Cond(), FlowSampling(steps=1))
    assert received[-1] is None
    assert flow("method.labels=false").network.change is None


def test_affine_changes_do_what_their_numbers_say() -> None:
    """A shift by whole pixels and a quarter turn move pixels exactly; scaling by two shows the middle."""
    picture = torch.rand(1, 2, 9, 9, generator=torch.Generator().manual_seed(2))

    def change(**values: float) -> AffineChanges:
        neutral = {"scale": 1.0, "before": 0.0, "stretch": 1.0, "after": 0.0, "right": 0.0, "down": 0.0}
        return AffineChanges(
            torch.tensor([True]), **{name: torch.tensor([value]) for name, value in (neutral | values).items()}
        )

    moved = warp(picture, change(right=2, down=1))
    torch.testing.assert_close(moved[:, :, 1:, 2:], picture[:, :, :-1, :-2], rtol=0, atol=1e-5)
    torch.testing.assert_close(moved[:, :, 1:, 0], picture[:, :, :-1, 2], rtol=0, atol=1e-5)  # reflected
    turned = warp(picture, change(before=math.pi / 2))
    torch.testing.assert_close(turned, picture.rot90(-1, (2, 3)), rtol=0, atol=1e-5)
    larger = warp(picture, change(scale=2))
    torch.testing.assert_close(larger[:, :, ::2, ::2], picture[:, :, 2:7, 2:7], rtol=0, atol=1e-5)
    wider = warp(picture, change(stretch=2))
    torch.testing.assert_close(wider[:, :, 4, ::2], picture[:, :, 4, 2:7], rtol=0, atol=1e-5)
    told = change(scale=2, before=math.pi / 2, stretch=0.5, right=3, down=-1.5).numbers((9, 6))
    torch.testing.assert_close(told, torch.tensor([[1, -1, -1, 1, 0, 0, 0.5, -1 / 6]]))

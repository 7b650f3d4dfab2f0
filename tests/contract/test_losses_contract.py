"""What holds for the losses of every method: duplication changes nothing, and one pass equals two."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from contract.helpers import every_preset, method_of, pictures_like, without_dropout
from limner.core.cond import Batch, Cond
from limner.core.layer_state import stateful_layers
from limner.core.method import Losses, Method, StepContext
from limner.methods.gan.gan import Gan
from limner.methods.gan.losses import GAMES
from limner.recipes.registry import PRESETS

SHAPE = (12, 10, 3)
HALFWAY = StepContext(1000, 0.5)


class Repeated:
    """Noise that is the same for every copy of an image: row i of a batch gets row i mod `count` of what was drawn first."""

    def __init__(self, count: int) -> None:
        self.count, self.drawn, self.turn = count, list[Tensor](), 0

    def __call__(self, shape: tuple[int, ...], device: torch.device) -> Tensor:
        if self.turn == len(self.drawn):
            own = torch.Generator().manual_seed(self.turn)
            self.drawn.append(torch.randn(self.count, *shape[1:], generator=own, dtype=torch.float64))
        rows = self.drawn[self.turn].to(device, torch.get_default_dtype())
        self.turn += 1
        return rows.repeat(shape[0] // self.count, *[1] * (len(shape) - 1))

    def again(self) -> Repeated:
        self.turn = 0
        return self


def gradients(method: Method, phase_name: str, losses: Losses, count: int) -> dict[str, Tensor]:
    """Of the mean over the batch, of each mover's own weights, as the stepper takes them."""
    phase = next(phase for phase in method.phases() if phase.name == phase_name)
    found: dict[str, Tensor] = {}
    for player in phase.players:
        start = losses.joint if losses.joint is not None else losses.of[player]
        module = method.get_submodule(method.players()[player].module)
        named = {name: weight for name, weight in module.named_parameters() if weight.requires_grad}
        values = torch.autograd.grad(start.sum() / count, list(named.values()), retain_graph=True, materialize_grads=True)
        found |= {f"{player}.{name}": value for name, value in zip(named, values, strict=True)}
    return found


@pytest.mark.parametrize(
    "settings",
    [
        (),
        ("method.r1_gamma=2.0", "method.r2_gamma=1.0", "method.penalty_every=1", "method.discriminator.norm=none"),
        ("method.updates=alternating",),
        ("method.labels=true", "method.discriminator.labels=auxiliary", "method.augment.kind=diff"),
        ("method.augment.mix=0.5", "method.instance_noise=0.1", "method.labels=false"),
        ("method.labels=true", "method.discriminator.labels=projection", "method.generator.labels=auto", "method.drift=0.1"),
    ],
    ids=["", "penalties", "alternating", "auxiliary", "mix", "projection"],
)
@every_preset
def test_duplicating_the_batch_and_its_noise_changes_nothing(preset: str, settings: Sequence[str]) -> None:
    """Losses per image, and the gradient of their mean; a loss that sums where it should average fails here."""
    if settings and PRESETS[preset].family != "gan":
        pytest.skip("no such setting")
    if preset == "tc-vae":  # stratified weights are for batches in which no picture comes twice, see below
        settings = ("method.total_correlation=weighted",)
    if preset == "flow":  # times that share the batch out among them are for pictures that come once, see test_flow.py
        settings = ("method.stratified=false",)
    duplicate(method_of(preset, SHAPE, *settings))


@pytest.mark.parametrize(
    ("preset", "settings"),
    [
        *(("vae", (f"method.decoder={decoder}",)) for decoder in ("fixed", "laplace", "bernoulli", "logistic")),
        ("vae", ("method.map=true", "method.latent=2")),
        ("vae", ("method.networks=mlp", "method.widths=[20]")),
        ("vae", ("method.block=dense",)),
        ("beta-vae", ("method.free_bits=0.02",)),
        ("beta-vae", ("method.capacity=3",)),
        ("autoencoder", ("method.noise=0.3", "method.hide=0.3")),
    ],
    ids=str,
)
def test_duplication_changes_nothing_whatever_is_chosen_of_an_autoencoder(preset: str, settings: Sequence[str]) -> None:
    duplicate(method_of(preset, SHAPE, *settings))


def test_stratified_weights_alone_mind_a_picture_that_comes_twice() -> None:
    """As is stated (`elbo.log_aggregate`): they are for batches drawn without replacement, in which a copy would be counted as
    another picture. Rate and distortion do not mind."""
    method = method_of("tc-vae", SHAPE)
    with torch.no_grad():
        for weight in method.parameters():  # posteriors that are told apart
            weight.mul_(2.0)
    once, twice = both(method, "elbo", Repeated(6))
    for name in ("rate", "distortion"):
        torch.testing.assert_close(twice.logs[name], once.logs[name].repeat(3), rtol=1e-4, atol=1e-4)
    moved = twice.logs["total_correlation"] - once.logs["total_correlation"].repeat(3)
    assert float(moved.detach().abs().mean()) > 0.01


def both(method: Method, phase: str, noise: Repeated) -> tuple[Losses, Losses]:
    """Of six pictures, and of three copies of each with the same noise."""
    images = pictures_like(6, SHAPE, device=method.device)
    label = torch.arange(6, device=images.device) % 3
    batches = next(part.batches for part in method.phases() if part.name == phase)
    once = _losses_and_statistics(method, phase, (Batch(images, Cond(label), noise),) * batches)
    again = Batch(images.repeat(3, 1, 1, 1), Cond(label.repeat(3)), noise.again())
    return once, _losses_and_statistics(method, phase, (again,) * batches)


def _losses_and_statistics(method: Method, phase: str, batches: tuple[Batch, ...]) -> Losses:
    """The losses of a phase; their `sums` hold what its layers noted as well."""
    losses = method.losses(phase, batches, HALFWAY)
    statistics = {
        f"{name}/{key}": value for name, layer in stateful_layers(method) for key, value in layer.take_statistics().items()
    }
    return replace(losses, sums={**losses.sums, **statistics})


def duplicate(method: Method) -> None:
    """Losses per image and gradients of their mean are the same, and sums three times what they were."""
    without_dropout(method)
    for phase in method.phases():
        once, twice = both(method, phase.name, Repeated(6))
        small, large = gradients(method, phase.name, once, 6), gradients(method, phase.name, twice, 18)
        for player, loss in once.of.items():
            assert loss.shape == (6,)
            assert twice.of[player].shape == (18,)
            torch.testing.assert_close(twice.of[player], loss.repeat(3), rtol=1e-4, atol=1e-4)
        # A bias before batch norm, or one that a loss of differences cannot see, has no gradient but for rounding.
        most = max(float(value.abs().max()) for value in small.values())
        for name, value in small.items():
            scale = float(value.abs().max())
            torch.testing.assert_close(large[name], value, rtol=1e-3, atol=max(2e-4 * scale, 1e-5 * most))
        assert any(float(value.abs().max()) > 0 for value in small.values())
        for name in (name for name in once.sums if name.rpartition("/")[2] in {"counts", "vectors", "images"}):
            torch.testing.assert_close(twice.sums[name], 3 * once.sums[name])


def _pair(networks: str, norm: str, loss: str, *more: str) -> tuple[Gan, Gan]:
    """The same float64 weights with shared and with alternating updates."""
    found = []
    for updates in ("shared", "alternating"):
        preset = "dcgan" if networks == "dcgan" else "gan"
        smooth = 0.1 if GAMES[loss].has_target else 0.0
        method = method_of(
            preset,
            SHAPE,
            f"method.updates={updates}",
            f"method.generator.norm={norm}",
            f"method.smooth={smooth}",
            f"method.loss={loss}",
            "method.r1_gamma=1.0",
            "method.penalty_every=1",
            "method.drift=0.1",
            *more,
            seed=4,
        )
        method = without_dropout(method.cpu().double())
        with torch.no_grad():  # the DCGAN start is nearly flat; make the logits and their gradients large enough to differ
            for weight in method.parameters():
                weight.mul_(3.0)
        assert isinstance(method, Gan)
        found.append(method)
    return found[0], found[1]


@pytest.mark.parametrize("norm", ["batch", "none"])
@pytest.mark.parametrize(
    ("networks", "loss", "more"),
    [
        ("mlp", "non-saturating", ()),
        *(("dcgan", loss, ()) for loss in GAMES),
        ("dcgan", "relativistic", ("method.labels=true", "method.discriminator.labels=projection")),
        ("dcgan", "non-saturating", ("method.labels=true", "method.discriminator.labels=concat")),
        ("dcgan", "non-saturating", ("method.augment.kind=diff", "method.augment.policy=[translation]")),
        ("dcgan", "non-saturating", ("method.discriminator.normalise=gradient", "method.r1_gamma=0", "method.drift=0")),
    ],
)
def test_the_shared_pass_equals_two_passes(networks: str, loss: str, more: tuple[str, ...], norm: str) -> None:
    """In float64 to 1e-10, for both players, though one pass serves them; the penalty within it stays the discriminator's."""
    shared, apart = _pair(networks, norm, loss, *more)
    images, noise = pictures_like(8, SHAPE).double(), torch.randn(8, shared.config.latent, dtype=torch.float64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Tensor, "float", lambda tensor: tensor)  # the methods' fp32 islands, in float64 for once
        label = Cond(torch.arange(8) % 3)
        batch = (Batch(images, label, lambda shape, device: noise if shape == noise.shape else noise[:, : shape[1]]),)
        both = gradients(shared, "both", shared.losses("both", batch, HALFWAY), 8)
        two = gradients(apart, "generator", apart.losses("generator", batch, HALFWAY), 8)
        two |= gradients(apart, "discriminator", apart.losses("discriminator", batch, HALFWAY), 8)
    assert set(both) == set(two)
    assert any(name.startswith("generator") for name in both)
    for name, value in two.items():
        assert both[name].dtype == torch.float64
        scale = float(value.abs().max())
        assert scale > 0 or name == "discriminator.head.bias", name  # losses of differences do not see it
        torch.testing.assert_close(both[name], value, rtol=1e-10, atol=1e-10 * max(scale, 1e-3))


def test_the_shared_pass_is_finite_where_the_discriminator_is_sure() -> None:
    """A logit of −100: e^100 · 0 would be no number."""
    method = without_dropout(method_of("gan", (8, 8, 1)))
    assert isinstance(method, Gan)
    with torch.no_grad():
        last = [layer for layer in method.discriminator.modules() if isinstance(layer, torch.nn.Linear)][-1]
        last.bias.fill_(-100.0)
    losses = method.losses("both", (Batch(pictures_like(4, (8, 8, 1), device=method.device)),), HALFWAY)
    assert float(losses.of["generator"].min()) > 90
    found = gradients(method, "both", losses, 4)
    assert all(bool(value.isfinite().all()) for value in found.values())


@pytest.mark.parametrize("logit", [-50.0, -30.0, -1.0, 0.0, 2.0, 30.0])
def test_turned_gradient_is_the_generators_own(logit: float) -> None:
    """One image, one logit: d softplus(−l)/dl through the turned pass, against autograd on the loss itself."""
    from limner.methods.gan.losses import SwapGradient

    game = GAMES["non-saturating"]
    assert game.gradient_ratio is not None
    turn = game.gradient_ratio

    def seen(double: bool) -> tuple[float, float]:
        dtype = torch.float64 if double else torch.float32
        image = torch.full((1, 1), logit, dtype=dtype, requires_grad=True)
        cell: list[Tensor] = []
        through = SwapGradient.apply(image, cell).flatten()
        none = torch.zeros(1, dtype=dtype)
        cell.append(turn(none, through.detach()))
        (turned,) = torch.autograd.grad(game.discriminator(none, through, 0.0).sum(), image)
        plain = torch.tensor([logit], dtype=dtype, requires_grad=True)
        (own,) = torch.autograd.grad(game.generator(none, plain).sum(), plain)
        return float(turned), float(own)

    turned, own = seen(True)
    assert turned == pytest.approx(own, rel=1e-12, abs=1e-15)
    turned, own = seen(False)
    assert turned == pytest.approx(own, rel=1e-5, abs=1e-12)

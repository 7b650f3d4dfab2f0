"""Games against golden values, penalties against closed forms on linear critics."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from contract.helpers import untrained
from limner.core.cond import Batch, Cond
from limner.core.config import DataSpec, RunContext
from limner.core.method import StepContext
from limner.methods.gan.config import GanSampling, automatic_gamma
from limner.methods.gan.gan import Gan
from limner.methods.gan.losses import GAMES
from limner.methods.gan.penalties import gradient_normalised, gradient_penalty, r1_penalty
from limner.recipes.build import build_method, resolve_recipe
from limner.recipes.recipe import InputError
from limner.recipes.settings import compose

ONE, ZERO = torch.tensor([1.0]), torch.tensor([0.0])
E1 = math.log1p(math.exp(-1))  # softplus(−1) = .3132616…


@pytest.mark.parametrize(
    ("loss", "real", "fake", "critic", "maker"),
    [
        # by hand from each paper's equation; the first two columns are logits
        ("minimax", 1.0, -1.0, 2 * 0.3132616, -0.3132616),
        ("minimax", 0.0, 1.0, math.log(2) + 1.3132616, -1.3132616),
        ("non-saturating", 1.0, 1.0, 0.3132616 + 1.3132616, 0.3132616),
        ("non-saturating", -1.0, -1.0, 1.3132616 + 0.3132616, 1.3132616),
        ("least-squares", 1.0, 0.0, 0.0, 0.5),
        ("least-squares", 0.0, 1.0, 1.0, 0.0),
        ("least-squares", 3.0, -2.0, 0.5 * 4 + 0.5 * 4, 0.5 * 9),
        ("wasserstein", 2.0, -3.0, -5.0, 3.0),
        ("hinge", 2.0, -3.0, 0.0, 3.0),
        ("hinge", 0.25, 0.5, 0.75 + 1.5, -0.5),
        ("relativistic", 3.0, 2.0, 0.3132616, 1.3132616),
        ("relativistic", -5.0, -4.0, 1.3132616, 0.3132616),
    ],
)
def test_golden_values(loss: str, real: float, fake: float, critic: float, maker: float) -> None:
    game = GAMES[loss]
    r, f = torch.tensor([real]), torch.tensor([fake])
    assert float(game.discriminator(r, f, 0.0)) == pytest.approx(critic, abs=1e-6)
    assert float(game.generator(r, f)) == pytest.approx(maker, abs=1e-6)


@pytest.mark.parametrize("loss", sorted(GAMES))
def test_losses_are_per_image(loss: str) -> None:
    torch.manual_seed(0)
    real, fake = 3 * torch.randn(7), 3 * torch.randn(7)
    game = GAMES[loss]
    for found, one in (
        (game.discriminator(real, fake, 0.0), lambda i: game.discriminator(real[i : i + 1], fake[i : i + 1], 0.0)),
        (game.generator(real, fake), lambda i: game.generator(real[i : i + 1], fake[i : i + 1])),
    ):
        assert found.shape == (7,)
        torch.testing.assert_close(found, torch.cat([one(i) for i in range(7)]))


@pytest.mark.parametrize("loss", sorted(GAMES))
def test_the_players_want_opposite_things(loss: str) -> None:
    """Where a generated image's logit is between both targets, one loss falls as the other rises; `turn` is their ratio."""
    game = GAMES[loss]
    fake = torch.linspace(-0.9, 0.9, 7, dtype=torch.float64).requires_grad_()
    real = torch.linspace(0.8, -0.8, 7, dtype=torch.float64)
    if loss == "least-squares":
        fake = torch.linspace(0.1, 0.9, 7, dtype=torch.float64).requires_grad_()
    (down,) = torch.autograd.grad(game.discriminator(real, fake, 0.0).sum(), fake)
    (up,) = torch.autograd.grad(game.generator(real, fake).sum(), fake)
    assert bool((down > 0).all())
    assert bool((up < 0).all())
    if game.gradient_ratio is not None:
        torch.testing.assert_close(game.gradient_ratio(real, fake.detach()), up / down, rtol=1e-12, atol=0)


@pytest.mark.parametrize("smooth", [0.0, 0.1, 0.3])
def test_smoothed_targets(smooth: float) -> None:
    """Cross-entropy with targets 1−s and 0; squares to 1−s and 0."""
    torch.manual_seed(0)
    real, fake = 4 * torch.randn(50), 4 * torch.randn(50)
    bce = nn.functional.binary_cross_entropy_with_logits
    expected = bce(real, torch.full_like(real, 1 - smooth), reduction="none")
    expected = expected + bce(fake, torch.zeros_like(fake), reduction="none")
    for loss in ("minimax", "non-saturating"):
        torch.testing.assert_close(GAMES[loss].discriminator(real, fake, smooth), expected)
    squares = 0.5 * ((real - (1 - smooth)) ** 2 + fake**2)
    torch.testing.assert_close(GAMES["least-squares"].discriminator(real, fake, smooth), squares)


def test_generator_gradient_does_not_vanish_where_it_is_needed() -> None:
    """At logit −30 it is −1; a loss written with log(σ + ε) has −9e-6 there. The minimax loss, as the paper warns, has none."""
    logit = torch.tensor([-30.0], requires_grad=True)
    maker = GAMES["non-saturating"].generator
    (gradient,) = torch.autograd.grad(maker(logit, logit).sum(), logit)
    assert float(gradient) == pytest.approx(-1.0, abs=1e-6)
    far = torch.tensor([-1e4], requires_grad=True)
    (gradient,) = torch.autograd.grad(maker(far, far).sum(), far)
    assert float(gradient) == -1.0
    (gradient,) = torch.autograd.grad(GAMES["minimax"].generator(logit, logit).sum(), logit)
    assert abs(float(gradient)) < 1e-12


class LinearCritic(nn.Module):
    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.weight


def test_zero_centred_penalty_of_a_linear_critic_is_half_its_squared_norm() -> None:
    """For every image, whatever the batch; by the weight its gradient is w, so that γ times it pulls with γw."""
    torch.manual_seed(0)
    critic = LinearCritic(torch.randn(12))
    for size in (1, 5):
        penalty = r1_penalty(critic, torch.randn(size, 3, 2, 2))
        torch.testing.assert_close(penalty, 0.5 * critic.weight.square().sum().expand(size))
    gamma = 4.0
    (gradient,) = torch.autograd.grad((gamma * r1_penalty(critic, torch.randn(7, 3, 2, 2))).mean(), critic.weight)
    torch.testing.assert_close(gradient, gamma * critic.weight)


@pytest.mark.parametrize("batch", [1, 64])
def test_gradient_penalty_of_a_linear_critic(batch: int) -> None:
    """|w| = 1.5 gives (1.5 − 1)² = .25 for each image. With the norm taken over a batch of 64 it would be far from that."""
    weight = torch.randn(12, generator=torch.Generator().manual_seed(0))
    critic = LinearCritic(1.5 * weight / weight.norm())
    real, fake = torch.randn(batch, 3, 2, 2), torch.randn(batch, 3, 2, 2)
    penalty = gradient_penalty(critic, real, fake, torch.rand(batch))
    torch.testing.assert_close(penalty, torch.full((batch,), 0.25))


def test_gradient_penalty_looks_between_the_two_images() -> None:
    """D = ½|x|² has gradient x̂ itself: the penalty tells where it looked, for each image by its own α."""
    real, fake = torch.full((3, 1, 1, 1), 5.0), torch.full((3, 1, 1, 1), 1.0)
    alpha = torch.tensor([0.0, 0.25, 1.0])
    penalty = gradient_penalty(lambda x: 0.5 * x.square().flatten(1).sum(1), real, fake, alpha)
    torch.testing.assert_close(penalty, (1 + 4 * alpha - 1).square())


def test_gradient_normalised_critic() -> None:
    """Of a linear critic D/(|w| + |D|): within ±1, its slope at most 1 everywhere, and 1 where D is zero."""
    torch.manual_seed(0)
    weight = 30 * torch.randn(12)
    critic = LinearCritic(weight)
    images = torch.randn(9, 3, 2, 2)
    images[0] = 0.0
    images.requires_grad_()
    found = gradient_normalised(critic, images)
    plain = images.flatten(1) @ weight
    torch.testing.assert_close(found, plain / (weight.norm() + plain.abs()))
    assert float(found.detach().abs().max()) < 1
    (slope,) = torch.autograd.grad(found.sum(), images)
    norms = slope.flatten(1).norm(dim=1)
    assert float(norms.max()) <= 1 + 1e-5
    assert float(norms[0]) == pytest.approx(1.0, abs=1e-5)


def test_penalties_ignore_autocast() -> None:
    critic = LinearCritic(torch.randn(12))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        penalty = r1_penalty(critic, torch.randn(2, 3, 2, 2))
    assert penalty.dtype == torch.float32
    torch.testing.assert_close(penalty, 0.5 * critic.weight.square().sum().expand(2), rtol=1e-6, atol=0)


def test_automatic_gamma() -> None:
    """SG2-ADA's `auto` at 256 px and batch 32: .0002·256²/32 = .4096."""
    assert automatic_gamma(256, 256, 32) == pytest.approx(0.4096)
    recipe = compose("dcgan", ["method.r1_gamma=auto", "batch.size=16"])
    settled = resolve_recipe(recipe, RunContext((1, 28, 28), 16, 1000, None, False))
    assert settled.method.r1_gamma.value == pytest.approx(0.0002 * 784 / 16)  # type: ignore[union-attr]
    with pytest.raises(InputError, match=r"method\.r1_gamma=auto is decided when a run starts"):
        build_method(recipe, DataSpec.of_images((28, 28, 1)))


@pytest.mark.parametrize("settings", [("method.r1_gamma=3.0",), ("method.r2_gamma=3.0",), ("method.gradient_penalty=3.0",)])
def test_penalties_are_scaled_for_how_seldom_they_are_taken(settings: tuple[str, ...]) -> None:
    """Lazily, every fourth iteration, a penalty counts four times; taken always, it is part of the main phase's loss."""
    torch.manual_seed(1)
    images = torch.randn(4, 1, 8, 8)
    found: dict[int, Tensor] = {}
    base = ["method.r1_gamma=0", "method.generator.norm=none", *settings]

    def draw(shape: tuple[int, ...], device: torch.device) -> Tensor:
        return torch.randn(shape, generator=torch.Generator().manual_seed(len(shape)))

    for every in (1, 4):
        torch.manual_seed(0)
        method = build_method(compose("gan", [*base, f"method.penalty_every={every}"]), DataSpec.of_images((8, 8, 1)))
        names = [phase.name for phase in method.phases()]
        assert names == (["both"] if every == 1 else ["both", "penalty"])
        if every == 4:
            (phase,) = [phase for phase in method.phases() if phase.name == "penalty"]
            assert (phase.every, phase.joins) == (4, "both")
            found[4] = method.losses("penalty", (Batch(images, draw=draw),), StepContext(0, 0)).of["discriminator"].detach()
        else:
            whole = method.losses("both", (Batch(images, draw=draw),), StepContext(0, 0)).of["discriminator"]
            torch.manual_seed(0)
            none = build_method(compose("gan", base[:2]), DataSpec.of_images((8, 8, 1)))
            found[1] = (
                whole - none.losses("both", (Batch(images, draw=draw),), StepContext(0, 0)).of["discriminator"]
            ).detach()
    torch.testing.assert_close(found[4], 4 * found[1], rtol=1e-4, atol=1e-5)
    assert float(found[1].min()) > 0


def test_r1_equals_r2_at_the_start_of_r3() -> None:
    """The last convolution of every block is zero, so that the critic is linear: one slope everywhere (R3GAN, appendix)."""
    torch.manual_seed(0)
    method = untrained(compose("r3gan", ["method.networks=r3"]), (28, 28, 1))
    assert isinstance(method, Gan)
    real, fake = torch.rand(5, 1, 28, 28) * 2 - 1, method.sample(range(5), Cond(), GanSampling())
    r1, r2 = (r1_penalty(method.discriminator, images) for images in (real, fake))
    torch.testing.assert_close(r1, r2, rtol=1e-6, atol=0)
    torch.testing.assert_close(r1, r1[:1].expand(5), rtol=1e-6, atol=0)
    assert float(r1[0].detach()) > 1e-4
    with torch.no_grad():  # and it can fail: a block that does something bends it
        next(m for n, m in method.discriminator.named_modules() if n.endswith("conv3")).weight.normal_(0, 0.5)
    r1, r2 = (r1_penalty(method.discriminator, images) for images in (real, fake))
    assert not torch.allclose(r1, r2, rtol=1e-3)


def test_weight_clipping_bounds_every_weight_of_the_critic_alone() -> None:
    from contract.helpers import drawer, method_of, pictures_like, stepper_of

    method = method_of("wgan", (8, 8, 1), "method.weight_clip=0.003")
    stepper_of(method, 8).step(drawer(pictures_like(8, (8, 8, 1), device=method.device)), StepContext(0, 0.0), 0)
    assert isinstance(method, Gan)
    assert max(float(weight.detach().abs().max()) for weight in method.discriminator.parameters()) <= 0.0030001
    assert max(float(weight.detach().abs().max()) for weight in method.generator.parameters()) > 0.01


def test_batch_norm_sees_real_and_generated_images_apart() -> None:
    """Normalised together, the critic's verdict on a real image depends on the generated ones beside it, and training fails:
    on Fashion-MNIST a clipped critic with batch norm then ends at a Fréchet distance of 149, apart at 33."""
    method = build_method(compose("wgan", []), DataSpec.of_images((16, 16, 1)))
    assert isinstance(method, Gan)
    real, fake, other = (torch.rand(6, 1, 16, 16) * scale for scale in (1.0, 0.1, 3.0))
    batch = Batch(real)
    one, _ = method._logits(batch, torch.cat([real, fake]), None)
    two, _ = method._logits(batch, torch.cat([real, other]), None)
    assert torch.equal(one[:6], two[:6])
    assert not torch.equal(one[6:], two[6:])
    torch.testing.assert_close(one[6:], method.discriminator(fake))


@pytest.mark.parametrize("every", [1, 4])
def test_a_gamma_that_begins_at_nothing_has_a_gradient_of_nothing(every: int) -> None:
    settings = ["method.r1_gamma.value=1", "method.r1_gamma.warmup=0.5", f"method.penalty_every={every}"]
    method = build_method(compose("dcgan", settings), DataSpec.of_images((8, 8, 1)))
    phase = "both" if every == 1 else "penalty"
    loss = method.losses(phase, (Batch(torch.rand(4, 1, 8, 8)),), StepContext(0, 0.0))
    start = loss.of["discriminator"] if loss.joint is None else loss.joint
    found = torch.autograd.grad(start.sum(), list(method.discriminator.parameters()), materialize_grads=True)  # type: ignore[arg-type]
    without = build_method(compose("dcgan", ["method.r1_gamma=0"]), DataSpec.of_images((8, 8, 1)))
    without.load_state_dict(method.state_dict())
    torch.manual_seed(1)
    images = torch.rand(4, 1, 8, 8)
    torch.manual_seed(2)
    with_it = method.losses(phase, (Batch(images),), StepContext(0, 0.0))
    if every > 1:
        assert not any(bool(gradient.any()) for gradient in found)
        assert float(with_it.of["discriminator"].abs().max()) == 0.0
        return
    torch.manual_seed(2)
    plain = without.losses(phase, (Batch(images),), StepContext(0, 0.0))
    torch.testing.assert_close(with_it.of["discriminator"], plain.of["discriminator"])


def test_instance_noise_is_of_the_size_that_is_asked_for_and_decays_on_both_halves() -> None:
    settings = ["method.instance_noise.value=0.5", "method.instance_noise.decay_from=0"]
    method = build_method(compose("dcgan", settings), DataSpec.of_images((16, 16, 1)))
    assert isinstance(method, Gan)
    batch = Batch(torch.zeros(64, 1, 16, 16))
    for progress, sigma in ((0.0, 0.5), (0.5, 0.25), (1.0, 0.0)):
        shown = method._discriminator_input(batch, batch.images, batch.images, StepContext(0, progress))
        for half in shown.chunk(2):
            assert float(half.std()) == pytest.approx(sigma, rel=0.03, abs=1e-9)


def test_accuracy_by_squares_is_halfway_to_the_smoothed_target() -> None:
    method = build_method(compose("lsgan", ["method.smooth=0.2"]), DataSpec.of_images((8, 8, 1)))
    assert isinstance(method, Gan)
    logs, signs = method._accuracy(torch.tensor([0.39, 0.41]), torch.tensor([0.39, 0.41]))
    assert logs["right_on_real"].tolist() == [0, 1]
    assert logs["right_on_fake"].tolist() == [1, 0]
    assert signs.tolist() == [-1, 1]


@pytest.mark.parametrize("loss", ["relativistic", "non-saturating", "wasserstein"])
def test_drift_is_the_square_of_the_logit_on_real_images_and_the_critics_alone(loss: str) -> None:
    found = {}
    for drift in (0.0, 0.25):
        torch.manual_seed(0)
        method = untrained(compose("gan", [f"method.loss={loss}", f"method.drift={drift}", "method.r1_gamma=0"]), (8, 8, 1))
        assert isinstance(method, Gan)
        method.eval()
        images = torch.rand(5, 1, 8, 8)
        batch = Batch(images, draw=lambda shape, device: torch.zeros(shape))
        found[drift] = method.losses("both", (batch,), StepContext(0, 0.0)).of
        logits = method.discriminator(images).detach()
    torch.testing.assert_close(found[0.25]["discriminator"], found[0.0]["discriminator"] + 0.25 * logits.square())
    torch.testing.assert_close(found[0.25]["generator"], found[0.0]["generator"])


def test_drift_holds_the_level_that_a_loss_of_differences_leaves_open() -> None:
    """One bias, shifted: without it nothing pulls it back."""
    slopes = {}
    for drift in (0.0, 0.1):
        torch.manual_seed(0)
        method = untrained(
            compose("gan", ["method.loss=relativistic", f"method.drift={drift}", "method.r1_gamma=0"]), (8, 8, 1)
        )
        assert isinstance(method, Gan)
        with torch.no_grad():
            method.discriminator.head.bias.fill_(7.0)
        losses = method.losses("both", (Batch(torch.rand(6, 1, 8, 8)),), StepContext(0, 0.0))
        start = losses.joint if losses.joint is not None else losses.of["discriminator"]
        (slope,) = torch.autograd.grad(start.mean(), method.discriminator.head.bias)
        slopes[drift] = float(slope)
    assert slopes[0.0] == pytest.approx(0.0, abs=1e-6)
    assert slopes[0.1] == pytest.approx(2 * 0.1 * 7, rel=0.2)


@pytest.mark.parametrize(
    ("networks", "norm", "embedded"),
    [("dcgan", "batch", False), ("dcgan", "none", True), ("r3", "batch", True), ("mlp", "batch", True)],
)
def test_labels_come_in_by_the_norms_wherever_there_are_norms(networks: str, norm: str, embedded: bool) -> None:
    settings = [
        "method.labels=true",
        "method.generator.labels=auto",
        f"method.generator.norm={norm}",
        f"method.networks={networks}",
    ]
    method = untrained(compose("r3gan", settings), (16, 16, 1), ("a", "b", "c"))
    assert isinstance(method, Gan)
    assert (method.generator.embedding is not None) == embedded
    z, a, b = torch.randn(2, 64), torch.zeros(2, dtype=torch.int64), torch.ones(2, dtype=torch.int64)
    if not embedded:  # gains of all classes start alike
        with torch.no_grad():
            for name, weight in method.generator.named_parameters():
                if weight.dim() == 2 and len(weight) == 3:
                    weight[1] += 0.5
                    assert "norm" in name
    assert not torch.equal(method.generator.eval()(z, a), method.generator(z, b))


def test_adaptive_augmentation_grows_while_the_critic_is_sure_of_real_images_and_tells() -> None:
    """Its p moves in a step, in the direction that the signs say, and stands in the log."""
    from contract.helpers import drawer, method_of, pictures_like, stepper_of

    moved = {}
    for bias in (9.0, -9.0):
        settings = ("method.augment.kind=adaptive", "method.augment.start=0.4", "method.augment.speed=1000")
        method = method_of("dcgan", (16, 16, 1), *settings)
        assert isinstance(method, Gan)
        with torch.no_grad():
            method.discriminator.head.bias.fill_(bias)
        logs = stepper_of(method, 16).step(drawer(pictures_like(16, (16, 16, 1), device=method.device)), StepContext(0, 0.1), 0)
        moved[bias] = float(method.augment.p)
        assert float(logs["augmentation"]) == pytest.approx(0.4)
    assert moved[9.0] == pytest.approx(0.4 + 16 / 1000)
    assert moved[-9.0] == pytest.approx(0.4 - 16 / 1000)


@pytest.mark.parametrize("loss", ["wasserstein", "relativistic"])
def test_accuracy_of_losses_without_a_zero_is_about_the_middle_of_the_means(loss: str) -> None:
    method = build_method(compose("gan", [f"method.loss={loss}", "method.r1_gamma=0"]), DataSpec.of_images((8, 8, 1)))
    assert isinstance(method, Gan)
    logs, signs = method._accuracy(torch.tensor([10.2, 10.6, 9.9]), torch.tensor([9.9, 9.5, 10.3]))  # the middle is 10.0667
    assert logs["right_on_real"].tolist() == [1, 1, 0]
    assert logs["right_on_fake"].tolist() == [1, 1, 0]
    assert signs.tolist() == [1, 1, -1]


def test_other_folders_do_not_change_what_knows_no_classes() -> None:
    """`init_from`: a set without classes, then one with three sub-folders."""
    before, after = (
        build_method(compose("dcgan", []), DataSpec.of_images((16, 16, 1), classes)) for classes in ((), ("a", "b", "c"))
    )
    assert {name: value.shape for name, value in before.state_dict().items()} == {
        name: value.shape for name, value in after.state_dict().items()
    }


def test_label_planes_are_no_layer_to_normalise() -> None:
    settings = ["method.labels=true", "method.discriminator.labels=concat", "method.discriminator.spectral=true"]
    method = build_method(compose("sngan", settings), DataSpec.of_images((28, 28, 1), ("a", "b", "c")))
    assert isinstance(method, Gan)
    planes = method.discriminator.planes
    assert planes is not None
    assert float(planes.weight.detach().std()) == pytest.approx(1.0, abs=0.1)


def test_the_penalty_on_real_images_alone_draws_no_picture() -> None:
    """And it is 8 times 1/2·γ·|∇D|² of each, as with a generator beside it."""
    method = build_method(compose("dcgan", ["method.r1_gamma=3.0"]), DataSpec.of_images((16, 16, 1)))
    assert isinstance(method, Gan)
    method.generator.forward = None  # type: ignore[assignment]
    images = torch.rand(5, 1, 16, 16)
    found = method.losses("penalty", (Batch(images),), StepContext(0, 0.0)).of["discriminator"]
    torch.testing.assert_close(found, 8 * 3.0 * r1_penalty(method.discriminator, images))

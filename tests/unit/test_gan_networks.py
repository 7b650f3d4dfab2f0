"""The networks of the GAN family: published sizes, any shape, labels that matter, and norms that are what they claim."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from contract.helpers import untrained
from limner.core.cond import Batch, Cond
from limner.core.method import StepContext
from limner.methods.gan.conditioning import Discriminator, Generator
from limner.methods.gan.config import GanSampling
from limner.methods.gan.gan import Gan
from limner.nets import spectral
from limner.nets.cpu import Conv2d
from limner.nets.dcgan import DcganGenerator, DcganSize, DcganTrunk
from limner.nets.layers import BatchNorm, rows_for_labels
from limner.nets.resnet import ResnetGenerator, ResnetTrunk
from limner.recipes.settings import compose

SNGAN_32 = (
    "method.latent=128",
    "method.generator.width=256",
    "method.generator.widest=256",
    "method.discriminator.width=128",
    "method.discriminator.widest=128",
)


def gan(preset: str, shape: tuple[int, int, int], *settings: str, classes: tuple[str, ...] = ()) -> Gan:
    method = untrained(compose(preset, settings), shape, classes)
    assert isinstance(method, Gan)
    return method


def test_sngan_32_has_the_published_numbers_of_parameters() -> None:
    method = gan("sngan", (32, 32, 3), *SNGAN_32)
    assert sum(p.numel() for p in method.generator.parameters()) == 4_276_739
    assert sum(p.numel() for p in method.discriminator.parameters()) == 1_053_825


@pytest.mark.parametrize("networks", ["mlp", "dcgan", "resnet", "densenet", "r3"])
@pytest.mark.parametrize("shape", [(8, 8, 1), (9, 12, 3), (28, 28, 1), (33, 50, 4), (64, 64, 3)])
def test_any_shape(networks: str, shape: tuple[int, int, int]) -> None:
    small = [f"method.{who}.{what}" for who in ("generator", "discriminator") for what in ("width=4", "widest=8", "group=4")]
    for patch in ("1", "2") if networks == "r3" else ("1",):
        outer = [f"method.{who}.patch={patch}" for who in ("generator", "discriminator")]
        method = gan("dcgan", shape, f"method.networks={networks}", *small, *outer)
        images = method.sample(range(3), Cond(), GanSampling())
        assert images.shape == (3, shape[2], *shape[:2])
        assert float((images[0] - images[1]).abs().max()) > 0
        logits = method.discriminator(images)
        assert logits.shape == (3,)
        images = torch.rand(2, shape[2], *shape[:2])
        seen = torch.zeros(shape[:2])
        for _ in range(3):  # every pixel counts for something: no row or column is lost at odd sizes
            images = torch.rand(2, shape[2], *shape[:2]).requires_grad_()
            for parameter in method.discriminator.parameters():
                if parameter.dim() > 1:
                    nn.init.normal_(parameter, 0, 0.3)
            (gradient,) = torch.autograd.grad(method.discriminator(images).sum(), images)
            seen += gradient.abs().sum((0, 1))
        assert bool((seen > 0).all()), (seen == 0).nonzero()


def test_depth_and_width_are_numbers() -> None:
    for networks, knob in (("resnet", "discriminator.blocks"), ("densenet", "generator.blocks"), ("r3", "generator.blocks")):
        counts = [
            sum(p.numel() for p in gan("r3gan", (32, 32, 1), f"method.networks={networks}", f"method.{knob}={n}").parameters())
            for n in (1, 2, 3)
        ]
        assert counts[0] < counts[1] < counts[2]


@pytest.mark.parametrize("networks", ["mlp", "dcgan", "resnet", "densenet", "r3"])
@pytest.mark.parametrize("how", ["concat", "projection", "auxiliary"])
def test_the_label_reaches_both_players(networks: str, how: str) -> None:
    settings = (f"method.networks={networks}", "method.labels=true", f"method.discriminator.labels={how}")
    method = gan("dcgan", (16, 16, 1), *settings, classes=("a", "b", "c"))
    with torch.no_grad():  # r3 begins as a linear map, whose label would not matter to the critic's slope
        for parameter in method.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    method.eval()
    labels = torch.tensor([0, 1, 2])
    images = method.sample([5, 5, 5], Cond(label=labels), GanSampling())
    assert float((images[0] - images[1]).abs().max()) > 1e-6
    again = method.sample([5, 5, 5], Cond(label=torch.tensor([1, 1, 1])), GanSampling())
    torch.testing.assert_close(again[0], images[1])
    same = images[:1].expand(3, -1, -1, -1)
    logits, classes = method.discriminator.logits_and_classes(same, labels)
    if how == "auxiliary":
        assert classes is not None
        assert classes.shape == (3, 3)
        torch.testing.assert_close(logits[0], logits[1])
    else:
        assert classes is None
        assert float((logits[0] - logits[1]).detach().abs()) > 1e-6


def test_labels_are_drawn_as_often_as_they_are_seen() -> None:
    """Class 1 three times as often as class 0, and class 2 never; one seed is one label."""
    method = gan("cgan", (16, 16, 1), "method.generator.width=4", classes=("a", "b", "c"))
    labels = torch.tensor([0, 1, 1, 1, -1] * 12)
    method.fit_at_start([Batch(torch.zeros(60, 1, 16, 16), Cond(label=labels))] * 3)
    torch.testing.assert_close(method.shares, torch.tensor([0.25, 0.75, 0.0]))
    drawn = method.conditions(range(4000), Cond()).label
    assert drawn is not None
    assert float((drawn == 0).float().mean()) == pytest.approx(0.25, abs=0.03)
    assert int((drawn == 2).sum()) == 0
    one = method.conditions([7, 3], Cond()).label
    other = method.conditions([7, 3], Cond(label=torch.tensor([2, -1]))).label
    assert one is not None
    assert other is not None
    assert torch.equal(one, drawn[[7, 3]])
    assert other.tolist() == [2, int(drawn[3])]


def test_auxiliary_classifier_learns_from_real_images_and_steers_the_generator() -> None:
    settings = ("method.labels=true", "method.discriminator.labels=auxiliary", "method.r1_gamma=0")
    method = gan("dcgan", (8, 8, 1), *settings, classes=("a", "b"))
    assert not method.swaps_gradients, "its gradients are no multiples of each other"
    batch = Batch(torch.rand(4, 1, 8, 8), Cond(label=torch.tensor([0, 1, 1, -1])))
    torch.manual_seed(0)
    with_classes = method.losses("both", (batch,), StepContext(0, 0.0))
    plain = gan("dcgan", (8, 8, 1), "method.r1_gamma=0")
    assert plain.swaps_gradients
    classifier = method.discriminator.classifier
    assert classifier is not None
    (of_real,) = torch.autograd.grad(with_classes.of["discriminator"].sum(), classifier.weight, retain_graph=True)
    assert float(of_real.abs().max()) > 0
    maker = with_classes.of["generator"]
    (unknown,) = torch.autograd.grad(maker[3], classifier.weight, materialize_grads=True, retain_graph=True)
    (known,) = torch.autograd.grad(maker[0], classifier.weight, materialize_grads=True, retain_graph=True)
    assert float(unknown.abs().max()) == 0, "an unknown label asks for nothing"
    assert float(known.abs().max()) > 0, "a known one is asked of the generator"
    (of_critic,) = torch.autograd.grad(with_classes.of["discriminator"][3], classifier.weight, materialize_grads=True)
    assert float(of_critic.abs().max()) == 0, "the classifier learns from real images with a label alone"


def test_rows_of_an_unknown_label_are_the_mean() -> None:
    table = torch.tensor([[1.0, 2.0], [3.0, 6.0]])
    assert rows_for_labels(table, torch.tensor([1, -1, 0])).tolist() == [[3, 6], [2, 4], [1, 2]]
    assert rows_for_labels(table, None).tolist() == [[2, 4]]


def test_conditional_batch_norm_is_batch_norm_per_class() -> None:
    torch.manual_seed(0)
    norm = BatchNorm(3, classes=2)
    with torch.no_grad():
        norm.weight.copy_(torch.rand(2, 3) + 0.5)
        norm.bias.copy_(torch.randn(2, 3))
    x, label = torch.randn(6, 3, 4, 5), torch.tensor([0, 1, 0, 1, 1, -1])
    y = norm(x, label)
    plain = nn.BatchNorm2d(3, affine=False)(x)
    for row, which in enumerate(label.tolist()):
        gain, bias = (norm.weight[which], norm.bias[which]) if which >= 0 else (norm.weight.mean(0), norm.bias.mean(0))
        torch.testing.assert_close(y[row], plain[row] * gain[:, None, None] + bias[:, None, None], rtol=1e-4, atol=1e-5)


# Spectral normalisation.


def iterate(module: nn.Module) -> None:
    """One power iteration of every weight inside."""
    for layer in module.modules():
        if isinstance(layer, spectral.SpectralNorm):
            layer.move_state({})


def test_every_matrix_of_a_spectral_critic_has_norm_one() -> None:
    """Against the singular values themselves, after the power iteration has settled."""
    torch.manual_seed(0)
    method = gan("sngan", (16, 16, 1), "method.discriminator.width=8")
    for _ in range(100):
        iterate(method.discriminator)
    checked = 0
    for layer in method.discriminator.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            assert float(torch.linalg.matrix_norm(layer.weight.detach().flatten(1), 2)) == pytest.approx(1.0, abs=2e-3)
            checked += 1
    assert checked == 8


def test_spectral_norm_equals_torchs_own() -> None:
    """The same vectors: the same weight, and the same gradient by it."""
    torch.manual_seed(0)
    mine, theirs = Conv2d(6, 5, 3, 1, 1), nn.Conv2d(6, 5, 3, 1, 1)
    theirs.load_state_dict(mine.state_dict())
    spectral.add_spectral_norm(mine)
    nn.utils.parametrizations.spectral_norm(theirs)
    state = next(m for m in mine.modules() if isinstance(m, spectral.SpectralNorm))
    twin = theirs.parametrizations.weight[0]  # type: ignore[index,union-attr]
    for _ in range(60):
        iterate(mine)
        twin._power_method(twin._reshape_weight_to_matrix(theirs.parametrizations.weight.original), 1)  # type: ignore[operator,union-attr]
    twin.eval()
    assert float((state.u @ twin._u).abs()) == pytest.approx(1.0, abs=1e-5)  # type: ignore[operator]
    torch.testing.assert_close(mine.weight, theirs.weight, rtol=1e-4, atol=1e-5)
    direction = torch.randn_like(mine.weight)
    (a,) = torch.autograd.grad((mine.weight * direction).sum(), mine.parametrizations.weight.original)  # type: ignore[union-attr]
    (b,) = torch.autograd.grad((theirs.weight * direction).sum(), theirs.parametrizations.weight.original)  # type: ignore[union-attr]
    torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


def test_spectral_norm_follows_its_own_weight_through_copies_and_conversions() -> None:
    layer = Conv2d(6, 5, 3, 1, 1)
    spectral.add_spectral_norm(layer)
    twin = copy.deepcopy(layer).double()
    twin.to(memory_format=torch.channels_last)
    for module in (layer, twin):
        state = next(m for m in module.modules() if isinstance(m, spectral.SpectralNorm))
        assert state._weight[0] is module.parametrizations.weight.original  # type: ignore[union-attr]
        assert [name for name, _ in state.named_parameters()] == []
    before = next(m for m in layer.modules() if isinstance(m, spectral.SpectralNorm)).u.clone()
    with torch.no_grad():
        twin.parametrizations.weight.original.mul_(torch.linspace(1, 9, 5).view(-1, 1, 1, 1))  # type: ignore[union-attr,operator]
    iterate(twin)
    state = next(m for m in twin.modules() if isinstance(m, spectral.SpectralNorm))
    assert not torch.allclose(state.u.float(), before, atol=1e-2), "it looks at the changed weight of the copy"


def test_spectral_vectors_move_only_with_the_discriminators_step() -> None:
    from contract.helpers import drawer, method_of, pictures_like, stepper_of

    method = method_of("sngan", (8, 8, 1), "method.critic_steps=2")
    stepper, draw = stepper_of(method, 8), drawer(pictures_like(8, (8, 8, 1), device=method.device))

    def vectors() -> list[torch.Tensor]:
        return [m.u.clone() for m in method.modules() if isinstance(m, spectral.SpectralNorm)]

    before = vectors()
    method.discriminator(pictures_like(4, (8, 8, 1), device=method.device))
    (generator,) = [(i, p) for i, p in enumerate(stepper.phases) if p.name == "generator"]
    stepper._update([generator], draw, StepContext(0, 0.0))
    assert all(torch.equal(a, b) for a, b in zip(before, vectors(), strict=True))
    stepper.step(draw, StepContext(0, 0.0), 0)
    assert any(not torch.equal(a, b) for a, b in zip(before, vectors(), strict=True))


def test_wrappers_build_around_any_network() -> None:
    """One row of a table of networks is enough: what the players add does not depend on it."""
    maker = ResnetGenerator(Generator.inputs(5, 3, "norm"), (2, 16, 16), 4, 8, "batch", 3)
    both = Generator(maker, 3, "norm")
    with torch.no_grad():
        next(m for m in both.modules() if isinstance(m, BatchNorm)).bias.normal_()
    images = both(torch.randn(1, 5).expand(2, -1), torch.tensor([0, 2]))
    assert float((images[0] - images[1]).abs().max().detach()) > 1e-4, "one noise, two classes, one picture"
    trunk = ResnetTrunk((Discriminator.channels(2, 3, "concat"), 16, 16), 4, 8, 1)
    critic = Discriminator(trunk, trunk.features, (16, 16), 3, "concat", True)
    same = images[:1].detach().expand(2, -1, -1, -1)
    one, other = critic(same, torch.tensor([0, 2]))
    assert float((one - other).detach().abs()) > 1e-6


def test_a_bias_that_batch_norm_takes_away_does_not_wander() -> None:
    """Its gradient is rounding alone, which Adam would make steps of full size of; two processes would then differ."""
    from contract.helpers import drawer, method_of, pictures_like, stepper_of

    method = method_of("sngan", (16, 16, 1))
    stepper, draw = stepper_of(method, 8), drawer(pictures_like(8, (16, 16, 1), device=method.device))
    for iteration in range(5):
        stepper.step(draw, StepContext(8 * iteration, 0.0), iteration)
    biases = {n: p for n, p in method.generator.named_parameters() if ".blocks." in n and n.endswith(".bias")}
    assert len(biases) == 2 * 5
    for name, bias in biases.items():
        assert bool(bias.detach().any()) == ("norm" in name), name


def test_further_layers_of_the_dcgan_pair() -> None:
    """At 28x28 a critic 64-128 becomes 64-128-256 down to 4x4, then stays; a generator 128-64 becomes 128-64-32."""

    def layers(network: nn.Module) -> list[tuple[int, int, int, int]]:
        kinds = (nn.Conv2d, nn.ConvTranspose2d)
        return [
            (m.in_channels, m.out_channels, m.kernel_size[0], m.stride[0]) for m in network.modules() if isinstance(m, kinds)
        ]

    plain, more, most = (DcganTrunk((1, 28, 28), DcganSize(64, 512, extra), "none", 0.0) for extra in (0, 1, 2))
    assert layers(plain) == [(1, 64, 4, 2), (64, 128, 4, 2)]
    assert layers(more) == [*layers(plain), (128, 256, 3, 2)]
    assert layers(most) == [*layers(more), (256, 256, 3, 1)]
    assert [trunk.features for trunk in (plain, more, most)] == [128 * 49, 256 * 16, 256 * 16]
    assert all(trunk(torch.zeros(2, 1, 28, 28)).flatten(1).shape == (2, trunk.features) for trunk in (plain, more, most))
    # 4x4 already: none halves again
    square = [DcganTrunk((1, 32, 32), DcganSize(8, 64, extra), "none", 0.0) for extra in (0, 1, 2, 3)]
    assert [kernel[2:] for kernel in layers(square[3])[3:]] == [(3, 1)] * 3
    assert [trunk.features for trunk in square] == [32 * 16] * 4
    short, long = (DcganGenerator(5, (1, 28, 28), DcganSize(64, 512, extra), "batch") for extra in (0, 1))
    assert layers(short) == [(128, 64, 4, 2), (64, 1, 4, 2)]
    assert layers(long) == [(128, 64, 4, 2), (64, 32, 4, 2), (32, 1, 3, 1)]
    assert long(torch.zeros(2, 5)).shape == (2, 1, 28, 28)

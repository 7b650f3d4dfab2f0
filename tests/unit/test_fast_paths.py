"""Every fast path beside its plain twin: the same function and the same gradients."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limner.core import seeds as randomness
from limner.methods.gan.conditioning import Discriminator
from limner.methods.gan.losses import GAMES, SwapGradient
from limner.nets.cpu import MIN_GEMM_CHANNELS, Conv2d, ConvTranspose2d, Dropout
from limner.nets.dcgan import DcganGenerator, DcganSize, DcganTrunk
from limner.nets.layers import flatten_channels_last
from limner.nets.quantise import _nearest
from limner.nets.transformer import attend

CASES = [
    (Conv2d, 1, 8, 4, 2, 1),
    (Conv2d, 3, 8, 3, 1, 1),
    (Conv2d, 4, 8, 5, 2, 2),
    (Conv2d, 8, 16, 4, 2, 1),
    (Conv2d, 8, 16, 3, 1, 1),
    (Conv2d, MIN_GEMM_CHANNELS, 6, 4, 2, 1),
    (Conv2d, MIN_GEMM_CHANNELS, 6, 5, 2, 2),
    (Conv2d, MIN_GEMM_CHANNELS, 6, 1, 2, 0),
    (Conv2d, 3, 8, 1, 1, 0),
    (Conv2d, 8, 16, 1, 1, 0),
    (Conv2d, 8, 16, 1, 2, 0),
    (ConvTranspose2d, 8, 1, 4, 2, 1),
    (ConvTranspose2d, 8, 3, 3, 1, 1),
    (ConvTranspose2d, 16, 8, 4, 2, 1),
    (ConvTranspose2d, 16, 8, 5, 2, 2),
]
"""Layer, channels in and out, kernel, stride, padding; up to four channels go one way, many another."""


Pair = tuple[nn.Module, nn.Module]


def pair(kind: type[nn.Module], *sizes: int, bias: bool = True, dtype: torch.dtype = torch.float64) -> Pair:
    """The layer and torch's own, with the same weights."""
    torch.manual_seed(0)
    fast = kind(*sizes, bias=bias).to(dtype, memory_format=torch.channels_last)
    plain = (nn.Conv2d if kind is Conv2d else nn.ConvTranspose2d)(*sizes, bias=bias).to(dtype)
    plain.load_state_dict(fast.state_dict())
    return fast, plain


def images(channels: int, height: int = 9, width: int = 12, dtype: torch.dtype = torch.float64) -> Tensor:
    x = torch.randn(5, channels, height, width, dtype=dtype).contiguous(memory_format=torch.channels_last)
    return x.requires_grad_()


def all_gradients(layer: nn.Module, x: Tensor, bf16: bool = False) -> list[Tensor]:
    """The output, and what each input's and weight's gradient is for a fixed direction."""
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
        y = layer(x)
    direction = torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(y.dtype)
    return [y, *torch.autograd.grad(y, [x, *layer.parameters()], direction)]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_convolutions_are_torchs(case: tuple, bias: bool) -> None:
    kind, *sizes = case
    fast, plain = pair(kind, *sizes, bias=bias)
    for mine, theirs in zip(all_gradients(fast, x := images(sizes[0])), all_gradients(plain, x), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_in_bfloat16_they_are_as_near_to_the_truth_as_torchs(case: tuple, bias: bool) -> None:
    kind, *sizes = case
    fast, plain = pair(kind, *sizes, bias=bias, dtype=torch.float32)
    x = images(sizes[0], dtype=torch.float32)
    exact = all_gradients(pair(kind, *sizes, bias=bias)[1], x.detach().double().requires_grad_())
    for mine, theirs, truth in zip(all_gradients(fast, x, bf16=True), all_gradients(plain, x, bf16=True), exact, strict=True):
        scale = truth.norm()
        assert (mine.double() - truth).norm() / scale < 1.5 * (theirs.double() - truth).norm() / scale + 1e-3
        assert mine.shape == theirs.shape


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("bf16", [False, True])
def test_they_can_be_differentiated_twice(case: tuple, bf16: bool) -> None:
    """The R1 penalty does: the gradient of the norm of a gradient."""
    kind, *sizes = case
    dtype = torch.float32 if bf16 else torch.float64
    fast, plain = pair(kind, *sizes, dtype=dtype)
    x, found = images(sizes[0], dtype=dtype), []
    for layer in (fast, plain):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            y = layer(x).float().sin().sum() if bf16 else layer(x).sin().sum()
        (gradient,) = torch.autograd.grad(y, x, create_graph=True)
        found.append(torch.autograd.grad(gradient.square().sum(), [x, *layer.parameters()]))
    for mine, theirs in zip(*found, strict=True):
        assert (mine - theirs).norm() <= (0.05 if bf16 else 1e-9) * theirs.norm()


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("bf16", [False, True])
def test_a_convolution_of_pictures_is_torchs_whether_or_not_they_have_a_gradient(channels: int, bf16: bool) -> None:
    """Two ways to one function: what a generator's critic takes, and what an encoder does."""
    fast, plain = pair(Conv2d, channels, 8, 4, 2, 1, dtype=torch.float32 if bf16 else torch.float64)
    x = images(channels, dtype=torch.float32 if bf16 else torch.float64)
    found = []
    for layer, seen in ((fast, x), (fast, x.detach()), (plain, x.detach())):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            y = layer(seen)
        direction = torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(y.dtype)
        found.append([y, *torch.autograd.grad(y, list(layer.parameters()), direction)])
    for asked, given, theirs in zip(*found, strict=True):
        for mine in (asked, given):
            assert (mine - theirs).norm() <= (0.02 if bf16 else 1e-12) * theirs.norm()


@pytest.mark.parametrize("wanted", [True, False])
@pytest.mark.parametrize("kind", [Conv2d, ConvTranspose2d])
@pytest.mark.parametrize(("before", "after"), [(1, 8), (3, 8), (8, 1), (8, 8)])
def test_output_lies_channels_last(kind: type[nn.Module], before: int, after: int, wanted: bool) -> None:
    """Two orders of memory meeting in one elementwise product cost forty times its price."""
    fast, _ = pair(kind, before, after, 4, 2, 1, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = fast(images(before, 8, 8, dtype=torch.float32).detach().requires_grad_(wanted))
    assert after == 1 or y.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dropout_is_dropout(channels_last: bool, dtype: torch.dtype) -> None:
    layer = Dropout(0.3)
    x = (torch.rand(16, 24, 20, 20) + 0.5).to(dtype)
    x = (x.contiguous(memory_format=torch.channels_last) if channels_last else x).requires_grad_()
    torch.manual_seed(1)
    y = layer(x)
    kept = y != 0
    scale = torch.tensor(256 / (256 - 77)).to(dtype)
    torch.testing.assert_close(y, torch.where(kept, x * scale, torch.zeros((), dtype=dtype)))
    assert abs(kept.float().mean().item() - (1 - 77 / 256)) < 0.003
    # No two places hang together, along no axis of memory.
    bits = kept.float() - kept.float().mean()
    for axis in range(4):
        assert abs((bits * bits.roll(1, axis)).mean().item()) < 0.003
    (gradient,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(gradient, kept * scale)
    torch.manual_seed(1)
    assert torch.equal(layer(x), y)
    assert layer.eval()(x) is x


def critic_of(shape: tuple[int, int, int], width: int = 8, widest: int = 16) -> Discriminator:
    trunk = DcganTrunk(shape, DcganSize(width, widest), "none", 0.0)
    return Discriminator(trunk, trunk.features, shape[1:], 0, "projection", False)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 48), (1, 8, 8)])
def test_flat_is_a_view_of_channels_last_memory(shape: tuple[int, int, int]) -> None:
    """The head reads features in the order in which they lie; that order is rows, columns, channels."""
    network = critic_of(shape).double().to(memory_format=torch.channels_last)
    x = torch.randn(4, *shape, dtype=torch.float64).contiguous(memory_format=torch.channels_last)
    features = network.trunk(x)
    assert flatten_channels_last(features).data_ptr() == features.data_ptr()
    weights = network.head.weight.view(*features.shape[2:], features.shape[1])
    by_hand = torch.einsum("bchw,hwc->b", features, weights) + network.head.bias
    torch.testing.assert_close(network(x), by_hand)


@pytest.mark.parametrize("loss", [name for name, game in GAMES.items() if game.gradient_ratio is not None])
def test_one_backward_pass_serves_both_players(loss: str) -> None:
    """Against two passes, in float64, with losses far from balance."""
    torch.manual_seed(0)
    game = GAMES[loss]
    generator = DcganGenerator(6, (1, 12, 12), DcganSize(16, 8), "batch").double()
    discriminator = critic_of((1, 12, 12)).double()
    nn.init.normal_(discriminator.head.weight, 0.0, 3.0)
    real, z = torch.rand(5, 1, 12, 12, dtype=torch.float64), torch.randn(5, 6, dtype=torch.float64)
    mine, theirs = list(generator.parameters()), list(discriminator.parameters())
    cell: list[Tensor] = []
    fake = SwapGradient.apply(generator(z), cell)
    real_logits, fake_logits = discriminator(torch.cat([real, fake])).chunk(2)
    assert game.gradient_ratio is not None
    cell.append(game.gradient_ratio(real_logits.detach(), fake_logits.detach()))
    once = torch.autograd.grad(game.discriminator(real_logits, fake_logits, 0.0).sum(), [*mine, *theirs])
    fake = generator(z)
    of_generator = torch.autograd.grad(game.generator(discriminator(real), discriminator(fake)).sum(), mine)
    both = game.discriminator(discriminator(real), discriminator(fake.detach()), 0.0)
    of_discriminator = torch.autograd.grad(both.sum(), theirs)
    for shared, apart in zip(once, [*of_generator, *of_discriminator], strict=True):
        torch.testing.assert_close(shared, apart, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_attention_is_torchs(causal: bool, dtype: torch.dtype) -> None:
    """In float64 to rounding; in bfloat16 as near to the truth as torch's own, and its gradients as well."""
    torch.manual_seed(0)
    exact = [3 * torch.randn(4, 2, 19, 16, dtype=torch.float64) for _ in range(3)]  # so that some scores are large

    def worked(way: Callable[..., Tensor], dtype: torch.dtype) -> list[Tensor]:
        inputs = [x.bfloat16().to(dtype).requires_grad_() for x in exact]
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
            y = way(*inputs, causal)
        return [y, *torch.autograd.grad(y.float().sin().sum() if dtype != torch.float64 else y.sin().sum(), inputs)]

    def torchs(q: Tensor, k: Tensor, v: Tensor, causal: bool) -> Tensor:
        return F.scaled_dot_product_attention(q, k, v, is_causal=causal)

    for mine, theirs, truth in zip(worked(attend, dtype), worked(torchs, dtype), worked(torchs, torch.float64), strict=True):
        assert mine.dtype == dtype
        error, own = (mine - truth).norm(), (theirs - truth).norm()
        assert error <= (1.5 * own if dtype == torch.bfloat16 else 1e-12 * truth.norm())


def test_the_nearest_code_is_the_nearest() -> None:
    z, codes = torch.randn(500, 6), 0.7 * torch.randn(40, 6)
    assert torch.equal(_nearest(z, codes), torch.cdist(z.double(), codes.double()).argmin(1))


def test_seeding_is_torchs() -> None:
    randomness.seed_all(3, "phase", 0)
    mine = torch.randn(4)
    torch.manual_seed(randomness.fold(3, "phase", 0))
    assert torch.equal(mine, torch.randn(4))


def test_a_generator_of_a_bfloat16_step_equals_the_plain_one_nearly() -> None:
    """Whole networks: the fast layers do not add to bfloat16's own error."""
    torch.manual_seed(0)
    network = DcganGenerator(16, (1, 28, 28), DcganSize(32, 16), "batch").to(memory_format=torch.channels_last)
    z = torch.randn(8, 16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = network(z)
    assert F.mse_loss(rounded.float(), network(z)) < 1e-4

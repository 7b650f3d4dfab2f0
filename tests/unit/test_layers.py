"""Layers against their plain twins in torch."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from limner.methods.gan.conditioning import Discriminator
from limner.nets.convae import ConvDecoder, ConvEncoder, ConvSize, SpatialBroadcast
from limner.nets.cpu import Dropout, is_dense
from limner.nets.dcgan import DcganGenerator, DcganSize, DcganTrunk
from limner.nets.halving import halvings
from limner.nets.layers import BatchNorm, init_normal


@pytest.mark.parametrize("shape", [(16, 5), (6, 5, 4, 3)])
def test_batch_norm_equals_torchs_own(shape: tuple[int, ...]) -> None:
    """Forward, gradients, and the running moments once they are moved; then in evaluation mode."""
    torch.manual_seed(0)
    mine = BatchNorm(5)
    twin: nn.Module = nn.BatchNorm1d(5) if len(shape) == 2 else nn.BatchNorm2d(5)
    with torch.no_grad():
        for target in (mine, twin):
            target.weight.copy_(torch.linspace(0.5, 2, 5))
            target.bias.copy_(torch.linspace(-1, 1, 5))
    for _ in range(3):
        x = 3 * torch.randn(shape) + 1
        a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
        y, z = mine(a), twin(b)
        torch.testing.assert_close(y, z)
        g = torch.randn_like(y)
        for ours, theirs in zip(
            torch.autograd.grad(y, [a, mine.weight, mine.bias], g),
            torch.autograd.grad(z, [b, twin.weight, twin.bias], g),
            strict=True,
        ):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
        before = mine.running_mean.clone()
        sums = mine.take_statistics()
        assert torch.equal(mine.running_mean, before), "forward and asking move nothing"
        mine.move_state(sums)
        torch.testing.assert_close(mine.running_mean, twin.running_mean)
        torch.testing.assert_close(mine.running_var, twin.running_var)
    assert float(mine.running_mean.abs().max()) > 0.1
    assert mine.take_statistics() == {}
    mine.eval(), twin.eval()
    x = torch.randn(shape)
    torch.testing.assert_close(mine(x), twin(x))
    assert mine.pass_moments == [], "a pass in evaluation mode notes nothing"


def test_moments_of_chunks_add_up() -> None:
    """The sums over two chunks, wherever they were computed, move the moments to the mean of both, once."""
    torch.manual_seed(0)
    one, two, both = (BatchNorm(3) for _ in range(3))
    a, b = torch.randn(8, 3) + 2, torch.randn(8, 3) - 5
    one(a), two(b), both(a), both(b)
    first, second = one.take_statistics(), two.take_statistics()
    added = {name: first[name] + second[name] for name in first}
    one.move_state(added)
    both.move_state(both.take_statistics())
    torch.testing.assert_close(one.running_mean, both.running_mean)
    torch.testing.assert_close(one.running_mean, 0.1 * (a.mean(0) + b.mean(0)) / 2)
    torch.testing.assert_close(one.running_var, 0.9 + 0.1 * (a.var(0) + b.var(0)) / 2)


@pytest.mark.parametrize("rate", [0.1, 0.3, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("layout", ["rows", "channels last", "strided", "flat"])
def test_dropout_drops_at_its_rate_and_keeps_the_expectation(rate: float, dtype: torch.dtype, layout: str) -> None:
    torch.manual_seed(0)
    x = torch.ones(32, 16, 24, 25, dtype=dtype)
    if layout == "channels last":
        x = x.contiguous(memory_format=torch.channels_last)
    elif layout == "strided":
        x = x[:, ::2, :, 1:]
    elif layout == "flat":
        x = x.flatten(1)
    y = Dropout(rate)(x)
    assert y.dtype == dtype
    assert y.shape == x.shape
    assert y.stride() == x.stride() or not is_dense(x)
    rounded = round(256 * rate) / 256
    dropped = (y == 0).double()
    assert float(dropped.mean()) == pytest.approx(rounded, abs=5 / x.numel() ** 0.5)
    kept = y[y != 0].double()
    assert (
        float(kept.min())
        == float(kept.max())
        == pytest.approx(1 / (1 - rounded), rel=5e-3 if dtype == torch.bfloat16 else 1e-6)
    )
    # No axis is treated as a whole: every image and every channel has its own draw.
    for axis in (axis for axis in range(x.dim()) if x.shape[axis] <= 32):
        shares = dropped.movedim(axis, 0).flatten(1).mean(1)
        assert float(shares.std()) < 0.2 * min(rounded, 1 - rounded) + 0.05
        assert len(torch.unique(dropped.movedim(axis, 0).flatten(1), dim=0)) == x.shape[axis]


def test_dropout_is_linear_in_its_input_and_passes_the_same_mask_back() -> None:
    layer = Dropout(0.4)
    x = torch.randn(4, 3, 5, 7).contiguous(memory_format=torch.channels_last).requires_grad_()
    torch.manual_seed(3)
    y = layer(x)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(y, x * gradient)
    torch.manual_seed(3)
    assert torch.equal(layer(x), y), "draws repeat with the seed"
    assert not torch.equal(layer(x), y)
    assert torch.equal(layer.eval()(x), x)
    assert torch.equal(Dropout(0.0)(x), x)


def test_dropout_works_at_every_length() -> None:
    """Eight bytes are drawn at once; what is left over must be cut."""
    for length in range(1, 40):
        assert Dropout(0.5)(torch.ones(length)).shape == (length,)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((28, 28), [(28, 28), (14, 14), (7, 7)]),
        ((8, 8), [(8, 8), (4, 4)]),
        ((7, 9), [(7, 9)]),
        ((33, 20), [(33, 20), (17, 10), (9, 5)]),
        ((96, 64), [(96, 64), (48, 32), (24, 16), (12, 8), (6, 4)]),
    ],
)
def test_halvings(size: tuple[int, int], expected: list[tuple[int, int]]) -> None:
    assert halvings(*size) == expected


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 9, 13), (3, 33, 20), (4, 64, 48)])
def test_networks_fit_every_shape_and_use_every_pixel(shape: tuple[int, int, int]) -> None:
    """Shapes fit; every output pixel depends on the latent, and the encoders see every input pixel."""
    torch.manual_seed(0)
    x, z = torch.rand(2, *shape, requires_grad=True), torch.randn(2, 6)
    plain, broadcast = ConvSize(8, 16, 1), ConvSize(8, 16, 0, hidden=12)
    decoders = (ConvDecoder(6, shape, plain), ConvDecoder(6, shape, broadcast))
    for generator in (DcganGenerator(6, shape, DcganSize(16, 8), "batch").eval(), *decoders):
        images = generator.double()(z.double())  # in float32 two of 12,000 faint pixels may agree by chance
        assert images.shape == (2, *shape)
        assert bool((images[0] != images[1]).all()), "a pixel that no latent reaches"
    trunk = DcganTrunk(shape, DcganSize(8, 32), "none", 0.0)
    encoders = (ConvEncoder(shape, 5, plain), ConvEncoder(shape, 5, broadcast))
    for critic in (Discriminator(trunk, trunk.features, shape[1:], 0, "projection", False), *encoders):
        (gradient,) = torch.autograd.grad(critic(x).sum(), x)
        assert bool((gradient != 0).all()), "a pixel that is not seen"
    assert trunk(x).flatten(1).shape == (2, trunk.features)
    assert ConvEncoder(shape, 5, plain)(x).shape == (2, 5)


def test_broadcast_is_one_network_of_latent_and_place() -> None:
    """As Watters et al. 2019 draw it: the latent tiled over the map, coordinates from -1 to 1 beside it, layers of 1x1."""
    torch.manual_seed(0)
    seed = SpatialBroadcast(3, 8, 5, (4, 7))
    z = torch.randn(2, 3)
    rows, columns = torch.linspace(-1, 1, 4), torch.linspace(-1, 1, 7)
    tiled = z[:, :, None, None].expand(2, 3, 4, 7)
    grid = torch.stack([rows[:, None].expand(4, 7), columns.expand(4, 7)]).expand(2, 2, 4, 7)
    first = torch.cat([seed.of_latent.weight, seed.of_place.weight], 1)[:, :, None, None]
    x = F.silu(F.conv2d(torch.cat([tiled, grid], 1), first, seed.of_latent.bias))
    for layer in (seed.between, seed.out):
        x = F.conv2d(x, layer.weight[:, :, None, None], layer.bias)
        x = F.silu(x) if layer is seed.between else x
    torch.testing.assert_close(seed(z), x)


def test_init_normal_is_radfords() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(400, 300), BatchNorm(2000), nn.Conv2d(50, 60, 4))
    init_normal(net)
    assert float(net[0].weight.detach().std()) == pytest.approx(0.02, rel=0.03)
    assert float(net[2].weight.detach().std()) == pytest.approx(0.02, rel=0.03)
    assert float(net[0].bias.detach().abs().max()) == 0
    assert float(net[1].weight.detach().mean()) == pytest.approx(1.0, abs=3e-3)
    assert float(net[1].weight.detach().std()) == pytest.approx(0.02, rel=0.1)

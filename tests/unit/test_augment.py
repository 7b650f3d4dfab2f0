"""What a GAN's discriminator sees: each augmentation against a plain reference, and what they promise the training loop."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from limner.methods.gan.augment import (
    ADAPTIVE_DRAWS,
    DIFF_DRAWS,
    AugmentConfig,
    Augmenter,
    adaptive_augment,
    diff_augment,
    mix_neighbours,
)

SHAPES = [(1, 28, 28), (3, 16, 16), (3, 12, 20), (4, 9, 7), (1, 5, 8)]
POLICIES: list[Any] = [("colour",), ("translation",), ("cutout",), ("colour", "translation", "cutout")]
TRANSFORMS: list[Any] = [("blit",), ("geometric",), ("colour",), ("blit", "geometric", "colour")]
KINDS = [AugmentConfig(kind="diff", policy=policy) for policy in POLICIES] + [
    AugmentConfig(kind="adaptive", transforms=transforms, start=0.8) for transforms in TRANSFORMS
]
NO = 0.999999
"""A uniform number that keeps a transform from happening at any p < 1."""


def pictures(count: int, shape: tuple[int, ...], seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype) * 2 - 1


def uniform(count: int, draws: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.rand(count, draws, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def shifted(image: np.ndarray, down: int, right: int) -> np.ndarray:
    """[C, H, W], zeros behind, pixel by pixel."""
    out = np.zeros_like(image)
    for i in range(image.shape[1]):
        for j in range(image.shape[2]):
            if 0 <= i - down < image.shape[1] and 0 <= j - right < image.shape[2]:
                out[:, i, j] = image[:, i - down, j - right]
    return out


# --- DiffAugment ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", POLICIES, ids="+".join)
@pytest.mark.parametrize("shape", [(1, 5, 6), (3, 6, 4), (4, 5, 5)])
def test_diff_gradients(policy: Any, shape: tuple[int, int, int]) -> None:
    """Against finite differences, and once more, for whoever differentiates twice."""
    images = pictures(3, shape, dtype=torch.float64).requires_grad_()
    uniforms = uniform(3, sum(DIFF_DRAWS[part] for part in policy), dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: diff_augment(x, uniforms, policy), images)
    assert torch.autograd.gradgradcheck(lambda x: diff_augment(x, uniforms, policy).square(), images)


def test_diff_brightness_saturation_and_contrast_in_closed_form() -> None:
    images = pictures(4, (3, 10, 12))
    means = images.mean((1, 2, 3))
    brighter = diff_augment(images, torch.tensor([[u, 0.5, 0.5] for u in (0.0, 0.25, 0.5, 0.9)]), ("colour",))
    torch.testing.assert_close(brighter, images + torch.tensor([-0.5, -0.25, 0, 0.4]).view(-1, 1, 1, 1))
    sharper = diff_augment(images, torch.tensor([[0.5, 0.5, u] for u in (0.0, 0.25, 0.5, 0.9)]), ("colour",))
    torch.testing.assert_close(sharper.mean((1, 2, 3)), means)
    torch.testing.assert_close(
        sharper - means.view(-1, 1, 1, 1),
        (images - means.view(-1, 1, 1, 1)) * torch.tensor([0.5, 0.75, 1, 1.4]).view(-1, 1, 1, 1),
    )
    grey = images.mean(1, keepdim=True)
    fuller = diff_augment(images, torch.tensor([[0.5, u, 0.5] for u in (0.0, 0.25, 0.5, 0.9)]), ("colour",))
    torch.testing.assert_close(fuller - grey, (images - grey) * torch.tensor([0, 0.5, 1, 1.8]).view(-1, 1, 1, 1))
    assert float((fuller[0] - fuller[0, :1]).abs().max()) < 1e-6, "without saturation, all colours are alike"


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_diff_colours_in_the_papers_order(channels: int) -> None:
    """All three at once, step by step; a grey image has no saturation, and alpha stays."""
    images, uniforms = pictures(8, (channels, 9, 7)), uniform(8, 3)
    out = diff_augment(images, uniforms, ("colour",))
    brightness, saturation, contrast = (uniforms * torch.tensor([1, 2, 1]) + torch.tensor([-0.5, 0, 0.5])).T
    for i, image in enumerate(images):
        x = image[:3] + brightness[i]
        x = (x - x.mean(0, keepdim=True)) * saturation[i] + x.mean(0, keepdim=True)
        x = (x - x.mean()) * contrast[i] + x.mean()
        torch.testing.assert_close(out[i, :3], x, rtol=1e-5, atol=1e-6)
    assert channels < 4 or torch.equal(out[:, 3], images[:, 3])


def test_diff_colours_are_the_picture_on_average() -> None:
    """Every factor has mean 1 and every offset mean 0, and they are independent of each other."""
    steps = (torch.arange(20) + 0.5) / 20
    uniforms = torch.cartesian_prod(steps, steps, steps)
    image = pictures(1, (3, 3, 3))
    torch.testing.assert_close(
        diff_augment(image.expand(len(uniforms), -1, -1, -1), uniforms, ("colour",)).mean(0), image[0], rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_diff_translation_is_a_shift_with_zeros_behind(shape: tuple[int, int, int]) -> None:
    images, uniforms = pictures(40, shape), uniform(40, 2)
    uniforms[:4] = torch.tensor([[0, 0], [0, NO], [NO, 0], [NO, NO]])
    out = diff_augment(images, uniforms, ("translation",)).numpy()
    most = [math.floor(side / 8 + 0.5) for side in shape[1:]]
    seen = set()
    for i, image in enumerate(images.numpy()):
        down, right = (math.floor(float(u) * (2 * m + 1)) - m for u, m in zip(uniforms[i], most, strict=True))
        assert (out[i] == shifted(image, down, right)).all()
        seen.add((down, right))
    assert {(-most[0], -most[1]), (most[0], most[1]), (most[0], -most[1])} <= seen
    assert len(seen) >= min(12, (2 * most[0] + 1) * (2 * most[1] + 1))


@pytest.mark.parametrize("shape", SHAPES)
def test_diff_cutout_zeroes_its_rectangle_and_nothing_else(shape: tuple[int, int, int]) -> None:
    images, uniforms = pictures(40, shape), uniform(40, 2)
    uniforms[:2] = torch.tensor([[0, 0], [NO, NO]])
    out = diff_augment(images, uniforms, ("cutout",)).numpy()
    areas = []
    for i, image in enumerate(images.numpy()):
        rectangle = []
        for u, side in zip(uniforms[i], shape[1:], strict=True):
            size = math.floor(side / 2 + 0.5)
            first = math.floor(float(u) * (side + 1 - size % 2)) - size // 2
            rectangle.append((max(first, 0), min(first + size, side)))
        (top, bottom), (left, right) = rectangle
        image[:, top:bottom, left:right] = 0
        assert (out[i] == image).all()
        areas.append((bottom - top) * (right - left))
    assert max(areas) == math.floor(shape[1] / 2 + 0.5) * math.floor(shape[2] / 2 + 0.5)
    assert min(areas) > 0


def test_diff_parts_come_in_one_order_and_share_no_draw() -> None:
    images, uniforms = pictures(6, (3, 16, 12)), uniform(6, 7)
    step = diff_augment(images, uniforms[:, :3], ("colour",))
    step = diff_augment(step, uniforms[:, 3:5], ("translation",))
    step = diff_augment(step, uniforms[:, 5:], ("cutout",))
    for policy in (("colour", "translation", "cutout"), ("cutout", "colour", "translation")):
        assert torch.equal(diff_augment(images, uniforms, policy), step)


# --- ADA --------------------------------------------------------------------------------------------------------------------


def ada(images: Tensor, transform: Any, *chosen: tuple[int, Sequence[float]], p: float = 0.5) -> Tensor:
    """Only the chosen transforms happen: (column of the gate, the values behind it)."""
    uniforms = torch.full((len(images), ADAPTIVE_DRAWS[transform]), NO, dtype=images.dtype)
    for gate, values in chosen:
        uniforms[:, gate] = 0.01
        uniforms[:, gate + 1 : gate + 1 + len(values)] = torch.tensor(values, dtype=images.dtype)
    return adaptive_augment(images, uniforms, torch.tensor(p), (transform,))


@pytest.mark.parametrize("transforms", TRANSFORMS, ids="+".join)
@pytest.mark.parametrize("shape", SHAPES)
def test_ada_is_the_identity_at_0_and_not_at_1(transforms: Any, shape: tuple[int, int, int]) -> None:
    images, uniforms = pictures(16, shape), uniform(16, sum(ADAPTIVE_DRAWS[part] for part in transforms))
    assert torch.equal(adaptive_augment(images, uniforms, torch.tensor(0.0), transforms), images)
    changed = (adaptive_augment(images, uniforms, torch.tensor(1.0), transforms) != images).flatten(1).any(1)
    assert float(changed.float().mean()) > (0.8 if transforms != ("blit",) else 0.6)


@pytest.mark.parametrize("shape", [(3, 16, 16), (1, 8, 8), (3, 8, 16)])
def test_ada_blit_is_exact(shape: tuple[int, int, int]) -> None:
    images = pictures(2, shape)
    assert torch.equal(ada(images, "blit", (0, [0.2])), images.flip(3))
    assert torch.equal(ada(images, "blit", (0, [0.7])), images), "hit, but the coin says no"
    square = shape[1] == shape[2]
    for turns in range(4) if square else (0, 2):
        turned = torch.rot90(images, turns, (2, 3))
        assert torch.equal(ada(images, "blit", (2, [(turns + 0.5) / 4])), turned)
        assert torch.equal(
            ada(images, "blit", (0, [0.2]), (2, [(turns + 0.5) / 4])), torch.rot90(images.flip(3), turns, (2, 3))
        )
    if not square:  # a quarter turn would leave the frame: half of the draws are 0, half are 180°
        assert torch.equal(ada(images, "blit", (2, [0.3])), images)
        assert torch.equal(ada(images, "blit", (2, [0.9])), images.rot90(2, (2, 3)))


@pytest.mark.parametrize(("u", "v"), [(0.0, 0.0), (0.0, 0.99), (0.3, 0.8), (0.99, 0.5)])
def test_ada_translates_by_whole_pixels_and_reflects(u: float, v: float) -> None:
    images = pictures(2, (3, 16, 24))
    down, right = round((u / 4 - 0.125) * 16), round((v / 4 - 0.125) * 24)
    padded = np.pad(images.numpy(), ((0, 0), (0, 0), (3, 3), (3, 3)), mode="reflect")
    expected = padded[:, :, 3 - down : 19 - down, 3 - right : 27 - right]
    assert (ada(images, "blit", (4, [u, v])).numpy() == expected).all()
    after = ada(images, "blit", (0, [0.2]), (4, [u, v])).numpy()  # first the flip, then the translation
    assert (after == padded[:, :, :, ::-1][:, :, 3 - down : 19 - down, 3 - right : 27 - right]).all()


def rotation(angle: float) -> np.ndarray:
    return np.array([[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0], [0, 0, 1]])


def waves(height: int, width: int, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A smooth picture that is known everywhere, and that reflects at the outermost pixels by itself."""
    x, y = np.pi * x / (width - 1), np.pi * y / (height - 1)
    return 0.4 * np.cos(x) + 0.3 * np.cos(2 * y) - 0.2 * np.cos(3 * x) * np.cos(2 * y)


@pytest.mark.parametrize("size", [(32, 32), (24, 40)])
@pytest.mark.parametrize("which", ["scale", "before", "stretch", "after", "move", "all"])
def test_ada_geometry_is_one_affine_map_in_the_papers_order(size: tuple[int, int], which: str) -> None:
    """Against the picture's own formula at the places that the inverse of the product of 3×3 matrices points to."""
    height, width = size
    u = {"scale": 0.85, "before": 0.6, "stretch": 0.05, "after": 0.45, "move": (0.7, 0.2)}
    normal = NormalDist().inv_cdf
    scale, stretch = 2 ** (0.2 * normal(u["scale"])), 2 ** (0.2 * normal(u["stretch"]))  # type: ignore[arg-type]
    matrices = {
        "scale": np.diag([scale, scale, 1]),
        "before": rotation((2 * 0.6 - 1) * math.pi),
        "stretch": np.diag([stretch, 1 / stretch, 1]),
        "after": rotation((2 * 0.45 - 1) * math.pi),
        "move": np.array([[1, 0, 0.125 * width * normal(0.7)], [0, 1, 0.125 * height * normal(0.2)], [0, 0, 1]]),
    }
    chosen = [name for name in matrices if which in (name, "all")]
    whole = np.eye(3)
    for name in chosen:
        whole = matrices[name] @ whole
    y, x = np.mgrid[:height, :width].astype(float)
    image = torch.from_numpy(waves(height, width, x, y))[None, None].expand(2, 3, -1, -1)
    centred = np.stack([x - (width - 1) / 2, y - (height - 1) / 2, np.ones_like(x)])
    from_x, from_y, _ = np.einsum("ab,bhw->ahw", np.linalg.inv(whole), centred)
    expected = waves(height, width, from_x + (width - 1) / 2, from_y + (height - 1) / 2)
    gates = dict(zip(matrices, (0, 2, 4, 6, 8), strict=True))
    values = {name: list(value) if isinstance(value, tuple) else [value] for name, value in u.items()}
    out = ada(image, "geometric", *((gates[name], values[name]) for name in chosen))
    assert float(np.abs(expected - waves(height, width, x, y)).max()) > 0.1
    np.testing.assert_allclose(out[1, 2].numpy(), expected, atol=0.02)


def test_ada_rotation_by_a_quarter_is_rot90_and_keeps_fine_detail() -> None:
    """Resampling that lands on pixels keeps them; half-way between, stripes of 4 pixels keep their height (bilinear: 71 %)."""
    noise = pictures(2, (3, 16, 16))
    clockwise = ada(noise, "geometric", (2, [0.75]))  # +90°, y points down
    torch.testing.assert_close(clockwise, torch.rot90(noise, -1, (2, 3)), rtol=0, atol=1e-4)
    stripes = torch.cos(torch.arange(32) * math.pi / 2 + math.pi / 4).expand(1, 1, 32, 32).contiguous()
    half = NormalDist().cdf(0.5 / (0.125 * 32))
    out = ada(stripes, "geometric", (8, [half, 0.5]))[..., 4:-4]
    assert 0.95 < float(out.abs().max()) < 1.05


def colour_matrix(u: dict[str, float]) -> np.ndarray:
    """Appendix B's product of 4×4 matrices, written as there."""
    normal, v, one = NormalDist().inv_cdf, np.array([1, 1, 1, 0]) / math.sqrt(3), np.eye(4)
    matrix = np.eye(4)
    if "brightness" in u:
        move = np.eye(4)
        move[:3, 3] = 0.2 * normal(u["brightness"])
        matrix = move @ matrix
    if "contrast" in u:
        matrix = np.diag([2 ** (0.5 * normal(u["contrast"]))] * 3 + [1]) @ matrix
    if "luma" in u and u["luma"] < 0.5:
        matrix = (one - 2 * np.outer(v, v)) @ matrix
    if "hue" in u:
        angle, (a, b, c) = (2 * u["hue"] - 1) * math.pi, v[:3]
        cross = np.array([[0, -c, b], [c, 0, -a], [-b, a, 0]])
        turn = np.eye(4)
        turn[:3, :3] = np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * cross @ cross  # Rodrigues
        matrix = turn @ matrix
    if "saturation" in u:
        s = 2 ** normal(u["saturation"])
        rest = np.diag([1, 1, 1, 0]) - np.outer(v, v)
        matrix = (np.outer(v, v) + rest * s + np.diag([0, 0, 0, 1])) @ matrix
    return matrix


COLOURS = {"brightness": 0.8, "contrast": 0.3, "luma": 0.2, "hue": 0.83, "saturation": 0.7}


@pytest.mark.parametrize("which", [*COLOURS, "all"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_ada_colours_are_the_papers_matrices(which: str, channels: int) -> None:
    """A grey image is treated as one whose three colours are alike, and alpha stays."""
    images = pictures(3, (channels, 6, 5), dtype=torch.float64)
    u = {name: value for name, value in COLOURS.items() if which in (name, "all")}
    gates = dict(zip(COLOURS, range(0, 10, 2), strict=True))
    out = ada(images, "colour", *((gates[name], [value]) for name, value in u.items()))
    colours = images[:, :3].expand(-1, 3, -1, -1).numpy()
    matrix = colour_matrix(u)
    expected = np.einsum("ab,nbhw->nahw", matrix[:3, :3], colours) + matrix[:3, 3].reshape(3, 1, 1)
    np.testing.assert_allclose(out[:, :3].numpy(), expected[:, :channels], atol=1e-6)
    unchanged = np.allclose(out[:, :3].numpy(), images[:, :3].numpy(), atol=1e-6)
    assert unchanged == (channels == 1 and which in ("hue", "saturation"))
    assert channels < 4 or torch.equal(out[:, 3], images[:, 3])
    if which in ("hue", "saturation"):
        torch.testing.assert_close(out[:, :3].mean(1), images[:, :3].mean(1), rtol=0, atol=1e-6)
    if which == "luma":
        torch.testing.assert_close(out[:, :3].mean(1), -images[:, :3].mean(1), rtol=0, atol=1e-6)


def test_ada_happens_with_probability_p() -> None:
    """Flips in p/2 of the pictures, quarter turns other than 0 in 3p/4, one of two rotations in p."""
    count, p = 4000, torch.tensor(0.6)
    image = pictures(1, (1, 8, 8)).expand(count, -1, -1, -1)
    error = 4 * math.sqrt(0.25 / count)

    def share(transform: Any, columns: slice) -> float:
        uniforms = torch.full((count, ADAPTIVE_DRAWS[transform]), NO)
        uniforms[:, columns] = uniform(count, len(range(*columns.indices(ADAPTIVE_DRAWS[transform]))), seed=3)
        out = adaptive_augment(image, uniforms, p, (transform,))
        return float((out != image).flatten(1).any(1).float().mean())

    assert abs(share("blit", slice(0, 2)) - 0.3) < error
    assert abs(share("blit", slice(2, 4)) - 0.45) < error
    uniforms = torch.full((count, 11), NO)
    uniforms[:, [2, 3, 6, 7]] = uniform(count, 4, seed=4)
    rotated = (adaptive_augment(image, uniforms, p, ("geometric",)) != image).flatten(1).any(1)
    assert abs(float(rotated.float().mean()) - 0.6) < error
    for column in range(0, 10, 2):
        expected = 0.3 if column == 4 else 0.0 if column in (6, 8) else 0.6  # a grey image: luma flips; no hue, no saturation
        assert abs(share("colour", slice(column, column + 2)) - expected) < error


@pytest.mark.parametrize("transforms", TRANSFORMS, ids="+".join)
@pytest.mark.parametrize("shape", [(1, 5, 5), (3, 4, 6)])
def test_ada_gradients(transforms: Any, shape: tuple[int, int, int]) -> None:
    images = pictures(3, shape, dtype=torch.float64).requires_grad_()
    uniforms = uniform(3, sum(ADAPTIVE_DRAWS[part] for part in transforms), dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: adaptive_augment(x, uniforms, torch.tensor(0.8), transforms), images)


def test_ada_gradient_reaches_a_generator_in_float32() -> None:
    """The adjoint of the whole chain: <A(x) - A(0), y> = <x, grad>."""
    images, uniforms, weights = pictures(8, (3, 16, 16)).requires_grad_(), uniform(8, 28), pictures(8, (3, 16, 16), seed=5)
    out = adaptive_augment(images, uniforms, torch.tensor(0.8), ("blit", "geometric", "colour"))
    still = adaptive_augment(torch.zeros_like(images), uniforms, torch.tensor(0.8), ("blit", "geometric", "colour"))
    (gradient,) = torch.autograd.grad((out * weights).sum(), images)
    torch.testing.assert_close((gradient * images).sum(), ((out - still) * weights).sum(), rtol=1e-3, atol=1e-2)


# --- What both promise ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", KINDS, ids=lambda c: "+".join((c.kind, *(c.policy if c.kind == "diff" else c.transforms))))
@pytest.mark.parametrize("shape", SHAPES)
def test_images_do_not_influence_each_other(config: AugmentConfig, shape: tuple[int, int, int]) -> None:
    """Alone, between others, and in a batch that is doubled: always the same picture."""
    augment = Augmenter(config, shape)
    images, uniforms = pictures(7, shape), uniform(7, augment.draws)
    out = augment(images, uniforms)
    assert not augment.couples
    assert not torch.equal(out, images)
    torch.testing.assert_close(augment(images[3:4], uniforms[3:4]), out[3:4], rtol=0, atol=1e-6)
    others = images.clone()
    others[:3], others[4:] = 5.0, -7.0
    torch.testing.assert_close(augment(others, uniforms)[3], out[3], rtol=0, atol=1e-6)
    twice = augment(images.repeat(2, 1, 1, 1), uniforms.repeat(2, 1))
    torch.testing.assert_close(twice, out.repeat(2, 1, 1, 1), rtol=0, atol=1e-6)


@pytest.mark.parametrize("config", KINDS, ids=lambda c: "+".join((c.kind, *(c.policy if c.kind == "diff" else c.transforms))))
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_memory_order_and_number_format_stay(config: AugmentConfig, channels: int) -> None:
    augment = Augmenter(config, (channels, 10, 12))
    rows = pictures(5, (channels, 10, 12))
    last = rows.contiguous(memory_format=torch.channels_last)
    uniforms = uniform(5, augment.draws)
    out = augment(rows, uniforms)
    assert out.is_contiguous()
    assert augment(last, uniforms).is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(augment(last, uniforms), out)
    assert torch.equal(augment(rows.repeat(1, 1, 1, 2)[..., 3:15].roll(3, 3), uniforms), out), "strided memory"
    half = rows.bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        halved = augment(half, uniforms)
        assert torch.equal(augment(rows, uniforms), out), "autocast changes nothing"
    assert halved.dtype == torch.bfloat16
    torch.testing.assert_close(halved.float(), augment(half.float(), uniforms), rtol=2e-2, atol=3e-2)


def test_mix_takes_the_next_picture() -> None:
    images = pictures(4, (3, 5, 6))
    uniforms = torch.tensor([[0.1, 0.75], [0.29, 0.0], [0.31, 0.5], [0.0, 0.25]])
    out = mix_neighbours(images, uniforms, 0.3)
    expected = [0.75 * images[0] + 0.25 * images[1], images[2], images[2], 0.25 * images[3] + 0.75 * images[0]]
    torch.testing.assert_close(out, torch.stack(expected))
    assert torch.equal(out[2], images[2]), "what is not mixed stays exactly"


@pytest.mark.parametrize("kind", ["none", "diff", "adaptive"])
def test_mix_comes_last_and_a_doubled_batch_is_doubled(kind: Any) -> None:
    shape = (3, 8, 8)
    plain, mixing = (Augmenter(AugmentConfig(kind=kind, start=0.5, mix=mix), shape) for mix in (0.0, 0.7))
    assert mixing.draws == plain.draws + 2
    assert mixing.couples
    assert mixing.active
    images, uniforms = pictures(6, shape), uniform(6, mixing.draws)
    out = mixing(images, uniforms)
    assert torch.equal(out, mix_neighbours(plain(images, uniforms[:, :-2]), uniforms[:, -2:], 0.7))
    torch.testing.assert_close(mixing(images.repeat(2, 1, 1, 1), uniforms.repeat(2, 1)), out.repeat(2, 1, 1, 1))
    assert torch.equal(mix_neighbours(images, uniforms[:, :2], 0.0), images)


def test_nothing_is_nothing() -> None:
    augment, images = Augmenter(AugmentConfig(), (2, 4, 4)), pictures(3, (2, 4, 4))
    assert augment.draws == 0
    assert not augment.active
    assert not augment.couples
    assert augment(images, torch.empty(3, 0)) is images

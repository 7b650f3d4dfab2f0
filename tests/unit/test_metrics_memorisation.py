"""Copies among samples are found, mirrored and moved ones too; what merely lies near is not called a copy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from limner.core.errors import InputError
from limner.core.images import grid
from limner.metrics.memorisation import nearest as search
from limner.metrics.memorisation.data_copying import data_copying, k_means, mann_whitney_z, nearest_centre
from limner.metrics.memorisation.memorisation import (
    contact_sheet,
    excess,
    memorisation,
    quantile,
    ratio,
    relative_distance,
    suspects,
)
from limner.metrics.memorisation.nearest import VIEWS, Nearest, View, nearest

stats = pytest.importorskip("scipy.stats")
Pictures = NDArray[np.uint8]


def soft(count: int, height: int = 14, width: int = 14, channels: int = 1, seed: int = 0) -> Pictures:
    """[N, H, W, C]: smooth random fields; each is unlike all others."""
    coarse = torch.rand(count, channels, 5, 5, generator=torch.Generator().manual_seed(seed))
    fine = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic", align_corners=True)
    return fine.clamp(0, 1).mul(255).round().byte().permute(0, 2, 3, 1).contiguous().numpy()


def moved(pictures: Pictures, down: int, right: int, fill: int = 77) -> Pictures:
    """What leaves the picture is lost, and what comes in is `fill`."""
    out = np.full_like(pictures, fill)
    height, width = pictures.shape[1:3]
    to = slice(max(0, down), height + min(0, down)), slice(max(0, right), width + min(0, right))
    fro = slice(max(0, -down), height + min(0, -down)), slice(max(0, -right), width + min(0, -right))
    out[:, to[0], to[1]] = pictures[:, fro[0], fro[1]]
    return out


def seen_as(pictures: Pictures, view: View) -> Pictures:
    return moved(pictures[:, :, ::-1] if view.mirrored else pictures, view.down, view.right)


def by_definition(pictures: Pictures, train: Pictures) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Root mean square over the inner window of every training picture in every view, the least per training picture."""
    found = np.empty((len(pictures), len(train), len(VIEWS)))
    for number, view in enumerate(VIEWS):
        mirrored = train[:, :, ::-1] if view.mirrored else train
        height, width = train.shape[1:3]
        there = mirrored[:, 1:-1, 1:-1].astype(np.int64)
        here = pictures[:, 1 + view.down : height - 1 + view.down, 1 + view.right : width - 1 + view.right].astype(np.int64)
        found[:, :, number] = ((here[:, None] - there[None]) ** 2).mean((2, 3, 4)) ** 0.5 / 255
    least = found.min(2)
    order = least.argsort(1, kind="stable")[:, :16]
    take = np.take_along_axis
    return take(least, order, 1), order, take(found.argmin(2), order, 1)


@pytest.mark.parametrize("shape", [(14, 14, 1), (9, 12, 3), (4, 5, 1), (16, 6, 4)])
def test_nearest_by_definition(shape: tuple[int, int, int]) -> None:
    train, pictures = soft(150, *shape), soft(25, *shape, seed=1)
    pictures[:3] = train[[7, 7, 80]]
    expected = by_definition(pictures, train)
    found = nearest(pictures, train)
    np.testing.assert_allclose(found.distance[:, :4].numpy(), expected[0][:, :4], rtol=1e-9, atol=0)
    np.testing.assert_array_equal(found.index[:, :4].numpy(), expected[1][:, :4])
    np.testing.assert_array_equal(found.view[:, 0].numpy(), expected[2][:, 0])
    assert found.distance[:3, 0].tolist() == [0, 0, 0]


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_of_a_copy_is_found_exactly(view: View) -> None:
    train = soft(60)
    pictures = seen_as(train[10:15], view)
    found = nearest(pictures, train)
    assert found.index[:, 0].tolist() == [10, 11, 12, 13, 14]
    assert found.distance[:, 0].tolist() == [0] * 5, "whatever came in at the edge"
    assert {VIEWS[int(place)] for place in found.view[:5, 0]} == {view}
    # Two pixels are not tried.
    far = nearest(moved(train[10:15], 2, 0), train)
    assert float(far.distance[:, 0].min()) > 0.02


def test_blocks_rows_and_sources_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    train, pictures = soft(300, 10, 10, 3), soft(40, 10, 10, 3, seed=1)
    whole = nearest(pictures, train)
    for name, value in (("_AT_ONCE", 17), ("_TRAIN", 64), ("_COLUMNS", 13), ("_ROWS", 5), ("_VALUES", 1000)):
        monkeypatch.setattr(search, name, value)

    class Gathered:
        shape = train.shape

        def gather(self, indices: NDArray[np.int64]) -> Pictures:
            return train[indices]

    pieces = nearest(torch.from_numpy(pictures), Gathered())
    for name in ("distance", "index", "view"):
        assert torch.equal(getattr(pieces, name)[:, :8], getattr(whole, name)[:, :8])
    some = np.arange(1, 300, 2)
    halves = nearest(pictures, train, some)
    assert torch.equal(halves.index[:, :8], torch.from_numpy(some)[nearest(pictures, train[some]).index[:, :8]])
    none = nearest(pictures[:0], train)
    assert none.distance.shape == none.index.shape == none.view.shape == (0, 16)


def test_large_pictures_are_shrunk_after_the_move() -> None:
    """A pixel of 70 is less than half a pixel of what is compared; it is undone exactly nevertheless."""
    train = soft(40, 70, 50, 3)
    found = nearest(moved(train[3:6], -1, 1), train)
    assert found.index[:, 0].tolist() == [3, 4, 5]
    assert VIEWS[int(found.view[0, 0])] == View(False, -1, 1)
    assert float(found.distance[:, 0].max()) < 1e-6
    assert float(found.distance[:, 1].min()) > 0.05


def test_few_and_equal_training_pictures() -> None:
    train = soft(3)
    found = nearest(soft(4, seed=1), train)
    assert found.distance.shape == (4, 3)
    flat = np.full((20, 8, 8, 1), 100, np.uint8)
    assert nearest(flat[:2], flat).distance.eq(0).all()
    with pytest.raises(InputError, match="at least three"):
        nearest(train, train[:2])
    with pytest.raises(InputError, match=r"14×14×1 .* 14×13×1"):
        nearest(train, train[:, :, 1:])
    with pytest.raises(InputError, match="4×4"):
        nearest(train[:, :3], train[:, :3])


def told(*rows: list[float], hits: list[int] | None = None) -> Nearest:
    distance = torch.tensor(rows, dtype=torch.float64)
    index = torch.arange(len(rows)) if hits is None else torch.tensor(hits)
    return Nearest(distance, index[:, None].expand(distance.shape), torch.zeros(distance.shape, dtype=torch.int64))


def test_ratios_by_hand() -> None:
    found = told([1, 2, 4, 6], [0, 0, 1, 1], [0, 0, 0, 0], [3, 3, 3, 3])
    assert ratio(found).tolist() == [0.5, 0, 0, 1]
    assert relative_distance(found).tolist() == [0.25, 0, 0, 1]
    assert suspects(found, 3).tolist() == [1, 2, 0]


def test_quantile_and_excess_by_hand() -> None:
    held_out = torch.arange(1.0, 2001)
    assert quantile(held_out) == 2  # two of 2,000
    assert quantile(held_out[:300]) == 1  # of fewer than a thousand, the least
    samples = torch.tensor([0.5, 2.0, 2.5, 1.5] + [50.0] * 96)
    hits = torch.tensor([7, 8, 9, 7] + [1] * 96)
    found = excess(samples, held_out, 2.0, hits)
    assert found.rows == (0, 1, 3)
    assert (found.share, found.held_out) == (0.03, 0.001)
    # Two different training pictures are hit, by 100 of 2,100: P(at least 2 of 4 draws)
    assert found.p == pytest.approx(stats.hypergeom.sf(1, 2100, 100, 4), rel=1e-9)
    assert excess(samples, held_out, 2.0, hits, strictly=True).rows == (0, 3)


@pytest.mark.parametrize("steps", [10**9, 4000, 60])
def test_p_is_no_smaller_than_chance_makes_it(steps: int) -> None:
    """Samples and held-out pictures of one distribution, also where distances are tied (few steps)."""
    random = np.random.default_rng(0)
    p = []
    for _ in range(1500):
        samples, held_out = (torch.from_numpy(np.floor(random.random(size) * steps)) for size in (400, 900))
        p.append(excess(samples, held_out, quantile(held_out, 0.005), torch.arange(400)).p)
    for level in (0.2, 0.05, 0.01):
        assert np.mean(np.array(p) <= level) <= level + 3 * (level * (1 - level) / 1500) ** 0.5
    if steps == 10**9:
        assert np.mean(np.array(p) <= 0.2) > 0.05  # and not merely by never speaking


PLANTED = {
    "copies": View(False, 0, 0),
    "mirrored": View(True, 0, 0),
    "moved": View(False, 0, 1),
    "moved across": View(False, -1, 1),
    "both": View(True, 1, 0),
}


@pytest.fixture(scope="module")
def world() -> tuple[Pictures, Pictures, Pictures, Nearest]:
    """2,000 training pictures, 1,000 held out and what lies nearest to them, 600 samples of a generator beyond reproach."""
    every = soft(3600, 10, 10)
    train, held_out, samples = every[:2000], every[2000:3000], every[3000:]
    return train, held_out, samples, nearest(held_out, train)


@pytest.mark.parametrize("name", PLANTED)
def test_a_few_copies_are_found(world: tuple[Pictures, Pictures, Pictures, Nearest], name: str) -> None:
    train, _, samples, held_out = world
    planted = samples.copy()
    rows = np.arange(50, 600, 50)
    planted[rows] = seen_as(train[100:1200:100], PLANTED[name])
    found = memorisation(nearest(planted, train), held_out)
    assert set(rows) <= set(found.relative.rows)
    assert set(rows) <= set(found.nearer.rows)
    assert set(found.double.rows) == set(rows)
    assert max(found.nearer.p, found.relative.p) < 1e-3
    assert found.double.p < 1e-4
    view = PLANTED[name]
    assert abs(found.mirrored - 11 * view.mirrored) <= 2
    assert abs(found.moved - 11 * ((view.down, view.right) != (0, 0))) <= 2


def test_new_pictures_are_no_copies(world: tuple[Pictures, Pictures, Pictures, Nearest]) -> None:
    train, _, samples, held_out = world
    found = memorisation(nearest(samples, train), held_out)
    assert min(found.nearer.p, found.relative.p, found.double.p) > 0.05
    assert found.double.share == 0
    once = nearest(samples[:100], train)
    again = nearest(samples[np.arange(600) % 100], train)
    repeated = memorisation(again, held_out)  # a collapse is no memory: each picture counts once
    assert min(repeated.nearer.p, repeated.relative.p, repeated.double.p) > 0.05
    assert torch.equal(again.distance[:100], once.distance)


def test_averages_are_near_and_no_copies(world: tuple[Pictures, Pictures, Pictures, Nearest]) -> None:
    """A blurry model draws averages. They lie nearer to everything, and are copies of nothing."""
    train, _, samples, held_out = world
    middle = train.astype(float).mean(0)
    smooth = np.rint(middle + 0.5 * (samples - middle)).astype(np.uint8)
    found = memorisation(nearest(smooth, train), held_out)
    assert found.nearer.p < 0.01
    assert min(found.relative.p, found.double.p) > 0.05
    # Copies that are not exact are seen by their relative distance.
    noisy = samples.copy()
    noise = np.random.default_rng(0).normal(0, 14, (12, 10, 10, 1))
    noisy[:12] = (train[:12] + noise).clip(0, 255).round().astype(np.uint8)
    assert memorisation(nearest(noisy, train), held_out).relative.p < 1e-3


def test_a_data_set_that_repeats_itself() -> None:
    """One in fifty held-out pictures is a training picture too; a generator may do as much, but not five times as much."""
    every = soft(1300, 8, 8)
    train, held_out, samples = every[:500], every[500:900].copy(), every[900:1300].copy()
    held_out[:8] = train[:8]
    samples[:8] = train[100:108]
    near = nearest(held_out, train)
    as_many = memorisation(nearest(samples, train), near)
    assert as_many.relative.threshold == 0
    assert (as_many.relative.share, as_many.relative.held_out) == (0.02, 0.02)
    assert as_many.relative.p > 0.3
    samples[:40] = train[100:140]
    more = memorisation(nearest(samples, train), near)
    assert more.relative.share == 0.1
    assert max(more.relative.p, more.double.p, more.nearer.p) < 1e-5


def test_memorisation_of_nothing(world: tuple[Pictures, Pictures, Pictures, Nearest]) -> None:
    train, _, samples, held_out = world
    with pytest.raises(InputError, match="held out"):
        memorisation(nearest(samples[:3], train), nearest(samples[:0], train))


def test_contact_sheet() -> None:
    train, samples = soft(50, 28, 28, 3), soft(9, 28, 28, 3, seed=1)
    samples[4] = moved(train[20:21, :, ::-1], 0, 1)[0]
    found = nearest(samples, train)
    assert suspects(found, 1).tolist() == [4]
    sheet = contact_sheet(samples, train, found, beside=3)
    gap, side = 2, 28 * 3  # of the grid
    assert sheet.shape == (9 * (side + gap) + gap, 4 * (side + gap) + gap, 3)
    first = sheet[gap : gap + side]
    np.testing.assert_array_equal(first[:, gap : gap + side], grid(samples[4:5])[gap:-gap, gap:-gap])
    mirrored = np.ascontiguousarray(train[20:21, :, ::-1])
    np.testing.assert_array_equal(first[:, side + 2 * gap : 2 * (side + gap)], grid(mirrored)[gap:-gap, gap:-gap])
    chosen = contact_sheet(samples, train, found, rows=[2, 0], beside=40)
    assert chosen.shape[0] == 2 * (side + gap) + gap
    np.testing.assert_array_equal(chosen[gap : gap + side, gap : gap + side], grid(samples[2:3])[gap:-gap, gap:-gap])


# C_T


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("steps", [1e9, 12])
def test_rank_test_is_scipy_s(steps: float) -> None:
    a, b = (normal(40, seed=1) * steps).round() / steps, ((normal(70) + 0.4) * steps).round() / steps
    told = stats.mannwhitneyu(a.double().numpy(), b.double().numpy(), method="asymptotic", use_continuity=False)
    assert stats.norm.sf(abs(mann_whitney_z(a, b))) * 2 == pytest.approx(told.pvalue, rel=1e-9)
    assert mann_whitney_z(a, b) == pytest.approx(-mann_whitney_z(b, a))
    assert mann_whitney_z(a, b) < 0
    assert mann_whitney_z(torch.ones(5), torch.ones(7)) == 0


def test_k_means_finds_far_groups() -> None:
    centres = torch.tensor([[0.0, 0.0], [50.0, 0.0], [0.0, 50.0]])
    x = (centres[:, None] + normal(3, 100, 2)).flatten(0, 1)
    found = k_means(x, 3, seed=1)
    which = nearest_centre(x, found).view(3, 100)
    assert [len(row.unique()) for row in which] == [1, 1, 1]
    for group in range(3):
        torch.testing.assert_close(found[which[group, 0]], x[100 * group : 100 * group + 100].mean(0), rtol=1e-5, atol=1e-5)
    assert torch.equal(k_means(x, 3, seed=1), found)
    assert len(k_means(torch.zeros(5, 2), 3, seed=0)) == 3


def test_c_t_sees_copies_and_distance() -> None:
    train, held_out = normal(2000, 4), normal(800, 4, seed=1)
    fair = data_copying(normal(700, 4, seed=2), held_out, train)
    assert fair.cells >= 5
    assert abs(fair.z) < 3
    copies = data_copying(train[:700] + 0.05 * normal(700, 4, seed=3), held_out, train)
    assert copies.value < -3
    assert copies.p < 1e-10
    far = data_copying(normal(700, 4, seed=2) * 1.3, held_out, train)
    assert far.z > 3
    assert far.p > 0.99
    few = data_copying(torch.cat((train[:7], normal(693, 4, seed=2))), held_out, train)
    clean = data_copying(torch.cat((normal(7, 4, seed=5), normal(693, 4, seed=2))), held_out, train)
    assert abs(few.z - clean.z) < 1, "one in a hundred does not move it"


def test_c_t_of_one_cell_is_one_rank_test() -> None:
    train, held_out, samples = normal(300, 3), normal(90, 3, seed=1), normal(60, 3, seed=2) + 0.2
    found = data_copying(samples, held_out, train, cells=1)
    a, b = (torch.cdist(x.double(), train.double()).amin(1).numpy() for x in (samples, held_out))
    u = stats.mannwhitneyu(a, b).statistic
    assert found.value == pytest.approx((u - 60 * 90 / 2) / (60 * 90 * 151 / 12) ** 0.5, rel=1e-6)
    assert (found.z, found.cells, found.covered) == (found.value, 1, 1.0)
    assert found.p == pytest.approx(stats.norm.cdf(found.z))


def test_c_t_weighs_cells_by_held_out_pictures() -> None:
    """Two far cells, in one of which there are copies; its weight is the held-out pictures' share of it."""
    there = torch.tensor([1000.0, 0.0])
    train = torch.cat((normal(500, 2), normal(500, 2, seed=1) + there))
    held_out = torch.cat((normal(300, 2, seed=2), normal(100, 2, seed=3) + there))
    samples = torch.cat((normal(200, 2, seed=4), train[500:700]))
    both = data_copying(samples, held_out, train, cells=2)
    left = data_copying(samples[:200], held_out[:300], train[:500], cells=1).value
    right = data_copying(samples[200:], held_out[300:], train[500:], cells=1).value
    assert right < -8
    assert both.value == pytest.approx(0.75 * left + 0.25 * right, rel=1e-6)
    assert both.z == pytest.approx(both.value / (0.75**2 + 0.25**2) ** 0.5)
    # A cell with no more than twenty samples does not count.
    thin = data_copying(samples[:220], held_out, train, cells=2)
    assert (thin.cells, thin.covered) == (1, 0.75)
    assert thin.value == pytest.approx(left, rel=1e-6)
    with pytest.raises(InputError, match="more than 20 samples"):
        data_copying(samples[:20], held_out, train)
    with pytest.raises(InputError, match="held out"):
        data_copying(samples, held_out[:0], train)

"""Pairing by semidiscrete transport: against the assignment problem, in closed form, by class, and what it leaves as it was."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from contract.helpers import method_of, pictures_like
from limner.core.cond import Batch, Cond
from limner.core.method import StepContext
from limner.core.precision import autocast
from limner.methods.flow import transport
from limner.methods.flow.flow import Flow
from limner.methods.flow.transport import Blocks, Coupling, principal_directions, solve_potentials


@dataclass(eq=False)
class Pictures:
    """A set in memory, with a class for each picture."""

    images: Tensor
    labels: Tensor

    @property
    def count(self) -> int:
        return len(self.images)

    def take(self, places: Tensor) -> Batch:
        return Batch(self.images[places], Cond(label=self.labels[places]), pictures=self)


@pytest.fixture(autouse=True)
def own_generator() -> Iterator[None]:
    with torch.random.fork_rng([]):
        torch.manual_seed(4)
        yield


def made(count: int = 120, classes: int = 3) -> Pictures:
    """Pictures whose brightness differs by class and whose contrast differs from one to the next; classes of unequal size."""
    labels = (torch.rand(count).square() * classes).long()
    images = pictures_like(count, (8, 8, 1)) * torch.linspace(0.3, 1.0, count).view(-1, 1, 1, 1)
    return Pictures((images + 0.3 * labels.view(-1, 1, 1, 1)).clamp(-1, 1), labels)


def encode(batch: Batch) -> Tensor:
    return batch.images


def test_as_many_noises_as_pictures_are_nearly_assigned() -> None:
    """The pairs cost what the optimal assignment of the same noises costs, and shares differ little from it."""
    points = 2 * torch.randn(150, 6) * torch.rand(150, 1)
    noise = torch.randn(150, 6)
    potentials = solve_potentials(points, lambda size: noise[torch.randint(150, (size,))], 3000)
    chosen = torch.addmm(potentials, noise, points.T).argmax(1)
    costs = torch.cdist(noise, points).square()
    best = costs[linear_sum_assignment(costs.numpy())].mean()
    assert float((noise - points[chosen]).square().sum(1).mean()) == pytest.approx(float(best), rel=0.02)
    counts = torch.bincount(chosen, minlength=150)
    assert int(counts.max()) <= 3
    assert float((counts == 1).double().mean()) > 0.6
    independent = costs.mean()
    assert float(best) < 0.6 * float(independent)


def test_in_one_dimension_pairs_are_sorted() -> None:
    """The noise between the quantiles k/N and (k + 1)/N is joined with the picture of the rank k."""
    points = torch.randn(40, 1).exp()
    potentials = solve_potentials(points, lambda size: torch.randn(size, 1), 4000)
    quantiles = torch.linspace(0.0005, 0.9995, 1000)
    chosen = torch.addmm(potentials, torch.special.ndtri(quantiles)[:, None], points.T).argmax(1)
    ranks = points[:, 0].argsort().argsort()[chosen]
    assert torch.equal(ranks, ranks.sort().values)
    assert float((ranks - (quantiles * 40 - 0.5)).abs().max()) < 1.5
    assert float((ranks == (quantiles * 40).long()).double().mean()) > 0.7


def test_directions_are_orthonormal_and_hold_the_variance_that_there_is() -> None:
    basis = torch.linalg.qr(torch.randn(20, 3)).Q
    pictures = torch.randn(300, 3) * torch.tensor([3.0, 2.0, 1.0]) @ basis.T + 5
    mean, directions = principal_directions(pictures, 3)
    torch.testing.assert_close(mean, pictures.mean(0))
    torch.testing.assert_close(directions.T @ directions, torch.eye(3), rtol=0, atol=1e-5)
    torch.testing.assert_close(directions @ directions.T, basis @ basis.T, rtol=0, atol=1e-4)


def test_blocks_hold_each_picture_once_and_are_drawn_as_often_as_they_are_large() -> None:
    labels = torch.tensor([2] * 7 + [-1] * 3 + [0] * 1)[torch.randperm(11)]
    blocks = Blocks.of_labels(labels, 3)
    assert sorted(blocks.order.tolist()) == list(range(11))
    assert labels[blocks.order].tolist() == [-1] * 3 + [0] + [2] * 7
    assert blocks.starts.tolist() == [0, 3, 4, 6, 8, 11]
    every = torch.full((7,), 2), (torch.arange(7) + 0.5) / 7
    assert blocks.draw(*every).tolist() == [2, 2, 3, 3, 4, 4, 4]
    assert blocks.draw(torch.tensor([-1, 0]), torch.tensor([0.999999, 0.0])).tolist() == [0, 1]
    assert Blocks.of_labels(torch.zeros(2, dtype=torch.int64), 5).draw(None, torch.tensor([0.0, 1.0])).tolist() == [0, 0]


def test_chosen_pictures_have_the_moments_of_the_set_and_shorter_paths() -> None:
    """Of each class: its pictures are as frequent as they were, and the mean of ‖z − x‖² is lower than of independent pairs."""
    pictures = made()
    coupling = Coupling(pictures, encode, by_class=True)
    even, product = coupling.measure()
    assert 0.95 < even <= 1
    for label in range(3):
        own = pictures.images[pictures.labels == label]
        noise, count = torch.randn(20_000, 1, 8, 8), 20_000
        places = coupling.choose(noise, torch.full((count,), label), torch.rand(count))
        assert pictures.labels[places].unique().tolist() == [label]
        chosen = pictures.images[places]
        torch.testing.assert_close(chosen.mean(0), own.mean(0), rtol=0, atol=0.02)
        torch.testing.assert_close(chosen.var(0), own.var(0, correction=0), rtol=0.06, atol=0.005)
        paired = (noise - chosen).square().sum((1, 2, 3)).mean()
        assert float(paired) < 0.93 * float(64 + own.square().sum((1, 2, 3)).mean())
        torch.testing.assert_close(noise.mean(0), torch.zeros(1, 8, 8), rtol=0, atol=0.04)
    assert product > 2


def test_the_report_measures_what_pairs_are() -> None:
    pictures = made()
    coupling = Coupling(pictures, encode, by_class=False)
    noise = torch.randn(20_000, 1, 8, 8)
    chosen = pictures.images[coupling.choose(noise, None, torch.rand(20_000))]
    ratio = (noise - chosen).square().sum((1, 2, 3)).mean() / (64 + pictures.images.square().sum((1, 2, 3)).mean())
    words = coupling.report()
    assert "joined with 120 pictures in 1 group, as evenly as 9" in words
    measured = float(words.split("velocity is ")[1].split("%")[0]) / 100
    assert measured == pytest.approx(float(ratio), abs=0.015)
    assert "(64 directions, with 100% of the pictures' variance)" in words


def test_large_sets_are_cut_into_blocks_of_which_all_are_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "MIN_BLOCK", 25)
    monkeypatch.setattr(transport, "MAX_PRODUCTS", 0)
    pictures = made()
    coupling = Coupling(pictures, encode, by_class=False)
    assert len(coupling.blocks.starts) == 1 + 5
    noise = torch.randn(5000, 1, 8, 8)
    counts = torch.bincount(coupling.choose(noise, None, torch.rand(5000)), minlength=120)
    assert int(counts.min()) > 0
    assert float(counts.double().std() / counts.double().mean()) < 0.35


def test_a_row_is_paired_by_its_noise_and_its_class_alone() -> None:
    """Also within bfloat16, in which products would be too coarse to compare."""
    pictures = made()
    coupling = Coupling(pictures, encode, by_class=True)
    noise, labels, uniform = torch.randn(96, 1, 8, 8), torch.arange(96) % 3, torch.rand(96)
    together = coupling.choose(noise, labels, uniform)
    alone = [coupling.choose(noise[i : i + 1], labels[i : i + 1], uniform[i : i + 1]) for i in range(96)]
    assert torch.equal(torch.cat(alone), together)
    assert torch.equal(coupling.choose(noise.flip(0), labels.flip(0), uniform.flip(0)).flip(0), together)
    with autocast(noise.device, "bf16"):
        assert torch.equal(coupling.choose(noise, labels, uniform), together)


def flow(*settings: str) -> Flow:
    method = method_of("flow", (8, 8, 1), "method.labels=true", *settings)
    assert isinstance(method, Flow)
    return method


def replayed(pictures: Pictures, count: int) -> Batch:
    """The first pictures of a set, with the same noise in each draw of the same place."""
    own = torch.Generator().manual_seed(8)
    return pictures.take(torch.arange(count)).drawing(lambda shape, device: torch.randn(shape, generator=own))


def test_the_loss_is_of_the_pairs_of_the_set_that_the_batch_names() -> None:
    """A batch of another set, or of none, keeps its pictures; the noise is the batch's own in each case."""
    pictures, other = made(), made(60)
    method = flow("method.pairing=transport")
    (line,) = method.read_pictures(pictures)
    assert line.startswith("pairing: noise is joined with 120 pictures in 3 groups")
    batch, noise = method._paired(replayed(pictures, 32))
    assert torch.equal(noise, torch.randn(32, 1, 8, 8, generator=torch.Generator().manual_seed(8)))
    assert batch.cond.label is not None
    coupling = method._couplings[pictures]
    uniform = replayed(pictures, 32)
    uniform.noise(1, 8, 8)
    places = coupling.choose(noise, batch.cond.label, uniform.uniform())
    assert torch.equal(batch.images, pictures.images[places])
    assert torch.equal(batch.cond.label, pictures.labels[:32])
    assert torch.equal(pictures.labels[places], pictures.labels[:32])
    assert not torch.equal(batch.images, pictures.images[:32])
    others, same_noise = method._paired(replayed(other, 32))
    assert torch.equal(others.images, other.images[:32])
    assert torch.equal(same_noise, noise)


def test_without_pairing_nothing_is_read_and_a_loss_has_the_bits_of_before() -> None:
    pictures, method = made(), flow()
    assert method.read_pictures(pictures) == ()
    assert not method._couplings
    loss = method.losses("velocity", (replayed(pictures, 16),), StepContext(0, 0.0)).of["flow"]
    by_hand = replayed(pictures, 16)
    noise, time = by_hand.noise(1, 8, 8), method._draw_times(by_hand)
    label, t = method._hide_labels(by_hand), time.view(-1, 1, 1, 1)
    predicted = method._velocity((1 - t) * by_hand.images + t * noise, time, label)
    assert torch.equal(loss, (predicted - (noise - by_hand.images)).square().flatten(1).mean(1))

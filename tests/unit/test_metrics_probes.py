"""What is read off a representation: intervals, regressions and neighbours whose answers are known."""

from __future__ import annotations

import math

import pytest
import torch
from sklearn.datasets import load_digits
from threadpoolctl import threadpool_limits
from torch import Tensor

from limner.metrics.representation.probes import (
    Linear,
    Readout,
    Scaling,
    choose_k,
    choose_probe,
    logistic_regression,
    neighbour_labels,
    votes,
    wilson,
)


def blobs(count: int, classes: int = 4, dim: int = 6, spread: float = 1.0, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Points around one centre for each class; the centres are the same for every seed."""
    generator = torch.Generator().manual_seed(seed)
    centres = 2 * torch.randn(classes, dim, generator=torch.Generator().manual_seed(99))
    labels = torch.randint(0, classes, (count,), generator=generator)
    return centres[labels] + spread * torch.randn(count, dim, generator=generator), labels


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [(0, 10, 0.0, 0.277533), (10, 10, 0.722467, 1.0), (5, 10, 0.236593, 0.763407), (9772, 10000, 0.974086, 0.979947)],
)
def test_wilson_s_interval(successes: int, trials: int, low: float, high: float) -> None:
    """The first three as tabulated (Newcombe 1998); the last by the formula, solved for the two roots of its quadratic."""
    share = wilson(successes, trials)
    assert share.value == successes / trials
    assert (share.low, share.high) == (pytest.approx(low, abs=2e-6), pytest.approx(high, abs=2e-6))
    z = 1.959963984540054
    for end in (share.low, share.high):
        if 0 < end < 1:  # |p̂ − p| = z·√(p(1−p)/n) at either end
            assert abs(share.value - end) == pytest.approx(z * math.sqrt(end * (1 - end) / trials), rel=1e-9)


def test_an_interval_holds_the_truth_as_often_as_it_says() -> None:
    truth, trials = 0.9, 200
    draws = torch.binomial(torch.full((4000,), float(trials)), torch.full((4000,), truth), generator=torch.Generator())
    intervals = {successes: wilson(successes, trials) for successes in {int(draw) for draw in draws}}
    held = [intervals[int(draw)].low <= truth <= intervals[int(draw)].high for draw in draws]
    assert sum(held) / len(held) == pytest.approx(0.95, abs=0.015)


def test_wilson_of_nothing() -> None:
    for successes, trials in ((1, 0), (5, 4), (-1, 4)):
        with pytest.raises(ValueError, match="no share"):
            wilson(successes, trials)


def test_scaling() -> None:
    x = torch.randn(500, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 100.0, 1e-3]) + 7
    x = torch.cat([x, torch.full((500, 1), 0.1)], 1)  # a constant that float32 cannot hold exactly
    scaled = Scaling.of(x)(x)
    torch.testing.assert_close(scaled.mean(0), torch.zeros(4), atol=2e-3, rtol=0)
    torch.testing.assert_close(scaled.std(0, correction=0), torch.tensor([1.0, 1.0, 1.0, 0.0]), atol=2e-3, rtol=0)


def steepest(probe: Linear, x: Tensor, labels: Tensor, penalty: float) -> float:
    """The largest entry of the gradient of mean cross-entropy + penalty/2·|W|²: 0 at the only minimum there is."""
    weight, bias = (part.to(x).clone().requires_grad_(True) for part in (probe.weight, probe.bias))
    loss = torch.nn.functional.cross_entropy(x @ weight.T + bias, labels) + 0.5 * penalty * weight.square().sum()
    return max(float(slope.abs().max()) for slope in torch.autograd.grad(loss, (weight, bias)))


@pytest.mark.parametrize("classes", [2, 4])
def test_logistic_regression_ends_at_the_minimum(classes: int) -> None:
    x, labels = blobs(400, classes, spread=2.5)
    x = x.double()
    found = logistic_regression(x, labels, classes, penalty=0.01, max_iterations=1000)
    assert steepest(found, x, labels, 0.01) < 1e-7
    random = torch.Generator().manual_seed(0)
    start = Linear(torch.randn(classes, 6, generator=random), torch.randn(classes, generator=random))
    from_elsewhere = logistic_regression(x, labels, classes, 0.01, start, max_iterations=1000)
    torch.testing.assert_close(from_elsewhere.weight, found.weight, atol=1e-5, rtol=0)
    assert steepest(start, x, labels, 0.01) > 0.1
    single = logistic_regression(x.float(), labels, classes, penalty=0.01)
    assert steepest(single, x, labels, 0.01) < 1e-3
    assert single.weight.dtype == torch.float32


def test_a_fit_starts_where_it_is_told_to() -> None:
    for classes in (2, 4):
        x, labels = blobs(400, classes, spread=2.5)
        best = logistic_regression(x.double(), labels, classes, penalty=0.01, max_iterations=1000)
        again = logistic_regression(x.double(), labels, classes, penalty=0.01, start=best, max_iterations=1)
        torch.testing.assert_close(again.weight, best.weight, atol=1e-6, rtol=0)
        from_zero = logistic_regression(x.double(), labels, classes, penalty=0.01, max_iterations=1)
        assert (from_zero.weight - best.weight).abs().max() > 0.05, "one round from zero is not there yet"


def test_a_class_without_rows_is_never_named() -> None:
    x, labels = blobs(300)
    some = labels % 2 == 1  # of four classes, rows of 1 and 3 alone
    probe = logistic_regression(x[some], labels[some], 4, penalty=0.01)
    shares = probe.logits(x).softmax(1)
    assert shares[:, [0, 2]].max() == 0
    two = logistic_regression(x[some], (labels[some] - 1) // 2, 2, penalty=0.01)
    torch.testing.assert_close(shares[:, [1, 3]], two.logits(x).softmax(1))
    one = logistic_regression(x[some], torch.full((int(some.sum()),), 2), 4, penalty=0.01)
    assert one.logits(x).softmax(1)[:, 2].tolist() == [1.0] * 300


def test_the_penalty_is_chosen_on_rows_held_out() -> None:
    """Forty columns of noise and few rows: a weak penalty fits the noise."""
    x, labels = blobs(60, spread=2.0)
    other, other_labels = blobs(2000, spread=2.0, seed=1)
    generator = torch.Generator().manual_seed(2)
    x, other = (torch.cat([part, torch.randn(len(part), 40, generator=generator)], 1) for part in (x, other))
    chosen, penalty = choose_probe(x, labels, other, other_labels, 4)
    assert penalty >= 0.01
    weak = logistic_regression(x, labels, 4, 1e-5)
    assert weak.accuracy(x, labels) == 1.0
    assert chosen.accuracy(other, other_labels) > weak.accuracy(other, other_labels) + 0.01


@pytest.mark.parametrize("k", [1, 3, 10])
def test_neighbours_are_the_nearest(k: int) -> None:
    x, labels = blobs(500, spread=2.0)
    other, _ = blobs(700, spread=2.0, seed=1)
    near = neighbour_labels(x, labels, other, k)
    distance = (other.double()[:, None] - x.double()).square().sum(2)
    assert torch.equal(near, labels[distance.argsort(1)[:, :k]])
    counts = votes(near, 4, k)
    assert torch.equal(counts.floor(), torch.nn.functional.one_hot(near, 4).sum(1).double())
    assert neighbour_labels(x, labels, other[:0], k).shape == (0, k)


def test_neighbours_do_not_depend_on_the_number_of_threads() -> None:
    """Digits of a few whole grey values: many rows lie equally near."""
    digits = load_digits()
    x, labels = torch.from_numpy(digits.data).float(), torch.from_numpy(digits.target)
    found = []
    for threads in (1, 2):
        with threadpool_limits(limits=threads):
            found.append(neighbour_labels(x[:1000], labels[:1000], x[1000:], 20))
    assert torch.equal(found[0], found[1])


def test_ties_go_to_the_nearer() -> None:
    said = votes(torch.tensor([[2, 0, 0, 2], [1, 0, 0, 1], [0, 1, 1, 2]]), 3, 4).argmax(1)
    assert said.tolist() == [2, 1, 1]
    assert votes(torch.tensor([[0, 1, 1]]), 2, 1).argmax(1).tolist() == [0]
    assert choose_k(torch.tensor([[0, 1, 1], [0, 1, 1]]), torch.tensor([1, 1]), 2) == (3, 1.0)


def test_neighbours_far_from_the_origin() -> None:
    x, labels = blobs(300, spread=0.3)
    other, other_labels = blobs(300, spread=0.3, seed=1)
    near = neighbour_labels(x + 1e4, labels, other + 1e4, 1)
    assert (near[:, 0] == other_labels).float().mean() > 0.99


def test_a_readout() -> None:
    """A dimension that says nothing, a hundred times as long as the others: only in standardised units like lies near like."""
    generator = torch.Generator().manual_seed(3)
    parts = []
    for seed, count in ((0, 800), (1, 300), (2, 500)):
        x, labels = blobs(count, spread=1.5, seed=seed)
        parts.append((torch.cat([x, 100 * torch.randn(count, 1, generator=generator)], 1), labels))
    (train, labels), (held_out, held_out_labels), (test, test_labels) = parts
    readout = Readout.fit(train, labels, held_out, held_out_labels, 4)
    assert readout.scaled
    probe, knn = readout.accuracies(test, test_labels)
    assert min(probe.value, knn.value) > 0.75, "of four classes"
    assert probe.low < probe.value < probe.high
    for told in (readout.probabilities(test), readout.shares(test)):
        torch.testing.assert_close(told.sum(1).double(), torch.ones(len(test), dtype=torch.float64))
    assert readout.held_out[0] == readout.linear.accuracy(readout.scaling(held_out), held_out_labels)
    # Six columns of noise as small as nothing: there, the units as they are do better.
    small = [torch.cat([x[:, :2], 1e-3 * torch.randn(len(x), 30, generator=generator)], 1) for x, _ in parts]
    assert not Readout.fit(small[0], labels, small[1], held_out_labels, 4).scaled

"""What samples teach, whether they are what was asked for, and how varied they are."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor

from limner.core.errors import InputError
from limner.core.images import batches_of
from limner.metrics.distribution.two_sample import two_sample_test
from limner.metrics.distribution.utility import (
    diversity_error,
    diversity_null,
    gan_train,
    label_accuracy,
    pairwise_distance,
    pairwise_distances,
    probe_accuracy,
    probe_accuracy_null,
    vendi,
)
from limner.metrics.memorisation.data_copying import data_copying

distance = pytest.importorskip("scipy.spatial.distance")


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def blobs(count: int, classes: int = 5, spread: float = 1.0, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Points around one centre per class; the centres are the same for every seed."""
    labels = torch.randint(0, classes, (count,), generator=torch.Generator().manual_seed(seed + 1000))
    return 2 * normal(classes, 8, seed=99)[labels] + spread * normal(count, 8, seed=seed), labels


def test_label_accuracy_by_hand() -> None:
    logits = torch.eye(4)[[0, 1, 2, 3, 0, 1]]
    found = label_accuracy(logits, torch.tensor([0, 1, 2, 0, -1, 2]))
    assert found.value == 3 / 5
    assert found.low < 0.6 < found.high
    with pytest.raises(InputError, match="no image has a label"):
        label_accuracy(logits, torch.full((6,), -1))
    for labels in (torch.zeros(5, dtype=torch.int64), torch.full((6,), 4)):
        with pytest.raises(InputError, match="one label below 4 for each of the 6"):
            label_accuracy(logits, labels)


def test_gan_train_and_gan_test_are_not_each_other() -> None:
    real, labels = blobs(1500)
    test, test_labels = blobs(1000, seed=1)
    fair, fair_labels = blobs(600, seed=2)
    null = probe_accuracy_null(real, labels, 600, 5)
    assert null.sizes == (600, 900)
    assert probe_accuracy(fair, fair_labels, test, test_labels, 5).value == pytest.approx(null.mean, abs=0.03)
    # Few in kind: the middle of each class, and one class never. What there is is right, and teaches less.
    narrow, narrow_labels = blobs(600, spread=0.2, seed=3)
    kept = narrow_labels != 4
    narrow, narrow_labels = narrow[kept], narrow_labels[kept]
    gan_test = probe_accuracy(real, labels, narrow, narrow_labels, 5)
    in_gan_train = probe_accuracy(narrow, narrow_labels, test, test_labels, 5)
    assert gan_test.value > 0.99
    assert in_gan_train.value < null.mean - 0.1
    assert in_gan_train.high < null.mean
    # Labels ignored: neither is better than a guess.
    guess = fair_labels[torch.randperm(600, generator=torch.Generator().manual_seed(0))]
    assert probe_accuracy(real, labels, fair, guess, 5).value == pytest.approx(0.2, abs=0.08)
    assert probe_accuracy(fair, guess, test, test_labels, 5).value < 0.5
    assert probe_accuracy(fair, fair_labels, test, test_labels, 5) == probe_accuracy(fair, fair_labels, test, test_labels, 5)


def test_pictures_without_a_label_teach_nothing() -> None:
    x, labels = blobs(400)
    test, test_labels = blobs(300, seed=1)
    some = torch.where(torch.arange(400) < 200, labels, -1)
    assert probe_accuracy(x, some, test, test_labels, 5) == probe_accuracy(x[:200], labels[:200], test, test_labels, 5)
    hidden = torch.where(torch.arange(300) < 100, test_labels, -1)
    assert probe_accuracy(x, labels, test, hidden, 5) == probe_accuracy(x, labels, test[:100], test_labels[:100], 5)
    with pytest.raises(InputError, match="no image has a label"):
        probe_accuracy(x, torch.full((400,), -1), test, test_labels, 5)
    with pytest.raises(InputError, match="one label below 3"):
        probe_accuracy(x, labels, test, test_labels, 3)
    with pytest.raises(InputError, match="at least two"):
        probe_accuracy(x[:1], labels[:1], test, test_labels, 5)


def test_gan_train_with_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("limner.metrics.features.judge_training.MIN_IMAGES_SEEN", 8000)
    monkeypatch.setattr("limner.metrics.features.judge_training.PASSES", 8)
    found = load_digits()
    images = np.round(found.images * (255 / 16)).astype(np.uint8)[..., None]
    order = np.random.default_rng(0).permutation(len(images))
    images, labels = images[order], found.target.astype(np.int64)[order]
    good = gan_train(images[:900], labels[:900], images[900:], labels[900:], 10)
    assert good.value > 0.85
    few = labels[:900] < 5
    half = gan_train(images[:900][few], labels[:900][few], images[900:], labels[900:], 10)
    assert half.value < 0.55  # five of ten classes were never probe_accuracy
    with pytest.raises(InputError, match="two classes"):
        gan_train(images[:50], np.full(50, 3), images[900:], labels[900:], 10)


def test_vendi_in_closed_form() -> None:
    # Orthogonal pictures are as many as they are; equal ones are one, whatever their length.
    eye = torch.eye(7).double()
    assert vendi(eye * torch.arange(1, 8)[:, None]) == pytest.approx(7, rel=1e-12)
    assert vendi(eye[:1] * torch.arange(1, 51)[:, None]) == pytest.approx(1, rel=1e-12)
    assert vendi(eye.repeat_interleave(9, 0)) == pytest.approx(7, rel=1e-12)
    # Two at an angle: eigenvalues (1 ± cos)/2.
    pair = torch.tensor([[1.0, 0.0], [3 * 0.6, 3 * 0.8]], dtype=torch.float64)
    assert vendi(pair) == pytest.approx(float(np.exp(-(0.8 * np.log(0.8) + 0.2 * np.log(0.2)))), rel=1e-12)
    with pytest.raises(InputError, match="not all zero"):
        vendi(torch.zeros(4, 3))


def test_vendi_is_that_of_the_kernel_matrix() -> None:
    x = normal(60, 9) + 0.5
    kernel = 1 - distance.squareform(distance.pdist(x.numpy(), "cosine"))
    shares = np.linalg.eigvalsh(kernel / 60)
    shares = shares[shares > 1e-12]
    assert vendi(x) == pytest.approx(float(np.exp(-(shares * np.log(shares)).sum())), rel=1e-9)


def test_pairwise_distance_is_scipy_s() -> None:
    x = 3 * normal(1500, 4) + 100
    assert pairwise_distance(x) == pytest.approx(distance.pdist(x.numpy()).mean(), rel=1e-9)
    assert pairwise_distance(torch.ones(10, 3)) == pytest.approx(0, abs=1e-6)
    with pytest.raises(InputError, match="two images"):
        pairwise_distance(x[:1])


def test_what_is_no_number_is_refused() -> None:
    x, labels = blobs(60)
    x[33, 2] = torch.nan
    good = blobs(60, seed=1)[0]
    for score in (
        lambda: vendi(x),
        lambda: pairwise_distance(x),
        lambda: probe_accuracy(good, labels, x, labels, 5),
        lambda: two_sample_test(x, good),
        lambda: data_copying(good, x, good),
    ):
        with pytest.raises(InputError, match="not a finite number"):
            score()


@pytest.mark.parametrize("measure", [vendi, pairwise_distance])
def test_collapse_is_seen_beside_the_null(measure: object) -> None:
    assert callable(measure)
    real, samples = normal(3000, 12), normal(1000, 12, seed=1)
    null = diversity_null(measure, real, 1000)
    assert null.sizes == (1000, 1000)
    assert abs(measure(samples) - null.mean) < 5 * null.std
    few = samples[:4].repeat(250, 1)
    assert measure(few) < null.mean - 8 * null.std
    draws = [normal(300, 12, seed=seed) for seed in range(1, 31)]
    spread = np.std([measure(draw) for draw in draws])
    assert np.mean([diversity_error(measure, draw) for draw in draws]) == pytest.approx(spread, rel=0.5)


@pytest.mark.parametrize("count", [2, 3, 25, 1300])
def test_mean_distances_without_each_block_come_from_one_reading(count: int) -> None:
    x = torch.randn(count, 5, generator=torch.Generator().manual_seed(0)) + 3
    whole, *left_out = pairwise_distances(x)
    assert whole == pytest.approx(float(torch.pdist(x.double()).mean()), rel=1e-9)
    cuts = batches_of(count, -(-count // 10))
    rest = [torch.cat((x[: rows.start], x[rows.stop :])) for rows in cuts]
    assert left_out == pytest.approx([pairwise_distance(some) for some in rest if len(some) >= 2], rel=1e-7)

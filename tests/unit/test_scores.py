"""The table of scores: what real pictures get in the samples' place, where there are fewer samples than real pictures."""

from __future__ import annotations

import pytest
import torch

from limner.core.errors import InputError
from limner.evaluation import judging
from limner.evaluation.report_page import meaning
from limner.metrics.distribution.coverage import NEIGHBOUR_SCORES
from limner.metrics.distribution.inception_score import inception_score
from limner.metrics.features.observed import Observed
from limner.metrics.representation.disentanglement import SCORES
from limner.metrics.scores import ALL_METRICS, ASKED, OF_SAMPLES, TABLE, measure, scored
from limner.metrics.sides import Labels, Sides


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("n", "m"), [(150, 1500), (600, 1500), (1500, 1500)])
def test_as_good_as_real_is_within_the_null(n: int, m: int) -> None:
    """Precision, density and coverage depend on which side has more pictures: the null's sides must not be exchanged."""
    sides = Sides(Observed.of(normal(n, 6, seed=1)), Observed.of(normal(m, 6, seed=2)))
    found = measure(sides, OF_SAMPLES)
    for name in (*NEIGHBOUR_SCORES, "frechet", "mmd", "vendi", "pairwise"):
        one = found[name]
        assert one.null is not None
        assert one.z is not None
        assert abs(one.z) < 6, (name, one)
    for name in NEIGHBOUR_SCORES:
        assert found[name].value == pytest.approx(found[name].null, abs=0.08), name


def test_swapped_sides_swap_precision_and_recall() -> None:
    wide, narrow = Observed.of(normal(400, 4)), Observed.of(normal(300, 4, seed=1) * 0.3)
    one, other = (measure(Sides(*pair), ("precision", "recall")) for pair in ((wide, narrow), (narrow, wide)))
    assert one["precision"].value < 0.3 < 0.7 < one["recall"].value
    assert other["recall"].value < 0.3 < 0.7 < other["precision"].value


def test_what_is_missing_is_said_only_where_one_insists() -> None:
    sides = Sides(Observed.of(normal(30, 4)), Observed.of(normal(40, 4, seed=1)))
    found = measure(sides, OF_SAMPLES)
    there = {"frechet", "mmd", "two_sample", "vendi", "pairwise", *NEIGHBOUR_SCORES}
    assert set(found) == there
    for row in TABLE:
        if row.needs and not set(row.names) & there:
            with pytest.raises(InputError, match=row.names[0]):
                measure(sides, row.names, insist=True)
    assert {"gan_train", "gan_test", "data_copying", "inception_score"} == ASKED


def test_labels_that_are_all_none_are_no_labels() -> None:
    logits = torch.eye(3).repeat(10, 1)
    seen = Observed.of(normal(30, 4), logits)
    none, some = torch.full((30,), -1), torch.arange(30) % 3
    assert "label_accuracy" not in measure(Sides(seen, seen, labels=Labels(none, some, 3)), OF_SAMPLES)
    found = measure(Sides(seen, seen, labels=Labels(some, none, 3)), OF_SAMPLES)["label_accuracy"]
    assert (found.value, found.null) == (1.0, None)
    mixed = torch.where(torch.arange(30) < 15, (some + 1) % 3, -1)
    assert measure(Sides(seen, seen, labels=Labels(mixed, some, 3)), OF_SAMPLES)["label_accuracy"].value == 0.0


def blobs(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    labels = torch.arange(count) % 4
    return normal(count, 6, seed=seed) + 2.5 * torch.eye(6)[labels], labels


def test_few_fair_samples_are_known_as_well_as_real_ones() -> None:
    """GAN-test is taught by all real pictures; its null must not be taught by as few as there are samples."""
    (real, true), (samples, asked) = blobs(1500, 0), blobs(60, 1)
    sides = Sides(Observed.of(samples), Observed.of(real), labels=Labels(asked, true, 4))
    found = measure(sides, ["gan_test"])["gan_test"]
    assert found.z is not None
    assert abs(found.z) < 4, found
    assert found.null == pytest.approx(found.value, abs=0.08)
    unlabelled = torch.where(torch.arange(60) < 30, asked, -1)
    half = measure(Sides(sides.samples, sides.real, labels=Labels(unlabelled, true, 4)), ["gan_test"])["gan_test"]
    assert half.error is not None
    assert found.error is not None
    assert half.error > 1.2 * found.error, "of half as many"


def test_classes_of_a_foreign_detector_are_not_the_data_s() -> None:
    logits, labels = normal(30, 1008), torch.arange(30) % 3
    seen = Observed.of(normal(30, 4), logits)
    foreign = Sides(seen, seen, labels=Labels(labels, labels, 3), own_classes=False)
    assert not {"label_accuracy", "class_distance"} & set(measure(foreign, OF_SAMPLES))
    assert "inception_score" in measure(foreign, ["inception_score"])
    with pytest.raises(InputError, match="other classes than the data's"):
        measure(foreign, ["label_accuracy"], insist=True)


def test_too_much_of_what_is_best_in_measure_is_improbable() -> None:
    """Three times too far apart is as bad as three times too near."""
    real = Observed.of(normal(400, 6))
    for scale in (3.0, 1 / 3):
        found = measure(Sides(Observed.of(normal(200, 6, seed=1) * scale), real), ["pairwise"])["pairwise"]
        assert found.p == pytest.approx(1 / 11)


def test_an_error_that_nobody_can_know_is_none() -> None:
    sides = Sides(Observed.of(normal(2, 4)), Observed.of(normal(40, 4, seed=1)))
    found = measure(sides, ["frechet", "mmd", "pairwise"])
    assert [one.error for one in found.values()] == [None] * 3


def test_the_error_of_an_inception_score_is_that_of_its_mean() -> None:
    seen = Observed.of(normal(200, 4), 3 * normal(200, 5, seed=1))
    assert seen.logits is not None
    expected = inception_score(seen.logits).error
    found = measure(Sides(seen, seen), ["inception_score"])["inception_score"]
    assert found.error == expected
    assert found.told()["parts"] == inception_score(seen.logits).splits
    assert "parts" not in measure(Sides(seen, seen), ["frechet"])["frechet"].told()


def test_whatever_can_be_measured_has_a_row() -> None:
    """Its direction and its meaning: without them a report says nothing, and a comparison that nothing is better."""
    assert set(ALL_METRICS) == {*judging.METRICS, *SCORES}
    assert len(ALL_METRICS) == len(judging.METRICS) + len(SCORES), "no name twice"
    assert all(metric.name == name and metric.meaning for name, metric in ALL_METRICS.items())
    assert next(row for row in TABLE if "recall" in row.names).names == NEIGHBOUR_SCORES
    assert meaning("mig").startswith("higher is better: by how much the best latent knows a factor")
    assert meaning("density") == ALL_METRICS["density"].meaning
    with pytest.raises(KeyError):
        scored("a metric without a row", 1.0, None, None)

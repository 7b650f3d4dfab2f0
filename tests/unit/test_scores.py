"""The table of scores: what real pictures get in the samples' place, where there are fewer samples than real pictures."""

from __future__ import annotations

import pytest
import torch

from limner.core.errors import InputError
from limner.metrics.coverage import NEIGHBOUR_SCORES
from limner.metrics.observed import Observed
from limner.metrics.scores import ASKED, OF_SAMPLES, TABLE, Labels, Sides, measure


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

"""Judges that come with limner: whole, small, found by the pictures they were trained on, and as good as they say."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from limner.core.errors import InputError
from limner.data.dataset import Dataset
from limner.data.prepare import prepare
from limner.judges import judge as judge_module
from limner.judges.judge import JUDGE_SEED, SHIPPED_JUDGES, judge_for
from limner.metrics.features.judge import JudgeCard, judge_key, load_judge
from limner.metrics.features.judge_networks import ARCHITECTURE
from limner.metrics.features.judge_training import accuracy

FILES = sorted(SHIPPED_JUDGES.glob("*.safetensors"))
SHAPES = {(8, 8, 1), (28, 28, 1), (32, 32, 3), (64, 64, 3)}


@cache
def cards() -> dict[Path, JudgeCard]:
    return {path: load_judge(path).card for path in FILES}


def test_there_are_two_for_every_set_known_by_name() -> None:
    now = [card for card in cards().values() if card.architecture == ARCHITECTURE]
    before = [card for card in cards().values() if card.architecture != ARCHITECTURE]
    assert {card.shape for card in now} == {card.shape for card in before} == SHAPES
    knowing = sorted(card.fingerprint for card in now if card.classes)
    assert len(knowing) == len(set(knowing)) == 7
    assert sorted(card.fingerprint for card in now if not card.classes) == knowing
    assert {card.fingerprint for card in before} < set(knowing)  # those that runs of before were scored by
    assert len(before) == 6


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem[-6:])
def test_each_is_whole_small_and_under_its_own_name(path: Path) -> None:
    card = cards()[path]  # whose checksum was checked
    assert path.stat().st_size < 1_500_000
    assert path.stem == judge_key(card.fingerprint, JUDGE_SEED, card.architecture, labelled=card.classes > 0)


def test_those_of_colour_are_right_on_pictures_that_they_never_saw() -> None:
    accuracy = {card.shape: card.held_out_accuracy for card in cards().values() if card.classes and card.shape[:2] == (32, 32)}
    assert accuracy[32, 32, 3] is not None
    assert accuracy[32, 32, 3] >= 0.85


def test_a_damaged_one_is_told(tmp_path: Path) -> None:
    data = bytearray(FILES[0].read_bytes())
    data[-1] ^= 1
    (tmp_path / "judge.safetensors").write_bytes(data)
    with pytest.raises(InputError, match="was changed after it was saved"):
        load_judge(tmp_path / "judge.safetensors")


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("digits", 0.97),
        ("clothes", 0.88),
        pytest.param("mnist", 0.99, marks=pytest.mark.data("mnist")),
        pytest.param("fashion-mnist", 0.92, marks=pytest.mark.data("fashion-mnist")),
        pytest.param("cifar-10", 0.88, marks=pytest.mark.data("cifar-10")),
    ],
)
def test_it_is_found_and_knows_pictures_that_it_never_saw(name: str, least: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judge_module, "train_judge_for", lambda *_: pytest.fail("a judge was trained"))
    dataset = prepare(name)
    judge, contrast = judge_for(dataset), judge_for(dataset, labelled=False)
    assert judge.card.fingerprint == contrast.card.fingerprint == dataset.fingerprint
    assert (judge.name, contrast.name) == ("judge", "contrast")
    assert dataset.labels is not None
    rows = dataset.indices("test")[:2000]
    assert accuracy(judge, dataset.images.gather(rows), dataset.labels[rows]) > least
    assert contrast.logits(dataset.images.gather(rows[:8])) is None


def test_the_judge_of_earlier_scores_is_found_by_its_checksum() -> None:
    """A run that began with a judge of an older architecture goes on with it; one that is gone gives way to that of now."""
    dataset = prepare("digits")
    now = judge_for(dataset)
    earlier = load_judge(SHIPPED_JUDGES / f"{judge_key(dataset.fingerprint, JUDGE_SEED, 'judge-1')}.safetensors")
    assert earlier.card.architecture == "judge-1"
    assert earlier.checksum != now.checksum
    assert judge_for(dataset, checksum=earlier.checksum).checksum == earlier.checksum
    assert judge_for(dataset, checksum=now.checksum).checksum == now.checksum
    assert judge_for(dataset, checksum="0" * 64).checksum == now.checksum


def test_classes_are_two_or_more_among_the_training_pictures() -> None:
    """Of one class, or of labels that nobody gave, the judge is trained as `contrast` is, and no second time."""

    def data(*labels: int) -> Dataset:
        return cast(Dataset, SimpleNamespace(labels=np.array(labels), indices=lambda _: np.arange(3)))

    assert judge_module.has_classes(data(0, 1, 0))
    assert not judge_module.has_classes(data(0, 0, 0, 1))  # the other class is held out
    assert not judge_module.has_classes(data(0, -1, 0))
    assert not judge_module.has_classes(cast(Dataset, SimpleNamespace(labels=None)))

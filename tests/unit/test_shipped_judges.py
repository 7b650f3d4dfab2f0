"""Judges that come with limner: whole, small, found by the pictures they were trained on, and as good as they say."""

from __future__ import annotations

from pathlib import Path

import pytest

from limner.core.errors import InputError
from limner.data.prepare import prepare
from limner.judges import judge as judge_module
from limner.judges.judge import JUDGE_SEED, SHIPPED_JUDGES, judge_for
from limner.metrics.features.judge import judge_key, load_judge
from limner.metrics.features.judge_training import accuracy

FILES = sorted(SHIPPED_JUDGES.glob("*.safetensors"))


def test_there_is_one_for_every_set_known_by_name() -> None:
    assert len(FILES) == 6
    assert {load_judge(path).card.shape for path in FILES} == {(8, 8, 1), (28, 28, 1), (32, 32, 3), (64, 64, 3)}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem[-6:])
def test_each_is_whole_small_and_under_its_own_name(path: Path) -> None:
    judge = load_judge(path)  # which checks its checksum
    assert path.stat().st_size < 1_500_000
    assert path.stem == judge_key(judge.card.fingerprint, JUDGE_SEED)


def test_a_damaged_one_is_told(tmp_path: Path) -> None:
    data = bytearray(FILES[0].read_bytes())
    data[-1] ^= 1
    (tmp_path / "judge.safetensors").write_bytes(data)
    with pytest.raises(InputError, match="was changed after it was saved"):
        load_judge(tmp_path / "judge.safetensors")


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("digits", 0.96),
        pytest.param("mnist", 0.99, marks=pytest.mark.data("mnist")),
        pytest.param("fashion-mnist", 0.9, marks=pytest.mark.data("fashion-mnist")),
    ],
)
def test_it_is_found_and_knows_pictures_that_it_never_saw(name: str, least: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judge_module, "train_judge_for", lambda *_: pytest.fail("a judge was trained"))
    dataset = prepare(name)
    judge = judge_for(dataset)
    assert judge.card.fingerprint == dataset.fingerprint
    assert dataset.labels is not None
    rows = dataset.indices("test")
    assert accuracy(judge, dataset.images.gather(rows), dataset.labels[rows]) > least

"""What the league says of rows: the order, and no more than the intervals allow."""

from __future__ import annotations

import statistics
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
import pytest

import common
import league


def row(name: str, seed: int, value: float, **more: float) -> dict[str, Any]:
    scores = {key: {"value": number} for key, number in more.items()}
    return {
        "row": name,
        "seed": seed,
        "images": 100,
        "seconds": 1.0,
        "parameters": 7,
        "scores": {"frechet": {"value": value, "z": value}, **scores},
    }


def test_a_rank_stands_only_where_no_interval_meets() -> None:
    """Half of an interval of three values at distance d is 4.303 d / √3 = 2.484 d."""
    made = {"far": (99.0, 100.0, 101.0), "near": (0.9, 1.0, 1.1), "middle": (9.0, 10.0, 11.0), "beside": (11.0, 12.0, 13.0)}
    found = league.standings([row(name, seed, value) for name, values in made.items() for seed, value in enumerate(values)])
    assert [entry["row"] for entry in found] == ["near", "middle", "beside", "far"]
    assert [entry["rank"] for entry in found] == [1, None, None, 4]
    assert [entry["below"] for entry in found] == ["better", "no difference", "better", None]
    assert found[0]["scores"]["frechet"]["half"] == pytest.approx(0.2484, abs=1e-4)


def test_one_seed_says_nothing_of_others() -> None:
    found = league.standings([row("a", 0, 1.0), row("b", 0, 100.0)])
    assert [entry["rank"] for entry in found] == [None, None]
    assert [entry["below"] for entry in found] == ["one seed", None]
    assert [entry["scores"]["frechet"]["half"] for entry in found] == [None, None]


@pytest.mark.parametrize(("count", "t"), [(2, 12.7062), (5, 2.77645), (10, 2.26216), (11, 2.22814), (31, 2.04227)])
def test_half_of_an_interval_of_however_many(count: int, t: float) -> None:
    """By printed tables of Student's t, 2.5 % on either side."""
    values = [float(number) for number in range(count)]
    mean, half = common.interval(values)
    assert mean == (count - 1) / 2
    assert half == pytest.approx(t * statistics.stdev(values) / count**0.5, rel=1e-5)


def test_a_score_that_a_seed_lacks_has_no_mean() -> None:
    (found,) = league.standings([row("a", 0, 1.0, psnr=20.0), row("a", 1, 3.0)])
    assert found["scores"].keys() == {"frechet"}
    assert found["scores"]["frechet"]["mean"] == 2.0


def test_every_preset_that_draws_pictures_plays() -> None:
    from limner.recipes.registry import PRESETS

    assert league.generating() == sorted(PRESETS.keys() - {"prior"})  # which wants somebody's codec


def test_an_edited_method_is_another_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """limner's code counts, not its version alone; of a peer, which has none of it, its own file."""
    found = league.League.__new__(league.League)
    found.told, found.judge = Namespace(minutes=1.0, count=9, set=[], at_once=1), {"checksum": "0"}
    found.machine = {"processor": "p", "threads": 1, "torch": "2", "limner": "1"}
    peer = next(iter(league.peers()))
    before, same = found.matters("vae", 0), found.matters(peer, 0)
    assert found.matters("vae", 0) == before
    monkeypatch.setattr(common, "source_digest", lambda: "of other code")
    assert found.matters("vae", 0) != before
    assert found.matters(peer, 0) == same

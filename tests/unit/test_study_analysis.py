"""From the lines that people send to what is claimed: who is left out, what is set aside, and when nothing may be said."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import raters
from limner.core.errors import InputError
from limner.evaluation.human.analysis import analyse_answers, analyse_judgements, collect_judgements
from limner.evaluation.human.forms import FORMS, BlindNames, make_form, study_parts
from limner.evaluation.human.records import ComparedSource, Picture, RealPictures, StudyKey
from limner.metrics.stats.intervals import NO_DIFFERENCE
from raters import Rater


def made(runs: int = 2, count: int = 15) -> StudyKey:
    """A key without pictures: the analysis never looks at any."""
    parts = study_parts(["timed", "untimed", "pairs"] if runs > 1 else ["timed", "untimed"], runs, count)
    reals = [f"{n:08x}" for n in range(400)]
    noise = [f"{n:08x}" for n in range(1000, 1100)]
    samples = [[f"{n:08x}" for n in range(2000 + 1000 * run, 2300 + 1000 * run)] for run in range(runs)]
    pictures = {name: Picture(kind="real", number=n) for n, name in enumerate(reals)}
    pictures |= {name: Picture(kind="noise", number=n) for n, name in enumerate(noise)}
    for run, names in enumerate(samples):
        pictures |= {name: Picture(kind="sample", run=run, number=n) for n, name in enumerate(names)}
    forms = [list(make_form(parts, BlindNames(reals, samples, noise), runs, 0, number)) for number in range(FORMS)]
    named = [ComparedSource(name=f"run-{'abc'[run]}", path=f"runs/{run}") for run in range(runs)]
    return StudyKey(
        study="ab" * 8,
        seed=0,
        count=count,
        tasks=[part.task for part in parts],
        exposure=500,
        runs=named,
        reals=RealPictures(data="digits", fingerprint="", split="test"),
        pictures=pictures,
        forms=forms,
    )


KEY = made()


def sat(
    key: StudyKey, rater: Rater, people: int, seed: int = 0, spread: tuple[float, float] = (0.3, 0.4)
) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    return [row for _ in range(people) for row in raters.sitting(key, rater.differing(rng, *spread), rng)]


def encoded(rows: list[dict[str, Any]]) -> list[bytes]:
    return [json.dumps(row).encode() for row in rows]


def concluded(key: StudyKey, rows: list[dict[str, Any]]) -> dict[str, Any]:
    return analyse_judgements(key, collect_judgements(key, encoded(rows)))


def near(estimate: dict[str, float], truth: float) -> bool:
    """Within three standard errors: a dozen estimates are looked at, and one of twenty may lie outside its interval."""
    assert estimate["low"] < estimate["value"] < estimate["high"]
    assert estimate["high"] - estimate["low"] == pytest.approx(4 * estimate["error"], rel=0.15)
    return abs(estimate["value"] - truth) < 3 * estimate["error"]


def test_what_is_true_is_found_and_claimed() -> None:
    truth = Rater(d_prime=(2.0, 0.4), strength=(-0.5, 0.5), lean=-0.2, ties=-1.0, left=0.3)
    answer = concluded(KEY, sat(KEY, truth, 40, seed=2))
    assert answer["people"] == {"answered": 40, "kept": 40, "excluded": []}
    rows = {(row["task"], row["run"]): row for row in answer["table"]}
    assert len(rows) == 6
    for task in ("timed", "untimed"):
        for run, d_prime in (("run-a", 2.0), ("run-b", 0.4)):
            row = rows[task, run]
            assert near(row["d_prime"], d_prime)
            assert near(row["criterion"], -0.2 - (d_prime - 1.2) / 2), "half-way between real ones and this run"
            assert row["d_prime"]["error"] < 0.15
            assert row["people"] == 40
            assert row["judgements"] == 40 * 15
            assert row["told_apart"]
            assert row["accuracy"]["value"] == pytest.approx((row["hit_rate"] + 1 - row["false_alarm_rate"]) / 2)
    for run, strength in (("run-a", -0.5), ("run-b", 0.5)):
        row = rows["pairs", run]
        assert near(row["strength"], strength)
        assert row["strength"]["error"] < 0.08
        assert row["won"] + row["tied"] + row["lost"] == 40 * 15
    assert near(answer["ties"]["log_nu"], -1)
    assert near(answer["left"]["log_gamma"], 0.3)
    assert [row["claim"] for row in answer["comparisons"]] == ["run-b"] * 3
    assert answer["comparisons"][0]["words"] == "run-b is harder to tell from real pictures than run-a"
    assert answer["comparisons"][2]["words"] == "run-b is preferred to run-a"


def test_where_nothing_differs_nothing_is_claimed() -> None:
    """Ten studies of equal runs that nobody tells from real pictures: about one claim in twenty may be wrong."""
    wrong = 0
    for seed in range(10):
        answer = concluded(KEY, sat(KEY, Rater(d_prime=(0.0, 0.0), strength=(0.0, 0.0)), 16, seed, (0.0, 0.4)))
        wrong += sum(row["claim"] is not None for row in answer["comparisons"])
        wrong += sum(row.get("told_apart", False) for row in answer["table"])
        assert all(NO_DIFFERENCE in row["words"] or row["claim"] for row in answer["comparisons"])
    assert wrong <= 8, "of 70 claims that would all be false; 1 in 20 would be 3 or 4"


def test_a_claim_needs_intervals_that_do_not_overlap() -> None:
    """d′ of .9 and 1.1 by the same people: their difference is known better than either, and still nothing is claimed."""
    answer = concluded(KEY, sat(KEY, Rater((0.9, 1.3), (0.0, 0.0)), 30, spread=(0.9, 0.2)))
    first, second = (row["d_prime"] for row in answer["table"][:2])
    assert first["high"] > second["low"], "they overlap"
    compared = answer["comparisons"][0]
    assert compared["difference"]["high"] < 0, "although the difference is known"
    assert compared["claim"] is None
    assert compared["words"] == f"run-a and run-b: {NO_DIFFERENCE}"


def test_who_does_not_look_is_left_out_and_named() -> None:
    truth = Rater((1.5, 1.5), (0.0, 0.0))
    rows = sat(KEY, truth, 20)
    rng = np.random.default_rng(1)
    guess = [list(raters.sitting(KEY, replace(truth, looks=False), rng)) for _ in range(10)]
    same = [row | {"answer": "generated"} for row in raters.sitting(KEY, truth, rng) if row["task"] != "pairs"]
    left_early = list(raters.sitting(KEY, truth, rng))[:5]
    answer = concluded(KEY, [*rows, *(row for one in guess for row in one), *same, *left_early])
    why = {one["person"]: one["why"] for one in answer["people"]["excluded"]}
    assert answer["people"]["answered"] == 32
    assert answer["people"]["kept"] == 20 + sum(one[0]["person"] not in why for one in guess)
    assert sum(one[0]["person"] in why for one in guess) >= 9, "one in a hundred who guess passes 16 catch trials"
    assert why[same[0]["person"]] == f"called all {len(same)} pictures generated"
    assert "fewer than 3" in why[left_early[0]["person"]]
    assert "catch trials" in why[guess[0][0]["person"]]
    clean = concluded(KEY, rows)
    assert answer["table"][0]["people"] - 20 == len(guess) - sum(one[0]["person"] in why for one in guess)
    if answer["people"]["kept"] == 20:
        assert answer["table"] == clean["table"], "as if they had not been there"


def test_lines_that_do_not_count_are_counted() -> None:
    rows = sat(KEY, Rater((1.0, 1.0), (0.0, 0.0)), 6)
    timed = next(row for row in rows if row["task"] == "timed")
    rest = [row for row in rows if row is not timed]
    strange = [
        b'{"version":1,"stu',
        b"[]",
        json.dumps(timed | {"study": "0" * 16}).encode(),
        json.dumps(timed | {"shown": ["00000001"] if timed["shown"] != ["00000001"] else ["00000002"]}).encode(),
        json.dumps(timed | {"exposure": 900}).encode(),
        json.dumps(timed | {"exposure": 200}).encode(),
    ]
    again = encoded([rest[0] | {"answer": "real"}, rest[0] | {"answer": "generated"}])
    heard = collect_judgements(KEY, [*encoded(rest), *strange, *again])
    assert heard.read == len(rest) + 8
    assert heard.repeated == 2
    assert len(heard.judgements) == len(rest)
    assert heard.judgements[0].answer == rest[0]["answer"], "the first answer counts"
    assert sorted(heard.set_aside.values()) == [1, 1, 2, 2]
    assert heard.set_aside["of another study"] == 1
    assert heard.set_aside["with a picture shown much too long or too short"] == 2


def test_few_people_get_numbers_without_intervals_or_claims() -> None:
    answer = concluded(KEY, sat(KEY, Rater((3.0, 0.0), (-2.0, 2.0)), 7))
    row = answer["table"][0]
    assert row["d_prime"]["value"] > 1
    assert row["d_prime"]["low"] is None
    assert not row["told_apart"]
    assert all(one["claim"] is None for one in answer["comparisons"])


def test_who_leaves_out_the_timed_part_counts_in_the_others() -> None:
    rows = sat(KEY, Rater((1.0, 1.0), (0.0, 0.0)), 10)
    calm = rows[0]["person"]
    answer = concluded(KEY, [row for row in rows if row["person"] != calm or row["task"] != "timed"])
    people = {row["task"]: row["people"] for row in answer["table"]}
    assert people == {"timed": 9, "untimed": 10, "pairs": 10}


def test_three_runs_and_one() -> None:
    three = made(3, 10)
    answer = concluded(three, sat(three, Rater((0.5, 0.5, 2.5), (1.0, 1.0, -2.0)), 25))
    claims = {(row["task"], row["a"], row["b"]): row["claim"] for row in answer["comparisons"]}
    assert len(claims) == 9
    for task, better in (("timed", "run-a"), ("untimed", "run-a"), ("pairs", "run-a")):
        assert claims[task, "run-a", "run-c"] == better
        assert claims[task, "run-b", "run-c"] == "run-b"
        assert claims[task, "run-a", "run-b"] is None
    one = made(1)
    answer = concluded(one, sat(one, Rater((1.0,)), 10))
    assert [row["task"] for row in answer["table"]] == ["timed", "untimed"]
    assert answer["comparisons"] == []


@pytest.mark.slow
def test_whole_studies_are_covered() -> None:
    """Through forms, catch trials and all: of 200 studies of 20 people, the intervals of d′ hold the truth about 190 times."""
    hits = []
    for seed in range(200):
        answer = concluded(KEY, sat(KEY, Rater((1.2, 0.6), (0.3, -0.3)), 20, seed))
        ends = [row["d_prime"] for row in answer["table"] if row["task"] == "timed"]
        hits.append([end["low"] <= truth <= end["high"] for end, truth in zip(ends, (1.2, 0.6), strict=True)])
    assert 0.91 <= np.mean(hits) <= 0.98


# ---- files


@pytest.fixture
def study(tmp_path: Path) -> Path:
    (tmp_path / "study" / "answers").mkdir(parents=True)
    KEY.write(tmp_path / "study")
    return tmp_path / "study"


def test_files_find_their_study(study: Path, tmp_path: Path) -> None:
    rows = encoded(sat(KEY, Rater((1.0, 1.0), (0.0, 0.0)), 6))
    (study / "answers" / "one.jsonl").write_bytes(b"\n".join(rows[:300]) + b"\n\n")
    (study / "answers" / "two.jsonl").write_bytes(b"\n".join(rows[300:]))
    whole = analyse_answers([study])
    assert whole["judgements"]["read"] == len(rows)
    assert json.loads((study / "analysis.json").read_text())["table"] == whole["table"]
    by_name = analyse_answers(sorted((study / "answers").glob("*.jsonl")))
    assert by_name["table"] == whole["table"]
    elsewhere = tmp_path / "sent.jsonl"
    elsewhere.write_bytes(b"\n".join(rows))
    assert analyse_answers([study, elsewhere])["table"] == whole["table"]
    with pytest.raises(InputError, match="no study to go with"):
        analyse_answers([elsewhere])


def test_what_cannot_be_analysed_is_said_in_one_line(study: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no answers in"):
        analyse_answers([study])
    (tmp_path / "empty.jsonl").touch()
    (tmp_path / "strange.jsonl").write_bytes(b"\x00\xff\n{}\n")
    for given, words in (
        ([], "no study"),
        ([study, tmp_path / "none.jsonl"], "no file or folder"),
        ([tmp_path, tmp_path / "empty.jsonl"], "no study in"),
        ([study, study.parent, tmp_path / "empty.jsonl"], "several studies"),
        ([study, tmp_path / "empty.jsonl"], "they are empty"),
        ([study, tmp_path / "strange.jsonl"], "2 not a judgement"),
    ):
        with pytest.raises(InputError, match=words) as told:
            analyse_answers(given)
        assert "\n" not in str(told.value)

"""Gates: what a condition on scores may say, when it holds, and what is refused because it could never hold."""

from __future__ import annotations

from typing import Any

import pytest

from limner.core.errors import InputError
from limner.evaluation.gate import gate_of_comparison, parse_gate

SCORES: dict[str, Any] = {
    "frechet": {"value": 12.5, "error": 0.5, "null": 2.0, "z": 41.0, "p": 1 / 11, "p_floor": 1 / 11},
    "coverage": {"value": 0.8, "error": None, "null": 0.9, "z": None, "p": 1 / 11, "p_floor": 1 / 11},
    "copies": {"value": 0.01, "error": 0.001, "null": 0.0, "z": None, "p": 1e-9},
}


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("frechet > 12", True),
        ("frechet>13", False),
        ("frechet > 6 * frechet.null", True),
        ("frechet > 7 * frechet.null", False),
        ("frechet - 2 * frechet.error > 11.4", True),
        ("frechet > 20 or coverage < .85", True),
        ("frechet > 20 or not coverage < .85", False),
        ("frechet > 20 and coverage < .85", False),
        ("10 < frechet <= 12.5", True),
        ("10 < frechet < 12.5", False),
        ("frechet.z >= 41", True),
        ("copies.p < 1e-6", True),
        ("frechet.p < .1", True),
        ("frechet / 2 > -(0 - 6)", True),
    ],
)
def test_a_condition_means_what_it_says(condition: str, holds: bool) -> None:
    assert parse_gate(condition).answer(SCORES) is holds


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        ("", "is no condition; write for example"),
        ("frechet >", "is no condition"),
        ("frechet", "compares nothing"),
        ("frechet + 1", "compares nothing"),
        ("1 < 2", "names no score"),
        ("frechet == 3", "cannot read 'frechet == 3'"),
        ("frechet > '3'", "cannot read \"'3'\""),
        ("frechet > True", "cannot read 'True'"),
        ("frechet > max(1, 2)", r"cannot read 'max\(1, 2\)'"),
        ("frechet ** 99999 > 3", "cannot read"),
        ("__import__('os').x > 1", "cannot read"),
        ("(frechet > 1) > 0", "compares a comparison"),
        ("frechet.zz > 1", "a score has no 'zz'; did you mean 'z'"),
        ("frechet.z.p > 1", "cannot read 'frechet.z.p'"),
        ("last.frechet > 1", "first and last are for limner compare"),
        ("(" * 600 + "frechet" + ")" * 600, "has 1,207 characters"),
        ("(" * 300 + "frechet" + ")" * 300 + " > 1", "is no condition"),
    ],
)
def test_what_is_no_condition_is_refused_in_one_line(condition: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as error:
        parse_gate(condition)
    assert "\n" not in str(error.value)


def test_a_gate_that_could_never_hold_is_refused() -> None:
    """A p from ten draws of the null is never below 1/11: a gate at .05 would let everything pass."""
    for condition in ("frechet.p < .05", ".05 > frechet.p", "frechet > 1 or frechet.p <= .09"):
        with pytest.raises(InputError, match=r"frechet.p is never below 0.091 .*use frechet.z"):
            parse_gate(condition).answer(SCORES)


def test_a_number_that_is_missing_is_no_answer() -> None:
    with pytest.raises(InputError, match=r"coverage\.z is missing"):
        parse_gate("coverage.z < -4").answer(SCORES)
    with pytest.raises(InputError, match="frechet is nan"):
        parse_gate("frechet > 4").answer({"frechet": {"value": float("nan")}})
    with pytest.raises(InputError, match="vendi was not measured"):
        parse_gate("vendi < 4").answer(SCORES)
    with pytest.raises(InputError, match=r"which is 0"):
        parse_gate("frechet / copies.null > 1").answer(SCORES)
    with pytest.raises(InputError, match="'frechte', which is not measured here; did you mean 'frechet'"):
        parse_gate("frechte > 1").check_metrics(["frechet", "coverage"])


def test_a_comparison_names_the_runs_that_fail() -> None:
    rows = [
        {"name": name, "metrics": {"frechet": {"value": value}}} for name, value in (("old", 10.0), ("b", 30.0), ("new", 12.0))
    ]
    gate = parse_gate("frechet > 11", ends=True)
    assert gate_of_comparison(gate, rows) == {"condition": "frechet > 11", "holds": True, "runs": ["b", "new"]}
    for factor, holds in ((1.1, True), (1.3, False)):
        ends = parse_gate(f"last.frechet > {factor} * first.frechet", ends=True)
        assert gate_of_comparison(ends, rows) == {"condition": ends.text, "holds": holds, "runs": []}

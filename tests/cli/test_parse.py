"""The small grammars of the command line, and how numbers are shown."""

from __future__ import annotations

import numpy as np
import pytest

from limner.cli.command import typed_values
from limner.cli.progress import details, progress_on_stderr
from limner.cli.show.tables import format_duration, format_size, format_value
from limner.core.errors import InputError
from limner.core.fields import MAX_SEEDS, LatentNumbers, Names, Seeds, Settings, choose_seeds, parse_numbers
from limner.core.progress import Progress
from limner.core.verb import Request


class Fields(Request):
    """A field of each kind that has a grammar of its own."""

    seeds: Seeds | None = None
    latents: LatentNumbers | None = None
    names: Names | None = None
    settings: Settings = ()
    switch: bool = False
    number: int = 7


def parse_seeds(text: str) -> list[int]:
    return parse_numbers(text, "seeds", "seed")


@pytest.mark.parametrize(
    ("text", "seeds"),
    [
        ("0", [0]),
        ("0-3,42", [0, 1, 2, 3, 42]),
        (" 5 , 3-4 ", [5, 3, 4]),
        ("1,1-2,2", [1, 2]),
        ("007", [7]),
        (str(2**63 - 1), [2**63 - 1]),
    ],
)
def test_seeds(text: str, seeds: list[int]) -> None:
    assert parse_seeds(text) == seeds
    assert Fields.of({"seeds": text, "latents": text}).seeds == seeds


def test_seeds_from_python() -> None:
    for numbers in (range(3), [0, 1, 2], (0, 1, 2), np.arange(3), iter([0, 1, 2])):
        assert Fields.of({"seeds": numbers}).seeds == [0, 1, 2]
    for numbers in ([1.5], ["a"], 3, [None]):
        with pytest.raises(InputError, match="seeds"):
            Fields.of({"seeds": numbers})


WRONG = [
    "",
    ",",
    "1,",
    "a",
    "-1",
    "1-",
    "1--2",
    "3-1",
    "1.5",
    "0x10",
    "1e3",
    "¹",
    "٣",
    str(2**63),
    "9" * 40,
    "0-1000000",
    "1;2",
]


@pytest.mark.parametrize("text", WRONG)
def test_what_is_no_seed_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="seeds"):
        parse_seeds(text)
    with pytest.raises(InputError, match="latents"):
        Fields.of({"latents": text})


def test_a_huge_range_is_refused_before_it_is_made() -> None:
    with pytest.raises(InputError, match="more than 1,000,000"):
        parse_seeds("0-9000000000000000000")
    assert len(parse_seeds(f"1-{MAX_SEEDS}")) == MAX_SEEDS


def test_seeds_or_count() -> None:
    assert choose_seeds(None, None) == list(range(16))
    assert choose_seeds(None, 3) == [0, 1, 2]
    assert choose_seeds([9], None) == [9]
    for seeds, count in [([1], 1), (None, 0), (None, -5), (None, MAX_SEEDS + 1)]:
        with pytest.raises(InputError):
            choose_seeds(seeds, count)


def test_settings() -> None:
    assert Fields.of({"settings": ["a.b=1", "c=", "d=e=f"]}).settings == ("a.b=1", "c=", "d=e=f")
    assert Fields.of({}).settings == ()
    for word in ["a", "=1", " =1", ""]:
        with pytest.raises(InputError, match="key=value"):
            Fields.of({"settings": [word]})


def test_lists_and_options() -> None:
    assert Fields.of({}).names is None
    assert Fields.of({"names": "a, b,,c"}).names == Fields.of({"names": ["a", "b", "c"]}).names == ["a", "b", "c"]
    typed = {"seeds": None, "latents": None, "names": None, "settings": [], "switch": False, "number": 0}
    assert typed_values(Fields.model_fields, typed) == {"number": 0}


def test_what_a_field_cannot_be_is_one_short_line() -> None:
    for values in ({"number": np.zeros((9, 9))}, {"names": "x" * 9, "number": "\n" * 500}, {"names": [3]}, {"settings": 3}):
        with pytest.raises(InputError) as told:
            Fields.of(values)
        assert "\n" not in str(told.value)
        assert len(str(told.value)) < 250
    with pytest.raises(InputError, match=r"'nubmer'; did you mean 'number'\?"):
        Fields.of({"nubmer": 3})


def test_numbers_for_people() -> None:
    assert [format_duration(t) for t in (None, 0.04, 9.96, 59.6, 60, 80, 3599.7, 7500)] == [
        "–",
        "0.0 s",
        "10 s",
        "1 min",
        "1 min",
        "1 min 20 s",
        "1 h 0 min",
        "2 h 5 min",
    ]
    assert [format_size(n) for n in (None, 5, 2048, 200 * 2**20, 3.2 * 2**30, 2**43)] == [
        "–",
        "5 B",
        "2.0 KiB",
        "200 MiB",
        "3.2 GiB",
        "8.0 TiB",
    ]
    assert [format_value(v) for v in ([0.5, None], [{"a": 1}, {"b": [1.5]}], [True, False])] == [
        "0.5, –",
        "a 1, b 1.5",
        "yes, no",
    ]
    assert [format_value(v) for v in (None, True, 1234, 0.123456, (8, 8, 1), {"a": 1})] == [
        "–",
        "yes",
        "1,234",
        "0.1235",
        "8×8×1",
        "a 1",
    ]


def _training(images: int, note: str = "") -> Progress:
    return Progress("training", images, 1000, 80.0, note, per_second=1302.4, losses={"generator": 0.8123})


def test_progress_off_a_terminal_is_a_line_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    assert details(_training(0)) == "1,302 images/s · generator 0.812 · 1 min 20 s left"
    with progress_on_stderr() as on_progress:
        for images in range(1000):
            on_progress(_training(images, note="a preview" if images == 500 else ""))
    seen = capsys.readouterr()
    assert seen.out == ""
    lines = seen.err.splitlines()
    assert lines[0].startswith("training 0 of 1,000 · 1,302 images/s")
    assert len(lines) == 2
    assert lines[1].endswith("a preview")

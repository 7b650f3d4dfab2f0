"""The one class of data options: its checks, its names in errors, and the keys by which prepared sets are found again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

import made
from limner.core.errors import InputError
from limner.core.progress import OnProgress, silent
from limner.data.listing import Listing
from limner.data.options import DataOptions, ImageOptions
from limner.data.prepare import check, prepare
from limner.data.reuse import cache_key
from limner.data.source import DataSource
from limner.recipes.recipe import DataConfig

MADE_BEFORE = {
    "d469ef0c5533": {},
    "3219c9b23118": {
        "size": (64, 96),
        "fit": "pad",
        "channels": 3,
        "background": "#102030",
        "split": "0.1,0.1",
        "limit": 50,
        "labels": "none",
        "seed": 7,
    },
    "807e8f81f741": {"size": 32},
    "52eef25a67d4": {"binary": True},
    "35f1aae8ef89": {"binary": True, "channels": 1, "size": (28, 28)},
}
"""Keys of sets that were prepared before the options were a model, for a source called pets."""


class Pets(DataSource):
    """A source of which only the name and the identity are asked for."""

    name = "pets"

    def identity(self, on_progress: OnProgress = silent) -> str:
        return "a\0 1"

    def listing(self, options: DataOptions, on_progress: OnProgress = silent) -> Listing:
        raise NotImplementedError


@pytest.mark.parametrize("key", MADE_BEFORE)
def test_sets_prepared_before_are_found_again(key: str) -> None:
    assert cache_key(Pets(), DataOptions.of({**MADE_BEFORE[key], "rules": 1})) == key  # type: ignore[dict-item]


def test_a_size_is_one_however_it_is_written() -> None:
    wanted = {"size": [64, 96]}
    for size in ("64x96", (64, 96), [64, 96]):
        assert wanted.items() <= DataOptions.of({"size": size}).as_json().items()
    assert DataOptions.of({"size": "32"}).as_json() == DataOptions.of({"size": 32}).as_json()


def test_a_recipe_has_the_same_options_but_the_seed() -> None:
    assert set(DataOptions.model_fields) - {"seed"} == set(ImageOptions.model_fields)
    assert all(one.description for one in (DataOptions.model_fields | DataConfig.model_fields).values())


def test_a_recipe_asks_for_the_same_set_as_the_keywords() -> None:
    given: dict[str, Any] = {"size": "64x96", "fit": "pad", "split": "0.1", "limit": 50, "binary": True}
    assert DataConfig(source="x", mirror=True, **given).options() == DataOptions.of(given)
    assert list(DataConfig().model_dump()) == [
        "source",
        "size",
        "fit",
        "channels",
        "background",
        "split",
        "limit",
        "labels",
        "value_range",
        "binary",
        "rules",
        "mirror",
        "fingerprint",
        "classes",
        "caption_length",
        "condition_shape",
    ]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"siez": 3}, r"unknown option 'siez'; did you mean 'size'\? \(there are: size, fit"),
        ({"fit": "crpo"}, r"fit 'crpo' is not one of 'crop', 'pad' or 'stretch'; did you mean 'crop'\?"),
        ({"channels": 2}, "channels 2 is not one of 1, 3 or 4"),
        ({"labels": "some"}, "labels 'some' is not one of 'auto' or 'none'"),
        ({"limit": 1}, "limit 1 cannot be: it should be a whole number of 2 or more"),
        ({"limit": "many"}, "limit 'many' cannot be: it should be a valid integer"),
        ({"seed": -1}, "seed -1 cannot be: it should be a whole number from 0 to 9223372036854775807"),
        ({"seed": 2**63}, "seed 9223372036854775808 cannot be"),
        ({"size": "big"}, "size 'big' is not a size; write one number of pixels"),
        ({"size": True}, "size True cannot be: it should be a number"),
        ({"size": 64.5}, "size 64.5 is not a size"),
        ({"size": (1, 2, 3)}, r"size \(1, 2, 3\) is not a size"),
        ({"size": (0, 9)}, "size 0x9 is out of range; both sides must be from 8 to 8192 pixels"),
        ({"size": 7}, "size 7x7 is out of range; both sides must be from 8 to 8192 pixels"),
        ({"split": "tran"}, "split 'tran' is not understood; did you mean 'train'"),
        ({"split": "0.7,0.6"}, "sum to less than 1"),
        ({"binary": True, "channels": 3}, "one channel, not 3; leave channels out"),
    ],
)
def test_options_that_are_none_are_one_line(given: dict[str, Any], words: str, tmp_path: Path) -> None:
    for verb in (check, prepare):
        with pytest.raises(InputError, match=words) as caught:
            verb(tmp_path, **given)
        assert "\n" not in str(caught.value)


def test_a_model_of_options_refuses_what_it_does_not_know() -> None:
    with pytest.raises(ValidationError):
        DataOptions(siez=3)  # type: ignore[call-arg]


def test_a_set_is_found_by_equal_options_however_they_are_given(tmp_path: Path) -> None:
    made.folder(tmp_path / "pets", {"a": 3, "b": 3})
    first = prepare(tmp_path / "pets", size=16)
    assert prepare(tmp_path / "pets", size="16x16", split=None).path == first.path
    assert prepare(first.path, size="16").path == first.path


def test_sets_and_recipes_from_before_there_were_rules_keep_theirs() -> None:
    """Rules 1 are not named in the key of a prepared folder, so that folders of before are found again; others are."""
    assert "rules" not in DataOptions(rules=1).as_json()
    assert DataOptions().as_json()["rules"] == DataOptions().rules > 1
    assert DataConfig(source="digits").rules == DataOptions().rules
    assert DataConfig(source="digits", fingerprint="0" * 64).rules == 1
    assert DataConfig(source="digits", fingerprint="0" * 64, rules=2).rules == 2

"""Why two runs were not trained on the same pictures: every reason that their recipes tell."""

from __future__ import annotations

import pytest

from limner.data.options import ImageOptions
from limner.evaluation.data_differences import describe_differences
from limner.recipes.recipe import DataConfig

OWN = {"source": "emoji", "fingerprint": "a", "rules": 2, "size": (32, 32), "channels": 3, "classes": ("cat",)}
CASES = {
    "source": ("birds", "data.source is emoji and birds"),
    "size": ("64x48", "data.size is 32x32 and 64x48"),
    "fit": ("pad", "data.fit is crop and pad"),
    "channels": (4, "data.channels is 3 and 4"),
    "background": ("black", "data.background is white and black"),
    "split": ("0.2", "data.split is not set and 0.2"),
    "limit": (400, "data.limit is not set and 400"),
    "labels": ("none", "data.labels is auto and none"),
    "value_range": ("0,4095", "data.value_range is not set and 0,4095"),
    "rules": (1, "data.rules is 2 and 1 (how files became pictures before 2026-12 is 1)"),
}


@pytest.mark.parametrize("name", CASES)
def test_each_option_is_a_reason(name: str) -> None:
    value, words = CASES[name]
    other = DataConfig.model_validate(OWN | {"fingerprint": "b", name: value})
    assert describe_differences(DataConfig.model_validate(OWN), other) == words


def test_no_option_is_forgotten() -> None:
    assert set(CASES) == {"source", *ImageOptions.model_fields} - {"binary"}
    binary = DataConfig.model_validate(OWN | {"channels": None, "binary": True})
    assert (
        describe_differences(DataConfig.model_validate(OWN), binary)
        == "data.channels is 3 and 1, data.binary is false and true"
    )


def test_pictures_that_changed_are_the_reason_where_no_option_is() -> None:
    own = DataConfig.model_validate(OWN)
    changed = "the pictures in emoji changed between the two trainings"
    assert describe_differences(own, DataConfig.model_validate(OWN | {"fingerprint": "b"})) == changed
    more = DataConfig.model_validate(OWN | {"fingerprint": "b", "classes": ("cat", "dog"), "caption_length": 8})
    assert describe_differences(own, more) == f"{changed}, and so did classes and captions"


def test_one_value_in_two_spellings_is_no_reason() -> None:
    other = DataConfig.model_validate(OWN | {"size": "32", "limit": 9})
    assert describe_differences(DataConfig.model_validate(OWN), other) == "data.limit is not set and 9"


def test_an_address_keeps_its_secrets() -> None:
    own = DataConfig.model_validate(OWN | {"source": "https://me:secret@example.org/a.zip?key=hidden"})
    words = describe_differences(own, DataConfig.model_validate(OWN))
    assert "example.org/a.zip" in words
    assert "secret" not in words
    assert "hidden" not in words

"""Names of files."""

from __future__ import annotations

import pytest

from limner.core.files import slug


@pytest.mark.parametrize(
    ("text", "any_script", "ascii_only"),
    [
        ("plain_name-1.2", "plain_name-1.2", "plain_name-1.2"),
        ("two  words / more", "two-words-more", "two-words-more"),
        ("Blüten 花", "Blüten-花", "Bl-ten-"),
        ("..(x)", "..-x-", "..-x-"),
        ("", "", ""),
    ],
)
def test_what_stays_of_a_text_in_the_name_of_a_file(text: str, any_script: str, ascii_only: str) -> None:
    assert slug(text) == any_script
    assert slug(text, ascii_only=True) == ascii_only

"""Captions as numbers."""

from __future__ import annotations

import numpy as np
import pytest

from limner.core.text import MAX_CAPTION_BYTES, TEXT_VOCABULARY, decode_captions, encode_captions, longest_caption
from limner.data.prepare import prepare


def test_captions_come_back_as_they_were() -> None:
    texts = ["a red star", "", "ein Bär, 3 €", "漢字", "\0 in the midst\0", "🦊"]
    encoded = encode_captions(texts, longest_caption(texts))
    assert encoded.shape == (6, 15)
    assert encoded.dtype == np.int64
    assert decode_captions(encoded) == texts
    assert encoded.min() == 0
    assert encoded.max() < TEXT_VOCABULARY
    assert encoded[0].tolist() == [byte + 1 for byte in b"a red star"] + [0] * 5


@pytest.mark.parametrize("length", range(1, 12))
def test_a_cut_is_never_within_a_character(length: int) -> None:
    (text,) = decode_captions(encode_captions(["aé漢🦊b"], length))
    assert "aé漢🦊b".startswith(text)
    assert length - 4 < len(text.encode()) <= length


def test_of_nothing_and_of_what_has_no_bytes() -> None:
    assert encode_captions([], 4).shape == (0, 4)
    assert encode_captions(["", ""], 0).shape == (2, 0)
    assert decode_captions(encode_captions(["half \ud83d"], 8)) == ["half ?"]
    assert longest_caption([]) == longest_caption(["", ""]) == 0
    assert longest_caption(["é" * 300]) == MAX_CAPTION_BYTES


def test_the_longest_caption_of_a_set() -> None:
    data = prepare("scenes", size=16, limit=50)
    assert data.captions is not None
    assert data.caption_length == max(len(text) for text in data.captions) <= MAX_CAPTION_BYTES
    assert decode_captions(encode_captions(data.captions, data.caption_length)) == list(data.captions)
    assert prepare("digits").caption_length == 0

"""YAML and JSON files that hold anything at all are one line that says where, and none takes long."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from limner.core import documents
from limner.core.documents import (
    MAX_YAML_BYTES,
    MissingFileError,
    parse_yaml,
    read_json,
    read_json_lines,
    read_text,
    read_yaml,
)
from limner.core.errors import InputError

BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{chr(98 + level)}: &{chr(98 + level)} [{','.join(['*' + chr(97 + level)] * 9)}]\n" for level in range(8)
)
"""340 bytes that unfold into 9^9 words."""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("seed: 0x_", "'0x_' is no int (line 1)"),
        ("seed: 0b_", "is no int"),
        ("a: 1\nseed: !!int abc", "'abc' is no int (line 2)"),
        ("seed: !!float x", "is no float"),
        ("seed: !!bool maybe", "'maybe' is no bool"),
        ("seed: !!timestamp x", "'x' is no timestamp"),
        ("seed: !!binary é", "ascii"),
        ("seed: " + "9" * 5000, "is no int"),
        ("seed: " + "[" * 1000, "more than 100 levels deep"),
        ("- " * 1000, "more than 100 levels deep"),
        (BOMB, "aliases unfold into too much"),
        ("a: &a [*a]", "an alias inside what it stands for"),
        ("a: *b", "undefined alias"),
        ("<<: 3", "merging"),
        ("? [a]\n: 1", "unhashable"),
        ("a: \0", "unacceptable character"),
        ("a: [", "expected"),
        ("!!python/object:os.system x", "could not determine a constructor"),
    ],
)
def test_a_yaml_text_that_cannot_be_read_is_one_line(text: str, words: str) -> None:
    with pytest.raises(InputError) as error:
        parse_yaml(text, "here")
    line = str(error.value)
    assert line.startswith("here is not readable as YAML: ")
    assert words in line
    assert "\n" not in line
    assert len(line) < 300


def test_what_yaml_may_hold_is_read() -> None:
    assert parse_yaml("a: &x {b: 1}\nc: *x\nd: {<<: *x, e: 2}", "") == {"a": {"b": 1}, "c": {"b": 1}, "d": {"b": 1, "e": 2}}
    assert parse_yaml("[2001-01-01, 2001-13-45, 1.5, true, null]", "") == ["2001-01-01", "2001-13-45", 1.5, True, None]
    assert parse_yaml("[" * 99 + "]" * 99, "") != []
    assert parse_yaml("", "") is None


def test_a_file_is_read_or_named(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with pytest.raises(MissingFileError, match="is missing"):
        read_text(path)
    path.write_bytes(b"a: \xff")
    with pytest.raises(InputError, match=r"no UTF-8 text \(byte 3\)"):
        read_yaml(path)
    path.write_bytes(b" " * (MAX_YAML_BYTES + 1))
    with pytest.raises(InputError, match="too large"):
        read_yaml(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(InputError, match="no file that could be read"):
        read_json(path)
    with pytest.raises(MissingFileError):
        read_text(path / "x" / "y")
    with pytest.raises(InputError, match="the name is too long"):
        read_text(tmp_path / ("x" * 300))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="no file that could be read"):
        read_yaml(tmp_path / "pipe")


def test_what_may_not_be_read_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, *_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    (tmp_path / "file").touch()
    monkeypatch.setattr(documents.Path, "read_text", refuse)
    monkeypatch.setattr(documents.Path, "open", refuse)
    reads: list[Callable[[Path], object]] = [read_text, read_yaml, read_json, lambda path: read_json_lines(path, ())]
    for read in reads:
        with pytest.raises(InputError, match=r"cannot use .*file: there is no permission; change its permissions"):
            read(tmp_path / "file")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("null", "it holds null and not a JSON object"),
        ("3", "a number"),
        ('"a"', "a text"),
        ("[1]", "a list"),
        ("", "Expecting value"),
        ('{"a": NaN}', "NaN is no JSON"),
        ('{"a": ' + "9" * 5000 + "}", "Exceeds the limit"),
        ("[" * 100_000, "recursion"),
    ],
)
def test_json_of_another_form_is_named(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text(text)
    with pytest.raises(InputError, match="is damaged") as error:
        read_json(tmp_path / "file")
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"null", "line 2 holds null"),
        (b"3", "holds a number"),
        (b"[1]", "holds a list"),
        (b'{"images": "3"}', "lacks a number for images"),
        (b'{"images": true}', "lacks a number for images"),
        (b'{"images": 1' + b"0" * 400 + b"}", "lacks a number for images"),
        (b'{"images": 3, "\xff": 1}', "line 2"),
        (b"[" * 100_000, "recursion"),
        (b"nonsense", "Expecting value"),
    ],
)
def test_a_row_of_another_form_is_named_or_left_out(line: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"images": 1}\n' + line + b'\n\n{"images": 2}\n')
    with pytest.raises(InputError, match="remove that line") as error:
        read_json_lines(path, ("images",))
    assert words in str(error.value)
    assert [row["images"] for row in read_json_lines(path, ("images",), skip_damaged=True)] == [1, 2]


def test_a_row_that_was_cut_short_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"images": 1, "losses": {"a": 1}\n{"images": 2}\n{"ima')
    assert read_json_lines(path, ("images",)) == [{"images": 2}]
    assert read_json_lines(tmp_path / "none", ("images",)) == []

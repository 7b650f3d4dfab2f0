"""Tables beside pictures: columns of other spellings, labels of every type, and what is not read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import made
from limner.core.errors import InputError
from limner.data.listing import Listing
from limner.data.options import DataOptions
from limner.data.sources import find_source


def listed(root: Path, table: str, text: str | bytes, count: int = 6, **options: Any) -> Listing:
    """The listing of empty files 0.png … beside a table."""
    for number in range(count):
        made.write(root / f"{number}.png", b"")
    made.write(root / table, text if isinstance(text, bytes) else text.encode())
    return find_source(root).listing(DataOptions.of(options))


def jsonl(column: str, values: list[Any]) -> str:
    return "\n".join(json.dumps({"file_name": f"{number}.png", column: value}) for number, value in enumerate(values))


def named(listing: Listing) -> list[str | None]:
    """The class of each picture by name."""
    if listing.labels is None:
        return [None] * len(listing)
    return [None if label < 0 else listing.classes[label] for label in listing.labels]


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ([0.0, 1.0, 0, 1, "0", "1"], ["0", "1", "0", "1", "0", "1"]),
        ([1e3, 1000, 2.5, 2.50, -1, -1.0], ["1000", "1000", "2.5", "2.5", None, None]),
        ([True, False, True, None, float("nan"), ""], ["True", "False", "True", None, None, None]),
        (["cat", 3, 3.0, " cat ", "-1", 1e999], ["cat", "3", "3", "cat", "-1", None]),
        (["a", "b", ["a"], {"a": 1}, [], "b"], ["a", "b", None, None, None, "b"]),
    ],
)
def test_labels_of_every_json_type(values: list[Any], wanted: list[str | None], tmp_path: Path) -> None:
    assert named(listed(tmp_path, "metadata.jsonl", jsonl("label", values))) == wanted


def test_labels_of_a_csv_that_are_numbers_have_one_form(tmp_path: Path) -> None:
    rows = "".join(f"{number}.png,{label}\n" for number, label in enumerate(["0.0", "1.0", "1", "0", "-1", ""]))
    assert named(listed(tmp_path, "metadata.csv", f"file_name,label\n{rows}")) == ["0", "1", "1", "0", None, None]
    codes = "".join(f"{number}.png,{label}\n" for number, label in enumerate(["007", "7", "v1.0", "v1.0", "7", "007"]))
    assert named(listed(tmp_path, "metadata.csv", f"file_name,label\n{codes}")) == ["007", "7", "v1.0", "v1.0", "7", "007"]


def test_by_rules_1_labels_are_what_they_were(tmp_path: Path) -> None:
    listing = listed(tmp_path, "metadata.jsonl", jsonl("label", [0.0, 1.0, 0, 1, " a", True]), rules=1)
    assert named(listing) == [None, None, "0", "1", " a", "True"]
    assert listing.notes == ()
    listing = listed(tmp_path, "metadata.jsonl", jsonl("Label", list(range(6))), rules=1)
    assert listing.labels is None


@pytest.mark.parametrize("header", ["file_name,Label,TEXT", " File_Name , label ,Text"])
def test_upper_case_and_blanks_in_columns_make_no_difference(header: str, tmp_path: Path) -> None:
    rows = "".join(f"{number}.png,{number % 2},picture {number}\n" for number in range(6))
    listing = listed(tmp_path, "metadata.csv", f"{header}\n{rows}")
    assert listing.classes == ("0", "1")
    assert listing.captions == tuple(f"picture {number}" for number in range(6))
    (tmp_path / "metadata.csv").unlink()
    keys = [key.strip() for key in header.split(",")]
    text = "\n".join(json.dumps(dict(zip(keys, (f"{n}.png", n % 2, f"picture {n}"), strict=True))) for n in range(6))
    assert listed(tmp_path, "metadata.jsonl", text).captions == listing.captions


def test_columns_that_are_not_read_are_named_with_what_they_may_be(tmp_path: Path) -> None:
    rows = "".join(f"{number}.png,{number % 2},a,64\n" for number in range(6))
    listing = listed(tmp_path, "metadata.csv", f"file_name,class,prompt,width\n{rows}")
    assert "metadata.csv: columns that are not read: class, prompt, width" in listing.notes[0]
    assert "call class 'label' if it is that; call prompt 'text' if it is that" in listing.notes[0]
    assert "width '" not in listing.notes[0]
    listing = listed(tmp_path, "metadata.csv", "file_name,lable,label\n0.png,1,2\n1.png,1,3\n")
    assert named(listing)[:2] == ["2", "3"]
    assert "call lable 'label'" in "\n".join(listing.notes)


@pytest.mark.parametrize(
    ("header", "hint"),
    [
        ("image,label", "did you mean 'image'"),
        ("Path,label", "did you mean 'Path'"),
        ("FileName,label", "did you mean 'FileName'"),
        ("file_name;label", "separate the columns by commas"),
        ("file_name\tlabel", "separate the columns by commas"),
    ],
)
def test_a_table_without_file_names_says_which_column_they_may_be(header: str, hint: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"no column 'file_name'.*{hint}"):
        listed(tmp_path, "metadata.csv", f"{header}\n0.png,1\n")
    with pytest.raises(InputError, match=r"line 1: no file_name.*did you mean 'image'"):
        listed(tmp_path / "json", "metadata.jsonl", '{"image": "0.png"}')


LOSSES = {
    "a picture twice": ("csv", "file_name,text\n0.png,a\n1.png,b\n0.png,c\n", "the last counts: 0.png (lines 2 and 4)"),
    "a comma": (
        "csv",
        "file_name,text\n0.png,a cat, black\n",
        "more fields than there are columns, cut off there: 2",
    ),
    "a list": (
        "jsonl",
        '{"file_name": "0.png", "text": ["a"]}',
        "text is no single text or number, and is not read: 1",
    ),
    "few rows": ("csv", "file_name,label\n0.png,x\n1.png,y\n", "pictures without a row in metadata.csv: 2.png, 3.png, 4.png"),
    "one label": (
        "csv",
        "file_name,label\n0.png,x\n1.png,x\n",
        "all labels in metadata.csv are alike",
    ),
}


@pytest.mark.parametrize("case", LOSSES)
def test_what_is_lost_of_a_table_is_said(case: str, tmp_path: Path) -> None:
    form, text, note = LOSSES[case]
    assert note in "\n".join(listed(tmp_path, f"metadata.{form}", text).notes)


def test_of_two_rows_the_last_counts_and_equal_rows_are_nothing_to_speak_of(tmp_path: Path) -> None:
    listing = listed(tmp_path, "metadata.csv", "file_name,text\n0.png,a\n0.png,b\n", count=1)
    assert listing.captions == ("b",)
    assert listed(tmp_path, "metadata.csv", "file_name,text\n0.png,a\n0.png,a\n", count=1).notes == ()


def test_pictures_in_two_tables_are_said(tmp_path: Path) -> None:
    made.write(tmp_path / "metadata.jsonl", b'{"file_name": "0.png", "label": "b"}\n{"file_name": "1.png", "label": "c"}')
    listing = listed(tmp_path, "metadata.csv", "file_name,label\n0.png,a\n", count=2)
    assert named(listing) == ["b", "c"]
    assert "pictures in two tables, of which metadata.jsonl counts: 0.png" in listing.notes


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("metadata.jsonl", b'{"file_name": "0.png", "label": ' + b"9" * 6000 + b"}"),
        ("metadata.jsonl", b"[" * 100_000),
        ("metadata.csv", b"file_name\n" + b"a" * 200_000),
        ("metadata.csv", b""),
    ],
)
def test_a_table_that_cannot_be_read_is_one_line(name: str, text: bytes, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"metadata\.") as error:
        listed(tmp_path, name, text)
    assert "\n" not in str(error.value)


def sharded(root: Path, labels: Any) -> Listing:
    for shard in range(2):
        for number in range(3):
            made.write(root / f"{shard:05d}" / f"{number}.png", b"")
    made.write(root / "dataset.json", json.dumps(labels).encode())
    return find_source(root).listing(DataOptions())


def test_labels_of_stylegan_are_read(tmp_path: Path) -> None:
    rows = [[f"{shard:05d}/{number}.png", number % 2] for shard in (0, 1) for number in range(3)]
    listing = sharded(tmp_path, {"labels": rows})
    assert named(listing) == ["0", "1", "0"] * 2
    assert listing.notes == ("classes come from dataset.json, and not from folders",)
    assert find_source(tmp_path).listing(DataOptions.of({"rules": 1})).classes == ("00000", "00001")


def test_a_stylegan_set_without_labels_has_no_classes(tmp_path: Path) -> None:
    listing = sharded(tmp_path, {"labels": None})
    assert listing.labels is None
    assert listing.notes == ("dataset.json gives no labels, so there are no classes",)
    vectors = sharded(tmp_path, {"labels": [["00000/0.png", [0.5, 1.5]]]})
    assert "dataset.json: 1 labels are no single numbers or names, and are not read" in vectors.notes


@pytest.mark.parametrize("other", [[], {"labels": 5}, {"images": []}, {"labels": [["a"]]}, 5])
def test_another_dataset_json_is_just_a_file(other: Any, tmp_path: Path) -> None:
    listing = sharded(tmp_path, other)
    assert listing.classes == ("00000", "00001")
    assert listing.other == 1

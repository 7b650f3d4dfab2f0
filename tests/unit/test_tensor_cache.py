"""A cache of tensors: what was written is read, and nothing that is not whole."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from limner.core.errors import InputError
from limner.core.passes import fixed_passes
from limner.core.tensor_cache import METADATA_KEY, read_tensors, write_tensors

TENSORS = {"a": torch.arange(6.0).view(2, 3), "flags": torch.tensor([True, False])}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    write_tensors(tmp_path / "new" / "a.safetensors", TENSORS, {"numbers": (1, 2.5), "name": "ä"})
    return tmp_path / "new" / "a.safetensors"


def test_what_was_written_is_read(file: Path) -> None:
    found = read_tensors(file)
    assert found is not None
    tensors, about = found
    assert tensors.keys() == TENSORS.keys()
    assert all(torch.equal(tensors[name], tensor) for name, tensor in TENSORS.items())
    assert about == {"numbers": [1, 2.5], "name": "ä"}
    assert [path.name for path in file.parent.iterdir()] == [file.name], "nothing else is left there"


def test_tensors_that_do_not_lie_row_by_row_are_written_as_well(tmp_path: Path) -> None:
    write_tensors(tmp_path / "a", {"turned": TENSORS["a"].mT})
    found = read_tensors(tmp_path / "a")
    assert found is not None
    assert torch.equal(found[0]["turned"], TENSORS["a"].mT)


def test_no_file_and_none_of_ours(tmp_path: Path) -> None:
    path = tmp_path / "a"
    assert read_tensors(path) is None
    for content in (b"", b"\x02\0\0\0\0\0\0\0{}", b"\x02\0\0\0\0\0\0\0[]", b"\xff" * 64):
        path.write_bytes(content)
        assert read_tensors(path) is None
    assert read_tensors(tmp_path) is None, "a folder"


def test_every_byte_counts(file: Path) -> None:
    whole = file.read_bytes()
    for place in range(len(whole)):
        content = bytearray(whole)
        content[place] ^= 1
        file.write_bytes(content)
        assert read_tensors(file) is None, place
        file.write_bytes(whole[:place])
        assert read_tensors(file) is None, place


def _with(change: Callable[[dict[str, object]], object], file: Path) -> None:
    with safe_open(file, "pt") as opened:
        told = json.loads(opened.metadata()[METADATA_KEY])
    change(told)
    save_file(load_file(file), file, {METADATA_KEY: json.dumps(told)})


@pytest.mark.parametrize(
    "damage",
    [
        lambda file: save_file(TENSORS, file),
        lambda file: save_file(TENSORS, file, {"limner.reference": "0" * 64}),
        lambda file: save_file(TENSORS, file, {METADATA_KEY: "no JSON"}),
        lambda file: save_file(TENSORS, file, {METADATA_KEY: "[]"}),
        lambda file: _with(lambda told: told.update(about={"numbers": [1, 3]}), file),
        lambda file: _with(lambda told: told.pop("digest"), file),
    ],
    ids=["no checksum", "of before", "no JSON", "a list", "other JSON", "no digest"],
)
def test_values_that_do_not_fit_their_checksum(file: Path, damage: Callable[[Path], None]) -> None:
    damage(file)
    assert read_tensors(file) is None


def test_other_values_under_the_same_checksum(file: Path) -> None:
    with safe_open(file, "pt") as opened:
        about = opened.metadata()
    save_file(TENSORS | {"a": torch.zeros(2, 3)}, file, about)
    assert read_tensors(file) is None


def test_a_copy_of_another_file(file: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    for place in (file.with_name("other.safetensors"), tmp_path / "other" / file.name):
        place.write_bytes(file.read_bytes())
        assert read_tensors(place) is None, "the name says what the values are of"
    whole = tmp_path / "moved" / file.parent.name
    whole.mkdir(parents=True)
    (whole / file.name).write_bytes(file.read_bytes())
    assert read_tensors(whole / file.name) is not None, "the cache as a whole may be moved"


def test_a_full_disk_is_the_persons_to_mend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise SafetensorError("No space left on device")

    monkeypatch.setattr("limner.core.tensor_cache.save_file", full)
    with pytest.raises(InputError, match=r"cannot write .*No space left"):
        write_tensors(tmp_path / "a", TENSORS)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("count", "size", "expected"),
    [
        (0, 4, []),
        (3, 4, [([0, 1, 2, 2], 3)]),
        (4, 4, [([0, 1, 2, 3], 4)]),
        (5, 2, [([0, 1], 2), ([2, 3], 2), ([4, 4], 1)]),
    ],
)
def test_passes_have_one_size_and_cover_all_rows(count: int, size: int, expected: list[tuple[list[int], int]]) -> None:
    assert [(rows.tolist(), meant) for rows, meant in fixed_passes(count, size)] == expected

"""Prepared folders: splits, duplicates, the cache, and that nothing half-made is left."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import made
from limner.core.errors import InputError
from limner.data.dataset import open_dataset, summary
from limner.data.duplicates import find_groups, signatures
from limner.data.options import SplitRule
from limner.data.prepare import check, prepare
from limner.data.reading import READING
from limner.data.splits import choose, deal


def sizes(dataset):
    return {name: len(rows) for name, rows in dataset.splits.items()}


@pytest.fixture(autouse=True)
def _cache_of_its_own(tmp_path_factory, monkeypatch):
    """Equal pictures are one set wherever they lie: with one cache for all, a test would be given what another prepared."""
    monkeypatch.setenv("LIMNER_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def pets(tmp_path):
    return made.folder(tmp_path / "pets", {"cat": 40, "dog": 20})


def test_the_folder(pets):
    data = prepare(pets, size=(16, 24))
    assert data.shape == (16, 24, 3)
    assert data.path.name.startswith("pets-16x24x3-")
    assert sorted(path.name for path in data.path.iterdir()) == ["images.npy", "labels.npy", "manifest.json"]
    assert sizes(data) == {"train": 54, "val": 6}
    assert np.bincount(data.labels[data.indices("val")]).tolist() == [4, 2]
    assert sorted(one["row"] for one in data.manifest["files"]) == list(range(60))
    wanted = {"path", "images", "rejected", "duplicates", "classes", "captions", "shape", "fingerprint", "seconds"}
    assert wanted <= summary(data).keys()
    report = check(pets, size=(16, 24)).summary()
    assert wanted <= report.keys()
    for key in ("images", "rejected", "duplicates", "classes", "captions", "shape", "splits", "fingerprint"):
        assert report[key] == summary(data)[key], key
    assert (report["heights"], report["modes"]) == ({"min": 24, "median": 24, "max": 24}, {"RGB": 60})
    json.dumps(report)


def test_every_row_is_its_file(pets):
    data = prepare(pets, seed=5)
    for one in data.manifest["files"]:
        stored = data.images.gather(np.array([one["row"]]))[0]
        assert (stored == np.asarray(Image.open(pets / one["file"]))).all()
        assert data.classes[data.labels[one["row"]]] == one["file"].split("/")[0]
        assert one["row"] in data.splits[one["split"]]


def test_workers_change_nothing(pets):
    found = {prepare(pets, workers=number, out=pets.parent / f"w{number}").fingerprint for number in (1, 2, 5)}
    assert len(found) == 1


def test_default_size(tmp_path):
    made.folder(tmp_path / "same", {"a": 3}, height=30, width=20)
    made.folder(tmp_path / "mixed", {"a": 3}, height=30, width=20)
    made.write(tmp_path / "mixed" / "z.png", made.encoded(made.textured(9)))
    made.folder(tmp_path / "large", {"a": 3}, height=200, width=200)
    assert prepare(tmp_path / "same").shape == (30, 20, 3)
    assert prepare(tmp_path / "mixed").shape == (64, 64, 3)
    assert prepare(tmp_path / "large").shape == (64, 64, 3)
    assert check(tmp_path / "large").suggested_size == 128


def test_grey_pictures_have_one_channel(tmp_path):
    made.folder(tmp_path / "grey", {"a": 3}, channels=1)
    grey = made.textured(9, channels=1)
    made.write(tmp_path / "grey" / "rgb.png", made.encoded(np.repeat(grey, 3, axis=2)))
    data = prepare(tmp_path / "grey")
    assert data.shape == (24, 24, 1)
    row = next(one["row"] for one in data.manifest["files"] if "rgb" in one["file"])
    assert (data.images.gather(np.array([row]))[0] == grey).all()
    assert prepare(tmp_path / "grey", channels=3).shape[2] == 3
    made.write(tmp_path / "grey" / "colour.png", made.encoded(made.textured(10)))
    assert prepare(tmp_path / "grey").shape[2] == 3


@pytest.mark.parametrize(
    ("split", "wanted"),
    [
        (None, {"train": 54, "val": 6}),
        ("0.25", {"train": 45, "val": 15}),
        ("0.1,0.2", {"train": 42, "val": 6, "test": 12}),
        ("none", {"train": 60}),
    ],
)
def test_splits(pets, split, wanted):
    assert sizes(prepare(pets, split=split)) == wanted


@pytest.mark.parametrize("split", ["0", "1", "0.6,0.6", "0.1,0.1,0.1", "tran", "-0.1", "nan"])
def test_splits_that_are_none(pets, split):
    with pytest.raises(InputError, match="split"):
        prepare(pets, split=split)


def test_two_pictures_are_enough(tmp_path):
    made.folder(tmp_path, {"a": 2})
    assert sizes(prepare(tmp_path)) == {"train": 1, "val": 1}


def test_the_seed_decides(pets):
    names = [{one["file"] for one in prepare(pets, seed=s).manifest["files"] if one["split"] == "val"} for s in (0, 0, 1)]
    assert names[0] == names[1] != names[2]


def test_limit_is_spread_over_classes(pets):
    data = prepare(pets, limit=30)
    assert summary(data)["classes"] == {"cat": 20, "dog": 10}


def test_duplicates_are_counted_and_stay_together(tmp_path):
    originals = [made.textured(seed, 48, 48) for seed in range(30)]
    for number, pixels in enumerate(originals):
        made.write(tmp_path / f"{number:02d}a.png", made.encoded(pixels))
        made.write(tmp_path / f"{number:02d}b.bmp", made.encoded(pixels, "BMP"))
        made.write(tmp_path / f"{number:02d}c.jpg", made.encoded(pixels, "JPEG", quality=80))
    for seed in range(4):
        data = prepare(tmp_path, size=32, split="0.3,0.2", seed=seed)
        assert data.manifest["duplicates"] == {"exact": 30, "near": 30}
        of = {}
        for one in data.manifest["files"]:
            of.setdefault(one["file"][:2], set()).add(one["split"])
        assert all(len(splits) == 1 for splits in of.values())
        assert sizes(data) == {"train": 45, "val": 27, "test": 18}


def test_a_held_out_copy_of_a_training_picture_is_moved(tmp_path):
    made.folder(tmp_path / "train", {"a": 5})
    made.folder(tmp_path / "val", {"a": 3}, first_seed=20)
    made.write(tmp_path / "val" / "a" / "copy.jpg", made.encoded(made.textured(3), "JPEG", quality=90))
    data = prepare(tmp_path)
    assert data.manifest["moved"] == ["val/a/copy.jpg"]
    assert sizes(data) == {"train": 6, "val": 3}


def test_published_test_splits_are_not_touched():
    hints = np.array([0, 0, 0, 0, 2, 2], np.int8)
    groups = np.array([0, 1, 2, 3, 0, 5])
    parts, moved = deal(hints, groups, None, SplitRule(), 0, published=True)
    assert parts[4:].tolist() == [2, 2]
    assert len(moved) == 0
    with pytest.raises(InputError, match="published"):
        deal(hints, groups, None, SplitRule.parse("0.1,0.1"), 0, published=True)


def test_different_pictures_are_no_duplicates():
    pixels = np.stack([made.textured(seed, 32, 32) for seed in range(500)])
    groups = find_groups(signatures(pixels), None)
    assert (groups.exact, groups.near) == (0, 0)
    assert len(np.unique(groups.of)) == 500


def test_choose_takes_whole_groups_and_shares():
    rng = np.random.default_rng(0)
    strata = rng.integers(0, 5, 1000)
    groups = np.arange(1000) // 2
    strata = strata[groups * 2]
    chosen = choose(groups, strata, 100, 0, "val")
    assert (chosen[::2] == chosen[1::2]).all()
    share = np.bincount(strata[chosen], minlength=5) / np.bincount(strata)
    assert np.abs(share - 0.1).max() < 0.02
    assert not (chosen == choose(groups, strata, 100, 1, "val")).all()


def test_the_cache_opens_at_once_and_notices_changes(pets):
    events = []
    first = prepare(pets, on_progress=events.append)
    assert (events[-1].what, events[-1].done, events[-1].total) == (READING, 60, 60)
    events.clear()
    assert prepare(pets, on_progress=events.append).path == first.path
    assert not events
    made.write(pets / "cat" / "new.png", made.encoded(made.textured(77)))
    assert len(prepare(pets).images) == 61


def test_two_at_once_and_a_damaged_cache(pets):
    inner = []
    outer = prepare(pets, on_progress=lambda event: inner or inner.append(prepare(pets)))
    assert outer.path == inner[0].path
    assert outer.fingerprint == inner[0].fingerprint
    (outer.path / "images.npy").unlink()
    assert prepare(pets).fingerprint == outer.fingerprint


def test_out(pets, tmp_path):
    out = tmp_path / "out"
    data = prepare(pets, out=out)
    assert data.path == out
    assert prepare(pets, out=out).fingerprint == data.fingerprint
    with pytest.raises(InputError, match="exists already"):
        prepare(pets, out=out, size=8)
    with pytest.raises(InputError, match="exists already"):
        prepare(pets, out=pets)
    again = prepare(out)
    assert check(out).summary()["fingerprint"] == data.fingerprint
    assert again.fingerprint == data.fingerprint
    assert prepare(out, size=24).path == out
    with pytest.raises(InputError, match="already prepared, with size"):
        prepare(out, size=32)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interruption_leaves_nothing(pets, tmp_path, error):
    def stop(event):
        raise error

    out = tmp_path / "place" / "out"
    with pytest.raises(error):
        prepare(pets, out=out, on_progress=stop)
    assert list(out.parent.iterdir()) == []


def test_a_full_disk_is_one_line(pets, tmp_path, monkeypatch):
    def full(self, rows, pixels):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("limner.data.reading.Store.put", full)
    with pytest.raises(InputError, match="no space left"):
        prepare(pets, out=tmp_path / "place" / "out")
    assert list((tmp_path / "place").iterdir()) == []


def test_options_that_are_none(pets):
    for options, message in [
        ({"fit": "crpo"}, "fit 'crpo'.*did you mean 'crop'"),
        ({"channels": 2}, "channels 2"),
        ({"limit": 1}, "limit 1"),
        ({"size": (3, 0)}, "size 3x0"),
        ({"seed": -1}, "seed"),
        ({"background": "wihte"}, "background"),
        ({"split": "test"}, "no split 'test'"),
    ]:
        with pytest.raises(InputError, match=message):
            prepare(pets, **options)


def test_indices_names_the_splits(pets):
    with pytest.raises(InputError, match=r"no split 'vla' \(it has: train, val\); did you mean 'val'"):
        prepare(pets).indices("vla")


def test_shards_are_joined_split_by_split(tmp_path):
    shards = []
    for number in range(3):
        root = made.folder(tmp_path / f"s{number}", {"a": 10, "b": 10}, first_seed=100 * number)
        shards.append(prepare(root, split="0.2", out=tmp_path / f"p{number}"))
    joined = open_dataset([shard.path for shard in shards])
    assert sizes(joined) == {"train": 48, "val": 12}
    for split in ("train", "val"):
        pixels = np.concatenate([shard.images.gather(shard.indices(split)) for shard in shards])
        labels = np.concatenate([shard.labels[shard.indices(split)] for shard in shards])
        assert (joined.images.gather(joined.indices(split)) == pixels).all()
        assert (joined.labels[joined.indices(split)] == labels).all()
    mixed = np.random.default_rng(0).integers(0, 60, 200)
    every = joined.images.gather(np.arange(60))
    assert (joined.images.gather(mixed) == every[mixed]).all()
    assert joined.images.gather(mixed).flags["C_CONTIGUOUS"]
    with pytest.raises(IndexError):
        joined.images.gather(np.array([60]))
    with pytest.raises(IndexError):
        shards[0].images.gather(np.array([-1]))
    other = prepare(tmp_path / "s0", size=8, out=tmp_path / "small")
    with pytest.raises(InputError, match="shape"):
        open_dataset([shards[0].path, other.path])


def test_what_is_no_prepared_folder(pets, tmp_path):
    with pytest.raises(InputError, match="not a prepared"):
        open_dataset(pets)
    data = prepare(pets, out=tmp_path / "out")
    (data.path / "labels.npy").unlink()
    with pytest.raises(InputError, match="damaged"):
        open_dataset(data.path)
    np.save(data.path / "labels.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="damaged"):  # an array that would unpickle objects is refused
        open_dataset(data.path)
    shutil.copy(data.path / "manifest.json", data.path / "kept")
    (data.path / "manifest.json").write_text(
        (data.path / "kept").read_text().replace('"schema_version": 1', '"schema_version": 9')
    )
    with pytest.raises(InputError, match="another version"):
        open_dataset(data.path)


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("options", {"numpy", "torch", "PIL", "fsspec", "limner.data.sources"}),
        ("prepare", {"torch", "sklearn", "scipy", "fsspec", "pooch"}),
    ],
)
def test_the_import_is_light(module, absent):
    code = f"import sys, limner.data.{module}; print(sorted({absent} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_the_options_are_described_in_a_tenth_of_a_second():
    code = """
import time
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
class Any(BaseModel):  # pydantic imports much when its first model is made
    side: int | None = Field(None, ge=1)
before = time.process_time()
import limner.data.options
print(time.process_time() - before)
"""
    seconds = min(
        float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout) for _ in range(3)
    )
    assert seconds < 0.1

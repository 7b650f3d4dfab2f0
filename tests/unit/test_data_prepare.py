"""Prepared folders: splits, duplicates, the cache, and that nothing half-made is left."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile

import numpy as np
import pytest
from PIL import Image

import made
from limner.core.errors import InputError
from limner.data import content
from limner.data.dataset import open_dataset, summary
from limner.data.duplicates import find_groups, signatures
from limner.data.options import DataOptions, SplitRule
from limner.data.prepare import check, prepare, prepare_source
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


# ---- identity by content ------------------------------------------------------------------------------------------------


def stamped(path, seconds=1_000_000_000):
    """`path`, with the time of change of all its files set back, as `touch -d` and `rsync --times` do."""
    for file in [path] if path.is_file() else path.rglob("*"):
        os.utime(file, (seconds, seconds))
    return path


def bitmaps(seed, count=6):
    """[count, 8, 8, 3]: pictures whose files are all of one size."""
    return np.random.default_rng(seed).integers(0, 256, (count, 8, 8, 3), np.uint8)


def write_folder(path, seed):
    for number, picture in enumerate(bitmaps(seed)):
        made.write(path / f"{number}.bmp", made.encoded(picture, "BMP"))


def write_zip(path, seed):
    with zipfile.ZipFile(path, "w") as archive:
        for number, picture in enumerate(bitmaps(seed)):
            archive.writestr(zipfile.ZipInfo(f"{number}.bmp"), made.encoded(picture, "BMP"))


def write_tar(path, seed):
    with tarfile.open(path, "w") as archive:
        for number, picture in enumerate(bitmaps(seed)):
            about, data = tarfile.TarInfo(f"{number}.bmp"), made.encoded(picture, "BMP")
            about.size = len(data)
            archive.addfile(about, io.BytesIO(data))


def write_table(path, seed):
    """The same pictures, with captions of one length."""
    write_folder(path, 0)
    rows = [f"{number}.bmp,caption {seed}{number}" for number in range(6)]
    made.write(path / "metadata.csv", "\n".join(["file_name,text", *rows]).encode())


def write_idx_folder(path, seed):
    made.write(path / "train-images-idx3-ubyte", made.idx(bitmaps(seed)[..., 0]))


def write_cifar(path, seed):
    records = np.random.default_rng(seed).integers(0, 256, (20, 3073), np.uint8)
    records[:, 0] %= 10
    made.write(path / "data_batch_1.bin", records.tobytes())


KINDS = {
    "folder": ("set", write_folder),
    "zip": ("set.zip", write_zip),
    "tar": ("set.tar", write_tar),
    "captions": ("set", write_table),
    "npy": ("set.npy", lambda path, seed: np.save(path, bitmaps(seed))),
    "npz": ("set.npz", lambda path, seed: np.savez(path, images=bitmaps(seed))),
    "IDX folder": ("set", write_idx_folder),
    "IDX file": ("images-idx3-ubyte", lambda path, seed: made.write(path, made.idx(bitmaps(seed)[..., 0]))),
    "IDX labels": (
        "images-idx3-ubyte",
        lambda path, seed: [
            made.write(path, made.idx(bitmaps(0)[..., 0])),
            made.write(path.with_name("labels-idx1-ubyte"), made.idx(np.arange(seed, seed + 6, dtype=np.uint8) % 7)),
        ],
    ),
    "CIFAR": ("set", write_cifar),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_set_is_what_its_files_hold_and_not_what_they_are_called(kind, tmp_path):
    name, write = KINDS[kind]
    (tmp_path / "one").mkdir(), (tmp_path / "other").mkdir()
    for place, seed in (("one", 1), ("other", 2)):
        write(tmp_path / place / name, seed)
        stamped(tmp_path / place)
    one, other = (prepare(tmp_path / place / name) for place in ("one", "other"))
    assert one.fingerprint != other.fingerprint, "two places: equal names, sizes and times"
    assert other.fingerprint == check(tmp_path / "other" / name).fingerprint
    write(tmp_path / "one" / name, 2)
    stamped(tmp_path / "one")
    assert prepare(tmp_path / "one" / name).path == other.path, "changed in place with times kept; then equal to the other"


def test_what_is_remembered_of_files_ends_with_any_change(tmp_path, monkeypatch):
    """Without the bytes being read again, unless the state of a file, its ctime among it, says that they may have changed."""
    write_folder(tmp_path / "set", 1)
    stamped(tmp_path / "set")
    real, read = content.sha256, []
    monkeypatch.setattr(content, "sha256", lambda path: read.append(path.name) or real(path))
    monkeypatch.setattr(content, "_TICK", 0)
    first = prepare(tmp_path / "set")
    assert len(read) == 6
    assert prepare(tmp_path / "set").path == prepare(tmp_path / "set").path == first.path
    assert len(read) == 6, "nothing changed: nothing is read"
    write_folder(tmp_path / "set", 2)
    stamped(tmp_path / "set")
    assert prepare(tmp_path / "set").path != first.path
    assert len(read) == 12
    for record in (content.cache_folder() / "digests").iterdir():
        record.write_text("{}")  # damaged: read again
    assert prepare(tmp_path / "set").path != first.path
    assert len(read) == 18


def test_a_change_within_a_step_of_the_clock_is_noticed(tmp_path):
    """What was written a moment ago may be written again with the same times: nothing is remembered of it yet."""
    for _ in range(5):
        seen = set()
        for seed in range(4):
            write_folder(tmp_path / "set", seed)
            stamped(tmp_path / "set")
            seen.add(prepare(tmp_path / "set").fingerprint)
        assert len(seen) == 4


def test_pictures_that_change_while_they_are_read(tmp_path):
    write_folder(tmp_path / "set", 1)

    def change(event):
        write_folder(tmp_path / "set", 2)

    with pytest.raises(InputError, match="changed while it was read; run the same command again"):
        prepare(tmp_path / "set", on_progress=change)
    assert not list(tmp_path.rglob("manifest.json"))


def test_one_set_has_one_folder_whether_its_shape_is_named_or_left_open(tmp_path):
    """As a recipe names what `train` found out: a resumed run opens what the first one prepared."""
    write_folder(tmp_path / "set", 1)
    opened = prepare(tmp_path / "set")
    events = []
    for options in ({"size": 8}, {"size": (8, 8), "channels": 3}, {"channels": 3}):
        assert prepare(tmp_path / "set", **options, on_progress=events.append).path == opened.path
    assert not events
    write_folder(tmp_path / "grey", 1)
    named = prepare(tmp_path / "grey", size=16, channels=1)
    assert prepare(tmp_path / "grey").shape == (8, 8, 3), "what was named is not what is left open"
    assert prepare(tmp_path / "grey", size=16, channels=1).path == named.path
    write_folder(tmp_path / "later", 1)
    first = prepare(tmp_path / "later", size=8, channels=3)
    assert prepare(tmp_path / "later", on_progress=events.append).path == first.path
    assert events
    events.clear()
    assert prepare(tmp_path / "later", on_progress=events.append).path == first.path
    assert not events, "it was read once more to learn that it comes to the same, and never again"
    assert prepare(tmp_path / "later", rules=1).fingerprint == first.fingerprint
    assert prepare(tmp_path / "later", rules=1, size=8).path != first.path, "by rules 1 folders are named as before"


def test_a_run_on_pictures_of_16_bits_opens_what_it_was_trained_on(tmp_path):
    """Its recipe names the range of values that was left open when they were prepared."""
    for number in range(4):
        wide = np.random.default_rng(number).integers(0, 4096, (8, 8)).astype(np.uint16)
        made.write(tmp_path / "wide" / f"{number}.png", made.encoded(wide[..., None]))
    first = prepare(tmp_path / "wide")
    assert first.value_range == (0, 4095)
    recorded = DataOptions.of({"size": 8, "channels": 1, "value_range": first.value_range})
    events = []
    again = prepare_source(tmp_path / "wide", recorded, on_progress=events.append, fingerprint=first.fingerprint)
    assert again.path == first.path
    assert not events


def damage_pixels(path):
    with (path / "images.npy").open("r+b") as file:
        file.seek(-5, os.SEEK_END)
        file.write(b"\1")


def damage_labels(path):
    labels = np.load(path / "labels.npy")
    labels[0] = 1 - labels[0]
    np.save(path / "labels.npy", labels)


def damage_range(path):
    labels = np.load(path / "labels.npy")
    labels[0] = 99
    np.save(path / "labels.npy", labels)


def damage_class_name(path):
    text = (path / "manifest.json").read_text()
    (path / "manifest.json").write_text(text.replace('["cat", "dog"]', '["cat", "dot"]'))


def damage_fingerprint(path):
    manifest = json.loads((path / "manifest.json").read_text())
    digest = manifest["fingerprint"]
    text = (path / "manifest.json").read_text()
    (path / "manifest.json").write_text(text.replace(digest, f"{(int(digest, 16) ^ 1):064x}"))


def empty(name):
    return lambda path: (path / name).write_bytes(b"")


DAMAGE = {
    "a pixel": damage_pixels,
    "all pixels": lambda path: np.save(path / "images.npy", np.zeros_like(np.load(path / "images.npy"))),
    "a label": damage_labels,
    "a label out of range": damage_range,
    "the name of a class": damage_class_name,
    "the fingerprint": damage_fingerprint,
    "no pixels": empty("images.npy"),
    "no labels": empty("labels.npy"),
    "an empty manifest": empty("manifest.json"),
    "half a manifest": lambda path: os.truncate(path / "manifest.json", 300),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_set_is_made_anew_in_the_cache_and_refused_elsewhere(damage, pets, tmp_path, monkeypatch):
    monkeypatch.setattr(content, "_TICK", 0)
    first = prepare(pets)
    images = first.images.gather(np.arange(60))
    own = prepare(pets, out=tmp_path / "own")
    assert open_dataset(own.path).fingerprint == first.fingerprint
    times = {path: path.stat() for folder in (first, own) for path in folder.path.iterdir()}
    for folder in (first, own):
        DAMAGE[damage](folder.path)
    for path, state in times.items():
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    events = []
    again = prepare(pets, on_progress=events.append)
    assert any("is damaged (" in event.note and "made anew" in event.note for event in events)
    assert again.path == first.path
    assert again.fingerprint == first.fingerprint
    assert again.classes == ("cat", "dog")
    assert (again.images.gather(np.arange(60)) == images).all()
    for attempt in (open_dataset, prepare, check):
        with pytest.raises(InputError, match=r"own is damaged \(.*\); remove it and prepare it again") as error:
            attempt(own.path)
        assert "\n" not in str(error.value)


def test_a_check_of_a_prepared_folder_reads_every_byte(pets, tmp_path, monkeypatch):
    """Even where the state of the files is that of the last time, as after damage to the disk."""
    data = prepare(pets, out=tmp_path / "own")
    monkeypatch.setattr(content, "_state", lambda paths: content._State("the same", True))
    open_dataset(data.path)
    damage_pixels(data.path)
    assert open_dataset(data.path).fingerprint == data.fingerprint
    with pytest.raises(InputError, match="own is damaged"):
        check(data.path)


@pytest.mark.parametrize("options", [{}, {"channels": 4}, {"channels": 1}, {"binary": True}, {"labels": "none"}, {"limit": 20}])
def test_what_is_prepared_opens_in_every_form(options, tmp_path):
    """The fingerprint that is computed of the arrays is the one that was computed while they were read."""
    made.folder(tmp_path / "set", {"cat": 20, "dog": 20})
    for number in range(4):
        made.write(tmp_path / "set" / "cat" / f"grey{number}.png", made.encoded(made.textured(200 + number, channels=1)))
        made.write(tmp_path / "set" / "dog" / f"clear{number}.png", made.encoded(made.textured(300 + number, channels=4)))
    data = prepare(tmp_path / "set", **options)
    assert open_dataset(data.path, verify=True).fingerprint == check(tmp_path / "set", **options).fingerprint


def test_a_folder_that_may_not_be_read_is_not_called_damaged(pets, tmp_path, monkeypatch):
    data = prepare(pets, out=tmp_path / "own")
    real = np.load

    def refused(path, *rest, **more):
        if str(path).endswith("labels.npy"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *rest, **more)

    monkeypatch.setattr(np, "load", refused)
    with pytest.raises(InputError, match=r"cannot be read \(Permission denied: .*labels.npy\); check that you may read it"):
        open_dataset(data.path)

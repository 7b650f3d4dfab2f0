"""How folders become splits and classes, and what is left out of them: the rule of docs/data.md."""

from __future__ import annotations

import os
import socket
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

import made
from limner.core.errors import InputError
from limner.core.progress import Progress
from limner.data.listing import Files, Listing
from limner.data.options import SPLITS, DataOptions, SplitRule
from limner.data.plan import note_moves
from limner.data.prepare import check, prepare
from limner.data.sources import find_source
from limner.data.splits import copies_of_test_pictures


def listed(source: object, **options: object) -> Listing:
    """What is listed of a source; its pictures are not decoded, so that they may be empty files."""
    return find_source(source).listing(DataOptions.of(options))


def tree(root: Path, names: Iterable[str]) -> Path:
    """Empty files below `root`. ``cat*3/.png`` stands for cat/0.png, cat/1.png and cat/2.png."""
    for name in names:
        folder, _, count = name.partition("*")
        for number in range(int(count or 0)):
            made.write(root / folder / f"{number}.png", b"")
        if not count:
            made.write(root / name, b"")
    return root


def counted(listing: Listing) -> dict[str, int]:
    """``{"train/cat": 3}``: how many pictures have each split and class; "-" for none."""
    labels = np.full(len(listing), -1) if listing.labels is None else listing.labels
    names = [*listing.classes, "-"]
    splits = [*SPLITS, "-"]
    return dict(Counter(f"{splits[hint]}/{names[label]}" for hint, label in zip(listing.hints, labels, strict=True)))


LAYOUTS = {
    "training and testing": (
        ["training/cat*3", "training/dog*3", "testing/cat*2", "testing/dog*1"],
        {"train/cat": 3, "train/dog": 3, "test/cat": 2, "test/dog": 1},
    ),
    "numbers": (["train*4", "test1*2"], {"train/-": 4, "test/-": 2}),
    "years": (["train2017*4", "val2017*2"], {"train/-": 4, "val/-": 2}),
    "upper case, three": (["Train*4", "Valid*1", "Eval*2"], {"train/-": 4, "val/-": 1, "test/-": 2}),
    "development": (["train*4", "dev*1"], {"train/-": 4, "val/-": 1}),
    "set": (["training_set/a*2", "training_set/b*2", "test set/a*1"], {"train/a": 2, "train/b": 2, "test/a": 1}),
    "written together": (["TrainImages*4", "TestImages*2"], {"train/-": 4, "test/-": 2}),
    "below a wrapper": (["images/train*3", "images/val*2"], {"train/-": 3, "val/-": 2}),
    "in each class": (["cat/train*3", "cat/test*1", "dog/train*3"], {"train/cat": 3, "test/cat": 1, "train/dog": 3}),
    "one addition": (
        ["seg_train/seg_train/a*3", "seg_train/seg_train/b*3", "seg_test/seg_test/a*1", "seg_pred/seg_pred*2"],
        {"train/a": 3, "train/b": 3, "test/a": 1},
    ),
    "wrapper below splits": (
        ["train/images/a*2", "train/images/b*2", "test/images/a*1"],
        {"train/a": 2, "train/b": 2, "test/a": 1},
    ),
    "test without classes": (["train/a*2", "train/b*2", "test/all*3"], {"train/a": 2, "train/b": 2, "test/-": 3}),
    "one class in test": (["train/a*2", "train/b*2", "test/b*1"], {"train/a": 2, "train/b": 2, "test/b": 1}),
    "nothing but train": (["train/a*2", "train/b*2"], {"train/a": 2, "train/b": 2}),
    "a stray picture before splits": (["x.png", "set/train*2", "set/test*1"], {"train/-": 2, "test/-": 1}),
    "a stray picture before train": (["x.png", "train/a*2", "train/b*2"], {"train/a": 2, "train/b": 2, "-/-": 1}),
    "a stray picture beside a wrapper": (["x.png", "set/rose*3", "set/tulip*2"], {"-/rose": 3, "-/tulip": 2, "-/-": 1}),
    "a stray picture beside classes": (["x.png", "rose*3", "tulip*2"], {"-/rose": 3, "-/tulip": 2, "-/-": 1}),
    "deeper folders": (["cat/2019*1", "cat/2020*2", "dog/2019*1"], {"-/cat": 3, "-/dog": 1}),
    "three wrappers": (["a/b/c/cat*2", "a/b/c/dog*1"], {"-/cat": 2, "-/dog": 1}),
    "vehicles": (["boat*2", "car*2", "train*2"], {"-/boat": 2, "-/car": 2, "-/train": 2}),
    "stations": (["train_station*2", "test_track*2"], {"-/test_track": 2, "-/train_station": 2}),
    "a lone test": (["test/a*2", "test/b*2"], {"-/a": 2, "-/b": 2}),
    "flat": (["x.png", "y.png"], {"-/-": 2}),
    "shards": (["part-0*2", "part-1*2"], {"-/-": 4}),
    "numbers that are classes": (["00000*2", "00001*2"], {"-/00000": 2, "-/00001": 2}),
    "StyleGAN": ([f"{n // 1000:05d}/img{n:08d}.png" for n in (0, 1, 1000, 1001)], {"-/-": 4}),
    "FFHQ": ([f"{n - n % 1000:05d}/{n:05d}.png" for n in (0, 1, 1000, 1001)], {"-/-": 4}),
    "two pairs": (["images_train*2", "images_test*1", "masks_train*2", "masks_test*1"], {"train/-": 2, "test/-": 1}),
}


@pytest.mark.parametrize("case", LAYOUTS)
def test_folders_become_splits_and_classes(case: str, tmp_path: Path) -> None:
    names, wanted = LAYOUTS[case]
    assert counted(listed(tree(tmp_path, names))) == wanted


def test_what_folders_are_taken_for_is_said(tmp_path: Path) -> None:
    pets = listed(tree(tmp_path / "pets", ["cat*2", "dog*2", "x.png"]))
    assert pets.notes == (
        (
            "2 folders are classes, because they lie side by side and hold pictures: cat, dog; "
            "set data.labels=none if they are none"
        ),
        "1 picture lies in none of them and has no class: x.png",
    )
    assert listed(tmp_path / "pets", labels="none").notes == ()
    split = listed(tree(tmp_path / "split", ["train*2", "test1*2", "more*1"]))
    assert split.notes == ("splits by the names of folders: test1 (test), train; set data.split=none if they are none",)
    assert [one.file for one in split.rejected] == ["more/0.png"]
    assert counted(listed(tmp_path / "split", split="none")) == {"-/test1": 2, "-/train": 2, "-/more": 1}


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["test*2", "x.png"], "test is not held out, since no folder train lies beside"),
        (["test*2", "cat*2"], "test is not held out, since no folder train lies beside"),
        (["train_a*2", "test_b*2"], "test_b is not held out"),
        (["car*2", "train*2"], "the folder train is no split, since neither val nor test lies beside it"),
        (["shard0*2", "shard1*2"], "shard0, shard1 are numbered parts of one set, no classes"),
    ],
)
def test_folders_that_are_not_what_they_are_called_are_named(names: list[str], words: str, tmp_path: Path) -> None:
    assert words in "\n".join(listed(tree(tmp_path, names)).notes)


def test_what_servers_and_systems_add_is_left_out(tmp_path: Path) -> None:
    added = ["@eaDir/0.png*2", "@Recycle*1", "#recycle/cat*1", "lost+found*1", "$RECYCLE.BIN*1", "System Volume Information*1"]
    tree(tmp_path, ["cat*2", "dog*2", "cat/@eaDir*3", "cat/thumbs*2", "Thumbnails*2", "cat/._0.png", ".thumbnails*3", *added])
    tree(tmp_path, ["__MACOSX/cat*2"])
    pets = listed(tmp_path)
    assert counted(pets) == {"-/cat": 2, "-/dog": 2}
    assert pets.rejected == ()
    notes = "\n".join(pets.notes)
    assert "left out: @eaDir (thumbnails of a Synology file server)" in notes
    assert "left out: #recycle, $RECYCLE.BIN, @Recycle (a folder of deleted files)" in notes
    assert "left out: Thumbnails, thumbs (thumbnails; rename the folder if it is meant)" in notes
    assert "lost+found" in notes
    assert ".thumbnails" not in notes, "hidden files are nothing to speak of"


def test_a_set_of_thumbnails_is_one(tmp_path: Path) -> None:
    assert len(listed(tree(tmp_path, ["thumbnails/a*2", "thumbnails/b*1"]))) == 3
    assert len(listed(tmp_path / "thumbnails")) == 3


def test_what_limner_made_among_the_pictures_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a run that lies among its own pictures resumes, whatever it draws."""
    tree(tmp_path, ["cat*2", "cat/report.html", "cat/samples.png", "dog*2"])
    identity = find_source(tmp_path).identity()
    run = ["recipe.yaml", "status.json", "previews*3", "made/0001-sample*4"]
    tree(tmp_path / "runs" / "0001-x", run)
    tree(tmp_path / "cat" / "packed", ["manifest.json", "images.npy", "sheet.png"])
    tree(tmp_path / "judged", ["report.json", "report.html", "samples.png", "report-1.json", "samples-1.png"])
    tree(tmp_path / "comparisons" / "a-b", ["compare.html", "compare.png"])
    made.write(tmp_path / "store" / "sources" / "0.png", b"")
    monkeypatch.setenv("LIMNER_CACHE", str(tmp_path / "store"))
    pets = listed(tmp_path)
    assert counted(pets) == {"-/cat": 3, "-/dog": 2}, "a folder with pictures of a person is that person's"
    assert pets.other == 1
    assert "left out: comparisons/a-b, judged (a report of limner)" in pets.notes
    assert find_source(tmp_path).identity() == identity
    assert "left out: runs/0001-x (a run of limner)" in pets.notes
    assert "left out: cat/packed (a prepared set of limner)" in pets.notes
    assert "left out: store (the cache of limner)" in pets.notes
    assert len(listed(tmp_path / "runs" / "0001-x")) == 7, "what a person names is read"
    with pytest.raises(InputError, match=r"is empty.*left out: 0001-x \(a run of limner\)"):
        listed(tmp_path / "runs")


def test_by_rules_1_folders_are_read_as_before(tmp_path: Path) -> None:
    tree(tmp_path / "a", ["training/cat*3", "testing/cat*2", "@eaDir*1"])
    assert counted(listed(tmp_path / "a", rules=1)) == {"-/training": 3, "-/testing": 2, "-/@eaDir": 1}
    tree(tmp_path / "b", ["x.png", "set/rose*3", "set/tulip*2"])
    assert counted(listed(tmp_path / "b", rules=1)) == {"-/-": 6}
    tree(tmp_path / "c", ["train/a*1", "train/b*2", "Validation/b*1", "x.png"])
    assert counted(listed(tmp_path / "c", rules=1)) == {"train/a": 1, "train/b": 2, "val/b": 1}
    tree(tmp_path / "d", ["runs/0001-x/recipe.yaml", "runs/0001-x/status.json", "runs/0001-x/previews*2", "cat*2"])
    assert counted(listed(tmp_path / "d", rules=1)) == {"-/cat": 2, "-/runs": 2}
    for name in "abcd":
        assert listed(tmp_path / name, rules=1).notes == ()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
@pytest.mark.parametrize("rules", [1, 2])
def test_what_is_no_regular_file_is_set_aside(rules: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe would be waited for, and a device may never end."""
    made.folder(tmp_path, {"a": 3})
    os.mkfifo(tmp_path / "a" / "pipe.png")
    os.symlink("/dev/zero", tmp_path / "a" / "zero.png")
    monkeypatch.chdir(tmp_path)  # the name of a socket is short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("a/socket.png")
        report = check(tmp_path, rules=rules)
    assert report.images == 3
    assert {one.file: one.reason for one in report.rejected} == {
        "a/pipe.png": "is a named pipe, not a regular file",
        "a/socket.png": "is a socket, not a regular file",
        "a/zero.png": "is a device, not a regular file",
    }


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
@pytest.mark.parametrize("name", ["x.zip", "x.tar.gz", "x.npy", "x.npz", "x-images-idx3-ubyte", "x.png"])
def test_a_source_that_is_no_regular_file_is_refused(name: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(InputError, match="named pipe"):
        check(tmp_path / name)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl", "dataset.json"])
def test_a_table_that_is_no_regular_file_is_refused(name: str, tmp_path: Path) -> None:
    tree(tmp_path, ["x.png"])
    os.mkfifo(tmp_path / name)
    with pytest.raises(InputError, match=f"{name} cannot be read .is a named pipe, not a regular file"):
        listed(tmp_path)


def test_what_may_not_be_read_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs as root may read anything, so that the refusal is made up here."""
    tree(tmp_path / "set", ["a*2", "b*2"])
    made.write(tmp_path / "set" / "metadata.csv", b"file_name,label\na/0.png,1\n")

    def refuse(*_: object, **__: object) -> bytes:
        raise PermissionError(13, "Permission denied", "x")

    for owner, name, words in [
        (Path, "read_bytes", "cannot read .*metadata.csv .Permission denied"),
        (os, "scandir", "cannot read the folder"),
        (Path, "iterdir", "cannot read .*set .Permission denied"),
    ]:
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, refuse)
            with pytest.raises(InputError, match=words) as error:
                listed(tmp_path / "set")
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("x" * 300, "File name too long"),
        ("a\0b", "null"),
        ("~no-such-user/x", "home directory"),
    ],
)
def test_a_path_that_cannot_be_one_is_refused(source: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for verb in (check, prepare):
        for place in (source, Path(source)):
            with pytest.raises(InputError, match=words) as error:
                verb(place)
            assert "\n" not in str(error.value)


def test_a_folder_called_like_a_built_in_set_is_mentioned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    events: list[Progress] = []
    prepare("digits", on_progress=events.append)
    assert not any(event.note for event in events)
    made.folder(tmp_path / "digits", {"a": 3})
    for verb in (check, prepare):
        events.clear()
        assert len(verb("digits", on_progress=events.append).splits) == 3
        notes = [event.note for event in events if event.note]
        assert notes == ["digits is the data set of that name; write ./digits for what lies in this folder"]
    assert check("./digits").images == 3


def test_a_copy_of_a_test_picture_is_left_out(tmp_path: Path) -> None:
    made.folder(tmp_path / "train", {"a": 5})
    made.folder(tmp_path / "val", {"a": 2}, first_seed=20)
    made.folder(tmp_path / "test", {"a": 3}, first_seed=40)
    made.write(tmp_path / "test" / "a" / "copy.bmp", made.encoded(made.textured(3), "BMP"))
    made.write(tmp_path / "test" / "a" / "copy of val.bmp", made.encoded(made.textured(21), "BMP"))
    report = check(tmp_path)
    assert report.splits == {"train": 4, "val": 1, "test": 5}
    assert {one.file: one.reason for one in report.rejected} == {
        "train/a/003.png": "repeats the test picture test/a/copy.bmp",
        "val/a/001.png": "repeats the test picture test/a/copy of val.bmp",
    }
    data = prepare(tmp_path)
    assert {name: len(rows) for name, rows in data.splits.items()} == report.splits
    assert data.fingerprint == report.fingerprint
    assert check(tmp_path, rules=1).splits == {"train": 6, "val": 2, "test": 4}, "as before: moved to train"
    assert sum(check(tmp_path, split="0.3,0.2").splits.values()) == 12, "drawn anew: nothing is left out"


def test_a_move_to_train_is_said(tmp_path: Path) -> None:
    listing = listed(tree(tmp_path, ["train*3", "val*2"]))
    assert note_moves(listing, np.array([], np.int64)) is listing
    note = "2 held-out pictures repeat training ones and were moved to train: val/0.png, val/1.png"
    assert note_moves(listing, np.array([3, 4])).notes == (*listing.notes, note)


def test_a_train_split_of_test_pictures_is_refused(tmp_path: Path) -> None:
    for split in ("train", "test"):
        made.folder(tmp_path / split, {"a": 3})
    with pytest.raises(InputError, match=r"every training picture of .* repeats a test picture"):
        check(tmp_path)


def test_copies_of_test_pictures_by_hand() -> None:
    hints, groups = np.array([0, 0, 1, 2, 2, -1], np.int8), np.array([7, 3, 7, 7, 5, 5])
    assert copies_of_test_pictures(hints, groups, SplitRule()).tolist() == [3, -1, 3, -1, -1, 4]
    assert copies_of_test_pictures(hints, groups, SplitRule.parse("0.1,0.1")).tolist() == [-1] * 6
    assert copies_of_test_pictures(hints[:3], groups[:3], SplitRule()).tolist() == [-1] * 3


def test_files_that_look_like_tables_or_captions_are_named(tmp_path: Path) -> None:
    notes = listed(tree(tmp_path, ["a/0.png", "a/0.txt", "a/1.png", "a/1.txt", "labels.csv", "readme.txt"])).notes
    assert notes == (
        "tables that are not read: labels.csv; call a table metadata.csv or metadata.jsonl",
        (
            "2 files are called like pictures and are not read: a/0.txt, a/1.txt; "
            "captions belong in the column text of metadata.csv"
        ),
    )


def test_a_file_with_a_colon_is_in_its_folder(tmp_path: Path) -> None:
    listing = listed(tree(tmp_path, ["a:1.png", "b.png"]))
    assert isinstance(listing.content, Files)
    assert listing.content.names == ("a:1.png", "b.png")


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names are Unicode here")
def test_a_folder_whose_name_is_not_utf8_is_prepared(tmp_path: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    made.folder(folder, {"a": 3})
    data = prepare(folder)
    assert data.manifest["source"] == str(folder), "an escape in JSON, by which it is found again"
    assert len(data.images) == check(folder).images == 3

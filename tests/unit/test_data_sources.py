"""Folders, archives, tables and bare pixel files: what is found in them, and what is said about what is not."""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
import zipfile

import numpy as np
import pytest

import made
from limner.core.errors import InputError
from limner.data.prepare import check, prepare


def packed(root, path):
    """Packs the folder `root` as the archive `path`, whose extension says how."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in made.tree_bytes(root).items():
                archive.writestr(name, data)
    else:
        with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as archive:
            archive.add(root, root.name)
    return path


def tarred(path, files):
    with tarfile.open(path, "w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def pixels_of(dataset):
    return dataset.images.gather(np.arange(len(dataset.images)))


def test_subfolders_are_classes(tmp_path):
    made.folder(tmp_path / "pets", {"dog": 4, "cat": 6})
    made.write(tmp_path / "pets" / "cat" / "UPPER.PNG", made.encoded(made.textured(90)))
    made.write(tmp_path / "pets" / "readme.txt", b"hello")
    made.write(tmp_path / "pets" / ".hidden.png", b"x")
    made.write(tmp_path / "pets" / "__MACOSX" / "cat" / "x.png", b"x")
    report = check(tmp_path / "pets")
    assert report.classes == {"cat": 7, "dog": 4}
    assert report.images == 11
    assert report.other == 1
    assert report.rejected == ()
    assert prepare(tmp_path / "pets", labels="none").labels is None


def test_number_classes_are_in_number_order(tmp_path):
    made.folder(tmp_path, {"10": 2, "9": 2, "1": 2})
    assert prepare(tmp_path).classes == ("1", "9", "10")


def test_split_folders(tmp_path):
    made.folder(tmp_path / "train", {"a": 3, "b": 3})
    made.folder(tmp_path / "Validation", {"a": 1, "b": 2}, first_seed=50)
    made.folder(tmp_path / "test", {"b": 2}, first_seed=70)
    made.write(tmp_path / "stray.png", made.encoded(made.textured(99)))
    data = prepare(tmp_path)
    assert {name: len(rows) for name, rows in data.splits.items()} == {"train": 6, "val": 3, "test": 2}
    assert data.labels.tolist() == [0, 0, 0, 1, 1, 1, 0, 1, 1, 1, 1]
    assert [one["file"] for one in data.manifest["rejected"]] == ["stray.png"]
    assert all(one["split"] in one["file"].lower() for one in data.manifest["files"])
    assert prepare(tmp_path, split="test").splits.keys() == {"test"}
    assert prepare(tmp_path, split="none").classes == ("Validation", "test", "train")


def test_classes_named_like_splits(tmp_path):
    made.folder(tmp_path, {"car": 3, "train": 3, "boat": 3})
    assert prepare(tmp_path).classes == ("boat", "car", "train")


@pytest.mark.parametrize("end", [".zip", ".tar", ".tar.gz", ".tgz"])
def test_an_archive_equals_its_folder(tmp_path, end):
    root = made.folder(tmp_path / "set", {"a": 4, "b": 5})
    made.write(
        root / "metadata.csv", b"file_name,label,text\n" + b"".join(b"a/%03d.png,x,word %d\n" % (i, i) for i in range(4))
    )
    whole, part = prepare(root), prepare(packed(root, tmp_path / f"copy{end}"))
    assert part.fingerprint == whole.fingerprint
    assert (pixels_of(part) == pixels_of(whole)).all()
    assert part.captions == whole.captions


def test_paths_that_leave_an_archive_are_set_aside(tmp_path):
    good = {f"{number}.png": made.encoded(made.textured(number)) for number in range(3)}
    bad = {"../evil.png": good["0.png"], "/etc/evil.png": good["0.png"], "a/../../evil.png": good["0.png"]}
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        for name, data in (good | bad).items():
            archive.writestr(name, data)
    tarred(tmp_path / "t.tar", good | bad)
    before = sorted(path.name for path in tmp_path.iterdir())
    for name in ("z.zip", "t.tar"):
        data = prepare(tmp_path / name)
        assert len(data.images) == 3
        assert {one["file"] for one in data.manifest["rejected"]} == set(bad)
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_tar_link_is_not_followed(tmp_path):
    files = {f"{number}.png": made.encoded(made.textured(number)) for number in range(2)}
    path = tarred(tmp_path / "t.tar", files)
    with tarfile.open(path, "a") as archive:
        link = tarfile.TarInfo("link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    assert check(path).images == 2


@pytest.mark.parametrize("name", ["broken.zip", "broken.tar.gz", "broken.tar"])
def test_a_damaged_archive(tmp_path, name):
    root = made.folder(tmp_path / "set", {"a": 3})
    whole = packed(root, tmp_path / f"whole.{name.partition('.')[2]}").read_bytes()
    with pytest.raises(InputError, match="damaged"):
        check(made.write(tmp_path / name, whole[: len(whole) // 2]))


def test_symbolic_links_do_not_loop(tmp_path):
    made.folder(tmp_path / "set", {"a": 2, "b": 2})
    os.symlink(tmp_path / "set", tmp_path / "set" / "a" / "up")
    os.symlink(tmp_path / "nowhere.png", tmp_path / "set" / "b" / "dangling.png")
    report = check(tmp_path / "set")
    assert report.images == 4
    assert [one.file for one in report.rejected] == ["b/dangling.png"]


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_tables(tmp_path, kind):
    made.folder(tmp_path, {"images": 4})
    rows = [
        {"file_name": "images/000.png", "label": "one", "text": 'a "first", picture'},
        {"file_name": "./images/001.png", "label": "two", "text": "ein Bär"},
        {"file_name": "images/002.png", "label": "one", "text": ""},
        {"file_name": "images/gone.png", "label": "two", "text": "x"},
        {"file_name": "../outside.png", "label": "two", "text": "x"},
    ]
    if kind == "jsonl":
        text = "\n".join(json.dumps(row) for row in rows)
    else:
        text = "\ufefffile_name,label,text\r\n" + "".join(
            f'{row["file_name"]},{row["label"]},"{row["text"].replace(chr(34), chr(34) * 2)}"\r\n' for row in rows
        )
    made.write(tmp_path / f"metadata.{kind}", text.encode())
    data = prepare(tmp_path)
    by_file = {one["file"]: (int(data.labels[one["row"]]), data.captions[one["row"]]) for one in data.manifest["files"]}
    assert data.classes == ("one", "two")
    assert by_file == {
        "images/000.png": (0, 'a "first", picture'),
        "images/001.png": (1, "ein Bär"),
        "images/002.png": (0, ""),
        "images/003.png": (-1, ""),
    }
    reasons = {one["file"]: one["reason"] for one in data.manifest["rejected"]}
    assert "no such picture" in reasons["images/gone.png"]
    assert "leads out" in reasons["../outside.png"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("metadata.csv", b"filename,label\na.png,1\n", "no column 'file_name'.*did you mean 'filename'"),
        ("metadata.csv", b"file_name,text\n,hello\n", "line 2: no file_name"),
        ("metadata.csv", b"\xff\xfe", "UTF-8"),
        ("metadata.jsonl", b'{"file_name": "a.png"}\n{"file_name":', "line 2: not readable as JSON"),
        ("metadata.jsonl", b"[1]\n", "line 1: not a JSON object"),
        ("metadata.jsonl", b"\n", "no rows"),
    ],
)
def test_broken_tables(tmp_path, name, text, message):
    made.folder(tmp_path, {"a": 2})
    made.write(tmp_path / name, text)
    with pytest.raises(InputError, match=message):
        check(tmp_path)


def test_what_is_no_source(tmp_path):
    (tmp_path / "empty").mkdir()
    made.write(tmp_path / "texts" / "a.txt", b"x")
    made.write(tmp_path / "one" / "a.png", made.encoded(made.textured(0)))
    made.write(tmp_path / "file.bin", b"x")
    for source, message in [
        ("empty", "is empty"),
        ("texts", "no picture"),
        ("one", "a single picture cannot train"),
        ("gone", "there is no"),
        ("file.bin", "of no kind that holds a set of pictures; give a folder of pictures, an IDX file, a .zip"),
    ]:
        with pytest.raises(InputError, match=message) as error:
            check(tmp_path / source)
        assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="did you mean 'mnist'"):
        check("mnits")


def test_faults_are_set_aside_by_name(tmp_path):
    made.folder(tmp_path, {"good": 5})
    for name, data in made.faults().items():
        made.write(tmp_path / "bad" / name, data)
    data = prepare(tmp_path)
    assert len(data.images) == 5
    assert {one["file"] for one in data.manifest["rejected"]} == {f"bad/{name}" for name in made.faults()}


def test_all_rejected_names_the_first_reasons(tmp_path):
    for name, data in made.faults().items():
        made.write(tmp_path / name, data)
    with pytest.raises(InputError, match=r"6 set aside: bomb.png: too many pixels to open safely.*; \.\.\."):
        check(tmp_path)


def test_file_names_that_are_not_utf8(tmp_path):
    made.folder(tmp_path, {"a": 2})
    raw = os.fsencode(tmp_path) + b"/a/\xff\xfe.png"
    with open(raw, "wb") as handle:
        handle.write(made.encoded(made.textured(50)))
    assert len(prepare(tmp_path).images) == 3


@pytest.mark.parametrize("wrap", [bytes, gzip.compress])
def test_idx_folder_and_pair(tmp_path, wrap):
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (40, 9, 7), dtype=np.uint8), rng.integers(0, 3, 40, dtype=np.uint8)
    end = "" if wrap is bytes else ".gz"
    for stem, part in (("train", slice(0, 30)), ("t10k", slice(30, 40))):
        made.write(tmp_path / f"{stem}-images-idx3-ubyte{end}", wrap(made.idx(images[part])))
        made.write(tmp_path / f"{stem}-labels-idx1-ubyte{end}", wrap(made.idx(labels[part])))
    data = prepare(tmp_path)
    assert data.shape == (9, 7, 1)
    assert {name: len(rows) for name, rows in data.splits.items()} == {"train": 27, "val": 3, "test": 10}
    assert (data.images.gather(data.indices("test"))[..., 0] == images[30:]).all()
    assert (data.labels[data.indices("test")] == labels[30:]).all()
    assert len(prepare(tmp_path / f"t10k-images-idx3-ubyte{end}", split="none").images) == 10


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0\0\x0d\x03" + bytes(20),
        made.idx(np.zeros((2, 3, 3), np.uint8))[:-1],
        made.idx(np.zeros((2, 3, 3), np.uint8)) + b"x",
    ],
)
def test_broken_idx(tmp_path, data):
    with pytest.raises(InputError, match="idx3"):
        check(made.write(tmp_path / "x-images-idx3-ubyte", data))


def test_cifar_layout(tmp_path):
    rng = np.random.default_rng(0)
    records = rng.integers(0, 256, (20, 3073), dtype=np.uint8)
    records[:, 0] = np.arange(20) % 10
    made.write(tmp_path / "data_batch_1.bin", records[:15].tobytes())
    made.write(tmp_path / "test_batch.bin", records[15:].tobytes())
    data = prepare(tmp_path)
    assert data.shape == (32, 32, 3)
    test = data.images.gather(data.indices("test"))
    assert (test[0, 5, 9] == records[15, 1:].reshape(3, 32, 32)[:, 5, 9]).all()
    made.write(tmp_path / "test_batch.bin", b"x" * 100)
    with pytest.raises(InputError, match="not a multiple"):
        check(tmp_path)

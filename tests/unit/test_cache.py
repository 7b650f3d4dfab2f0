"""The cache is shown and cleared: only what limner put there, nothing that is in use or could not be made again."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from limner.core.cache import hold, is_held
from limner.core.progress import silent
from limner.data.cache import cache_entries, clear
from limner.data.prepare import prepare
from limner.tasks.cache import CacheRequest, cache


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    monkeypatch.setenv("LIMNER_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    return tmp_path / "cache"


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    for number, image in enumerate(np.random.default_rng(0).integers(0, 256, (8, 8, 8), dtype=np.uint8)):
        (tmp_path / "pictures").mkdir(exist_ok=True)
        Image.fromarray(image).save(tmp_path / "pictures" / f"{number}.png")
    return tmp_path / "pictures"


def test_a_prepared_set_is_described_and_cleared_when_nothing_uses_it(folder: Path, pictures: Path) -> None:
    dataset = prepare(pictures)
    (entry,) = cache_entries("data")
    assert entry.path == dataset.path
    assert entry.what == f"{pictures}, 8 pictures of 8x8x1"
    assert entry.size == sum(path.stat().st_size for path in dataset.path.iterdir())
    assert entry.obstacle == "it is in use"
    removed, kept = clear("data")
    assert (removed, [one.path for one in kept]) == ([], [dataset.path])
    assert dataset.images.gather(np.arange(8)).shape == (8, 8, 8, 1)
    del dataset
    gc.collect()
    assert [one.path for one in clear("data")[0]] == [entry.path]
    assert list((folder / "data").iterdir()) == []
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == []
    prepare(pictures)


@pytest.mark.skipif(sys.platform == "win32", reason="flock")
def test_what_another_process_uses_stays(folder: Path, pictures: Path) -> None:
    path = prepare(pictures).path
    gc.collect()
    assert not is_held(path)
    code = (
        "import sys\nfrom limner.data.prepare import prepare\ndataset = prepare(sys.argv[1])\n"
        "print('held', flush=True)\nsys.stdin.read()"
    )
    words = [sys.executable, "-c", code, str(pictures)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        assert clear("data")[0] == []
        other.kill()
    assert path in [entry.path for entry in clear()[0]]


def test_pictures_that_are_nowhere_else_are_kept_unless_everything_goes(folder: Path, pictures: Path) -> None:
    array = np.random.default_rng(0).integers(0, 256, (20, 8, 8), np.uint8)
    sets = {prepare(array).path, prepare(pictures).path}
    gc.collect()
    for picture in pictures.iterdir():
        picture.unlink()
    pictures.rmdir()
    assert {entry.obstacle for entry in cache_entries("data")} == {"it could not be made again: its source is not there"}
    assert clear("data")[0] == []
    assert {entry.path for entry in clear("data", everything=True)[0]} == sets


def test_nothing_of_a_person_is_touched(folder: Path) -> None:
    """LIMNER_CACHE may be any folder, such as a person's home."""
    mine = ["data/cats/1.png", "downloads/thesis.pdf", "logs/today.txt", "judges/judge.txt", "sources/a.py", "spool/x", "notes"]
    for name in mine:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    (folder / "data" / "link").symlink_to(folder / "data" / "cats")
    assert cache_entries() == []
    clear(everything=True)
    assert all((folder / name).exists() for name in mine)


def test_each_kind_is_cleared_alone_and_what_it_frees_is_said(folder: Path) -> None:
    names = {
        "judges": "judges/cnn-1.safetensors",
        "statistics": f"references/{'a' * 20}.safetensors",
        "downloads": "downloads/mnist/a.gz",
        "logs": "logs/20260101-000000-1.txt",
    }
    for number, name in enumerate(names.values(), 1):
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_bytes(b"x" * 100 * number)
    result = cache(CacheRequest(), silent)
    assert {row["kind"]: row["size"] for row in result.kinds} == {
        "judges": 100,
        "statistics": 200,
        "downloads": 300,
        "logs": 400,
    }
    removed, _ = clear("statistics")
    assert [entry.size for entry in removed] == [200]
    assert {entry.kind for entry in cache_entries()} == {"judges", "downloads", "logs"}
    hold(folder / "downloads" / "mnist")
    removed, kept = clear()
    assert {entry.kind for entry in removed} == {"judges", "logs"}
    assert [entry.obstacle for entry in kept] == ["it is in use"]


def test_what_a_killed_process_left_goes_after_an_hour(folder: Path) -> None:
    for name in ("data/.unsorted-abc", "spool/tmpabc"):
        (folder / name).mkdir(parents=True)
        (folder / name / "pixels").write_bytes(b"x" * 10)
    old = time.time() - 7200
    for path in (folder / "spool/tmpabc/pixels", folder / "spool/tmpabc"):
        os.utime(path, (old, old))
    removed, kept = clear("temporary")
    assert [entry.path.name for entry in removed] == ["tmpabc"]
    assert [entry.path.name for entry in kept] == [".unsorted-abc"]

"""The table of sources: one order, one answer to "is this a data set", and kinds of others that go the whole way to a run."""

from __future__ import annotations

import re
import shutil
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest
from numpy.typing import NDArray

import limner
import made
from limner.core.errors import InputError
from limner.core.progress import OnProgress, silent
from limner.core.table import PackageWarning
from limner.data.arrays import CifarSource, IdxSource
from limner.data.folders import ImageSource
from limner.data.listing import Arrays, Listing
from limner.data.npz import ArrayFileSource
from limner.data.options import DataOptions
from limner.data.prepare import check, prepare
from limner.data.source import DataSource
from limner.data.sources import SOURCES, BuiltInSource, RemoteSource, SourceKind, find_source, is_data_set, kind_of, locate

SMALL = ("method.width=8", "method.widest=16", "method.latent=4", "batch.size=16", "score.points=0", "previews.count=4")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LIMNER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


class PixSource(DataSource):
    """A .pix file: a line ``HEIGHT WIDTH``, then grey pictures of that size, byte by byte."""

    def __init__(self, path: Path) -> None:
        self.path, self.name = path, path.stem

    def identity(self, on_progress: OnProgress = silent) -> str:
        return f"{self.path.stat().st_size} {self.path.stat().st_mtime_ns}"

    def listing(self, options: DataOptions, on_progress: OnProgress = silent) -> Listing:
        head, _, data = self.path.read_bytes().partition(b"\n")
        height, width = map(int, head.split())
        pixels = np.frombuffer(data, np.uint8).reshape(-1, height, width, 1)
        labels = np.arange(len(pixels)) % 2
        return Listing(
            Arrays((height, width, 1), lambda rows: pixels[rows]), np.full(len(pixels), -1, np.int8), labels, ("a", "b")
        )


@pytest.fixture
def pix(tmp_path: Path) -> Iterator[Path]:
    """A .pix file of 60 pictures, whose kind is registered for the time of the test."""
    SOURCES.register("pix", SourceKind("a .pix file", PixSource, endings=(".pix",)))
    yield made.write(tmp_path / "cats.pix", b"8 8\n" + pictures().tobytes())
    SOURCES.forget("pix")


def pictures(count: int = 60) -> NDArray[np.uint8]:
    return np.stack([made.textured(seed, 8, 8, 1) for seed in range(count)])


def test_the_first_kind_that_matches_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.zeros((3, 8, 8), np.uint8)
    made.folder(tmp_path / "mnist", {"a": 2})
    made.write(tmp_path / "idx" / "x-images-idx3-ubyte", made.idx(images))
    made.write(tmp_path / "cifar" / "data_batch_1.bin", bytes(3073))
    made.folder(tmp_path / "folder.zip", {"a": 2})
    with zipfile.ZipFile(tmp_path / "a.ZIP", "w") as archive:
        archive.writestr("a.png", b"x")
    np.save(tmp_path / "a.npy", images)
    monkeypatch.chdir(tmp_path)
    for source, kind in [
        ("mnist", BuiltInSource),
        (tmp_path / "mnist", ImageSource),
        ("idx", IdxSource),
        ("idx/x-images-idx3-ubyte", IdxSource),
        ("cifar", CifarSource),
        ("folder.zip", ImageSource),
        ("a.ZIP", ImageSource),
        (Path("a.npy"), ArrayFileSource),
        ((tmp_path / "idx").as_uri(), IdxSource),
        ("https://host/a.zip", RemoteSource),
    ]:
        assert isinstance(find_source(source), kind), source
    assert [name for name, kind in SOURCES.items() if kind.is_general] == ["list", "folder", "address"]


def test_a_kind_of_others_is_asked_before_folders_and_addresses(tmp_path: Path) -> None:
    made.folder(tmp_path / "set", {"a": 2})
    made.write(tmp_path / "set" / "index.pix", b"")
    special = SourceKind(
        "a folder with an index.pix",
        PixSource,
        lambda source: (isinstance(source, Path) and (source / "index.pix").is_file()) or str(source).startswith("pix://"),
    )
    SOURCES.register("pix-folder", special)
    try:
        assert kind_of(locate(tmp_path / "set")) is special
        assert kind_of(locate("pix://anything")) is special
        assert kind_of(locate(tmp_path / "set" / "a")) is SOURCES["folder"]
    finally:
        SOURCES.forget("pix-folder")


def test_what_is_a_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made.write(tmp_path / "a.png", made.encoded(made.textured(0)))
    made.write(tmp_path / "digits", b"a file that is called like a built-in set")
    made.write(tmp_path / "x-images-idx3-ubyte.gz", b"")
    monkeypatch.chdir(tmp_path)
    for source, answer in {
        "a.png": False,
        "digits": True,
        "./digits": False,
        "x-images-idx3-ubyte.gz": True,
        ".": True,
    }.items():
        assert is_data_set(source) is answer, source
    assert is_data_set("nowhere"), "so that the error names what may stand there"
    assert is_data_set("https://host/a.zip")
    assert is_data_set(np.zeros((2, 4, 4), np.uint8))


def test_a_kind_of_others_is_prepared_trained_and_embedded(pix: Path, tmp_path: Path) -> None:
    data = prepare(pix, size=8)
    assert data.name == "cats"
    assert data.classes == ("a", "b")
    assert check(pix).images == 60
    same = {"images": pictures(), "labels": [0, 1] * 30, "classes": ["a", "b"]}
    assert data.fingerprint == prepare(same).fingerprint
    run = limner.train(pix, preset="autoencoder", images=32, out=tmp_path / "runs", settings=SMALL).run
    answer = limner.embed(run, [str(pix)], split="train")
    assert answer.count == len(data.splits["train"])
    assert answer.labels, "a data set, and not one picture that cannot be read"
    assert limner.embed(run, [str(pix)]).count == 60
    assert limner.reconstruct(run, [str(pix)])["images"][:2] == [f"{pix}[0]", f"{pix}[1]"]
    SOURCES.forget("pix")
    with pytest.raises(InputError, match="of no kind that holds a set of pictures"):
        limner.embed(run)
    SOURCES.register("pix", SourceKind("a .pix file", PixSource, endings=(".pix",)))


def test_a_kind_of_others_is_fetched_from_an_address(pix: Path) -> None:
    system = fsspec.filesystem("memory")
    system.pipe_file("/set/cats.pix", pix.read_bytes())
    system.pipe_file("/set/cats.pox", pix.read_bytes())
    try:
        assert prepare("memory://set/cats.pix").fingerprint == prepare(pix).fingerprint
        with pytest.raises(InputError, match=r"memory://set/cats.pox is one file, and of no kind .* a \.pix file"):
            prepare("memory://set/cats.pox")
    finally:
        system.rm("/set", recursive=True)


def test_a_package_that_cannot_be_loaded_is_passed_over_and_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Broken:
        name, dist = "broken", None

        def load(self) -> object:
            raise ImportError("no module named pox")

    monkeypatch.setattr(SOURCES, "_entries", {"broken": Broken()})
    monkeypatch.setattr(SOURCES, "_faults", {})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert prepare("digits", limit=20).name == "digits", "a built-in name is recognised before any package is loaded"
    made.folder(tmp_path / "set", {"a": 2})
    fault = r"'broken' of an installed package cannot be loaded \(ImportError: no module named pox\)"
    with pytest.warns(PackageWarning, match=fault):
        assert prepare(tmp_path / "set").name == "set"
    made.write(tmp_path / "cats.pox", b"")
    for source in (tmp_path / "cats.pox", "nowhere", 3):
        with pytest.raises(InputError, match=fault):
            prepare(source)


def test_an_array_is_trained_on_resumed_and_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = {"images": pictures(), "labels": [0, 1] * 30, "classes": ["a", "b"]}
    choices = {"preset": "autoencoder", "out": tmp_path / "runs"}
    run = limner.train(source, images=64, settings=(*SMALL, "checkpoints.every=0.5"), **choices).run
    data = limner.Run.open(run).recipe().data
    folder = prepare(source).path
    assert Path(data.source) == folder
    assert data.classes == ("a", "b")
    copy = Path(shutil.copytree(run, tmp_path / "runs" / "copy"))
    shutil.rmtree(copy / "checkpoints" / "000000064")
    monkeypatch.chdir(tmp_path / "runs")  # from any folder
    limner.resume(copy)
    whole, resumed = (made.tree_bytes(one / "checkpoints" / "000000064") for one in (run, copy))
    for name in ("model.safetensors", "ema.safetensors"):
        assert whole[name] == resumed[name]
    assert limner.embed(run).count == limner.embed(run, [source]).count == 60
    assert limner.embed(run, [pictures(5)]).count == 5
    np.save(tmp_path / "few.npy", pictures(3))
    assert limner.reconstruct(run, [tmp_path / "few.npy"])["images"] == [f"{tmp_path / 'few.npy'}[{row}]" for row in range(3)]
    judged = limner.evaluate(run, data=source, count=32, features="pixels", metrics="frechet", out=tmp_path / "judged")
    assert judged.reference["fingerprint"] == data.fingerprint

    shutil.rmtree(folder)
    for verb in (lambda: limner.resume(run, images=96), lambda: limner.embed(run)):
        with pytest.raises(
            InputError, match=r"the prepared pictures at .* are gone; bring that folder back, or prepare"
        ) as caught:
            verb()
        assert str(folder) in str(caught.value)
    assert prepare(source).path == folder, "the same pictures with the same options make it anew"
    assert limner.resume(run, images=96).images == 96


def test_options_of_a_run_hold_for_an_array(tmp_path: Path) -> None:
    settings = (*SMALL, "data.size=12", "data.split=0.3", "data.limit=40")
    run = limner.train(pictures(), preset="autoencoder", images=16, out=tmp_path, settings=settings).run
    data = limner.Run.open(run).recipe().data
    assert (data.size, data.split, data.limit) == ("12x12", "0.3", 40)
    assert limner.resume(run, images=32).images == 32
    assert limner.load(run).dataset().shape == (12, 12, 1)


def test_the_example_of_the_docs_works(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
    [example] = [block for block in re.findall(r"```python\n(.*?)```", text, re.S) if "PixSource" in block]
    exec(example, {})
    try:
        pix = made.write(tmp_path / "cats.pix", pictures().tobytes())
        assert prepare(pix).fingerprint == prepare(pictures()).fingerprint
    finally:
        SOURCES.forget("pix")

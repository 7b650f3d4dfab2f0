"""The data sets known by name: what ships, what is drawn, and what is published."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import replace

import numpy as np
import pytest
import requests

import made
from limner.core.errors import InputError
from limner.data import named, scenes
from limner.data.dataset import summary
from limner.data.prepare import prepare
from limner.data.scenes import COLOURS, SHAPES, held_out
from served import serve


def every(dataset):
    return dataset.images.gather(np.arange(len(dataset.images)))


def test_digits_are_scikit_learns():
    oracle = pytest.importorskip("sklearn.datasets").load_digits()
    data = prepare("digits", split="none")
    pixels, labels = every(data), data.labels
    scaled = np.rint(oracle.images * 255 / 16 + 1e-9).astype(np.uint8)
    mine = sorted(zip((row.tobytes() for row in pixels), labels.tolist(), strict=True))
    assert mine == sorted(zip((row.tobytes() for row in scaled), oracle.target.tolist(), strict=True))
    assert {name: len(rows) for name, rows in prepare("digits").splits.items()} == {"train": 1456, "val": 161, "test": 180}
    assert prepare("digits", size=32, channels=3).shape == (32, 32, 3)


def test_clothes_are_the_first_of_fashion_mnist(monkeypatch: pytest.MonkeyPatch) -> None:
    data = prepare("clothes", split="none")
    assert data.shape == (28, 28, 1)
    assert np.bincount(data.labels).tolist() == [948, 1042, 1023, 1001, 994, 969, 1015, 1015, 990, 1003]
    assert hashlib.sha256(every(data).tobytes()).hexdigest()[:16] == "14f39fcf462df205"
    assert {name: len(rows) for name, rows in prepare("clothes").splits.items()} == {"train": 8100, "val": 900, "test": 1000}


@pytest.mark.data("fashion-mnist")
def test_clothes_lie_in_fashion_mnist() -> None:
    shipped, whole = prepare("clothes", split="none"), prepare("fashion-mnist", split="none")
    rows = np.r_[0:9000, 60_000:61_000]
    assert np.array_equal(every(shipped), whole.images.gather(rows))
    assert np.array_equal(shipped.labels, whole.labels[rows])
    assert shipped.classes == whole.classes


@pytest.fixture(scope="module")
def drawn():
    return prepare("scenes", size=32, limit=1000)


def test_scenes_are_the_same_everywhere(drawn):
    assert drawn.fingerprint == GOLDEN_SCENES
    again = scenes.load((32, 32), 200, 0)
    assert (again.content.rows(np.arange(100)) == drawn.images.gather(np.arange(100))).all()  # the count changes no scene


def test_scenes_show_their_factors(drawn):
    factors, pixels = drawn.factors, every(drawn)
    shape, colour = factors["shape"][:, 0], factors["colour"][:, 0]
    solid = np.flatnonzero(shape != SHAPES.index("ring"))
    column, line = (np.floor(factors[axis][:, 0] * 32).astype(int) for axis in "xy")
    at_centre = pixels[solid, line[solid], column[solid]].astype(float)
    assert np.abs(at_centre - scenes._RGB[colour[solid]]).max() <= 1
    # the four corners are background
    ground = np.array([24.0, 28.0, 38.0]) + factors["background"][:, None] * np.array([220.0, 214.0, 200.0])
    assert np.abs(pixels[:, 0, 0] - ground).max() <= 1
    # an object's area is that of its shape
    circles = np.flatnonzero((shape == SHAPES.index("circle")) & (factors["objects"] == 1))
    changed = np.abs(pixels[circles].astype(float) - pixels[circles, :1, :1]).sum(axis=-1)
    full = np.abs(scenes._RGB[colour[circles]] - ground[circles]).sum(axis=-1)
    area = changed.sum(axis=(1, 2)) / full
    exact = np.pi * (0.92 * 32 * factors["size"][circles, 0]) ** 2
    assert np.abs(area / exact - 1).max() < 0.06


def test_scenes_captions_and_labels(drawn):
    for row in range(0, 1000, 7):
        count = drawn.factors["objects"][row]
        text = drawn.captions[row]
        for place in range(count):
            assert f"{COLOURS[drawn.factors['colour'][row, place]]} {SHAPES[drawn.factors['shape'][row, place]]}" in text
        assert (drawn.factors["shape"][row, count:] == -1).all()
        assert np.isnan(drawn.factors["x"][row, count:]).all()
    assert (drawn.labels == drawn.factors["shape"][:, 0]).all()
    assert drawn.classes == SHAPES
    assert {
        scenes.describe(
            scenes.Scene((scenes.SceneObject(3, 0, 0.5, 0.5, 0.1, 0), scenes.SceneObject(5, 5, 0.2, 0.2, 0.2, 0)), 0.1)
        )
    } == {"a small red star and a large blue ring on a dark background"}


def test_held_out_pairs_are_in_test_only(drawn):
    pairs = [(shape, colour) for shape in range(len(SHAPES)) for colour in range(len(COLOURS)) if held_out(shape, colour)]
    assert len(pairs) == len(SHAPES)
    assert len({colour for _, colour in pairs}) == len(SHAPES)  # no colour loses more than one shape
    shape, colour = drawn.factors["shape"], drawn.factors["colour"]
    held = (shape >= 0) & ((3 * shape) % len(COLOURS) == colour)
    seen = np.concatenate([drawn.indices("train"), drawn.indices("val")])
    assert not held[seen].any()
    test = drawn.indices("test")
    assert drawn.factors["held_out"][test].mean() >= 0.5
    assert (drawn.factors["held_out"] == held[:, 0]).all()


def test_first_objects_factors_are_independent():
    drawn = scenes.load((16, 16), 6000, 1).factors
    rows = slice(0, 4800)
    columns = [drawn["background"], *(drawn[name][:, 0] for name in ("shape", "x", "y", "size", "rotation"))]
    related = np.corrcoef([column[rows].astype(float) for column in columns])
    assert np.abs(related - np.eye(6)).max() < 0.06


def test_scenes_of_one_object():
    one = prepare("scenes-1", size=32, limit=300)
    many = prepare("scenes", size=32, limit=300)
    assert one.fingerprint == GOLDEN_SCENES_OF_ONE
    assert one.factors["objects"].tolist() == [1] * 300
    assert (one.factors["shape"][:, 1:] == -1).all()
    for name in ("shape", "colour", "x", "y", "size", "rotation"):  # the first objects of `scenes`
        assert (one.factors[name][:, 0] == many.factors[name][:, 0]).all()
    alone = many.factors["objects"] == 1
    assert alone.any()
    assert (every(one)[alone] == every(many)[alone]).all()
    assert "and" not in one.captions[0]


def test_scenes_by_their_factors():
    codes = scenes.draw_factors(4000, seed=0)
    assert np.abs(np.corrcoef(codes.T) - np.eye(7)).max() < 0.06
    for column, size in zip(codes.T, scenes.FACTORS.values(), strict=True):
        assert np.bincount(column).shape == (size,)
        assert np.bincount(column).min() > 0.75 * 4000 / size
    assert (scenes.draw_factors(100, seed=0) == codes[:100]).all()
    held = [scenes.held_out(shape, colour) for shape, colour in codes[:, :2].tolist()]
    assert np.mean(held) == pytest.approx(1 / 8, abs=0.03)  # 6 of 48 pairs
    base = dict.fromkeys(scenes.FACTORS, 0) | {"colour": 5, "x": 8, "y": 3, "size": 2}
    scene = scenes.scene_of(base, (32, 32))
    assert (len(scene.objects), scene.objects[0].shape, scene.objects[0].colour) == (1, 0, 5)
    assert scene.objects[0].radius == pytest.approx(0.10 + 2.5 / 6 * 0.12)
    row = np.array([list(base.values())])
    assert (scenes.paint_factors(row, (32, 32))[0] == scenes.paint(scene, (32, 32))).all()
    for name, change in (("x", 9), ("y", 4), ("size", 3), ("colour", 6), ("shape", 1), ("background", 1)):
        other = np.array([list((base | {name: change}).values())])
        assert (scenes.paint_factors(other, (32, 32)) != scenes.paint_factors(row, (32, 32))).any(), name
    wide = scenes.paint_factors(np.array([[0, 0, 15, 0, 0, 0, 0]]), (16, 64))
    assert np.abs(wide[0, :, :48].astype(int) - wide[0, 0, 0]).max() == 0, "far right in a wide picture"
    for wrong in (row[:, :6], row + 20, row - 1):
        with pytest.raises(InputError, match="shape 0-5, colour 0-7"):
            scenes.paint_factors(wrong, (32, 32))


def test_the_turn_is_a_rotation():
    turns = np.linspace(0, 1, 33)
    found = np.array([scenes._turn(float(turn)) for turn in turns])
    assert np.allclose(found, np.stack([np.cos(2 * np.pi * turns), np.sin(2 * np.pi * turns)], axis=1), atol=1e-9)


@pytest.mark.parametrize("size", [8, 256, (16, 200)])
def test_scenes_have_a_range_of_sizes(size):
    with pytest.raises(InputError, match="16 to 128"):
        prepare("scenes", size=size)
    assert prepare("scenes", size=(48, 32), limit=20).shape == (48, 32, 3)


@pytest.mark.data("mnist")
def test_mnist():
    data = prepare("mnist")
    assert {name: len(rows) for name, rows in data.splits.items()} == {"train": 55_000, "val": 5_000, "test": 10_000}
    test = np.bincount(data.labels[data.indices("test")])
    assert test.tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    train = np.bincount(data.labels) - test
    assert train.tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert data.manifest["duplicates"]["near"] < 10
    assert np.abs(np.bincount(data.labels[data.indices("val")]) - train / 12).max() <= 1


@pytest.mark.data("fashion-mnist")
def test_fashion_mnist():
    counts = summary(prepare("fashion-mnist"))["classes"]
    assert set(counts.values()) == {7000}
    assert list(counts)[:2] == ["T-shirt/top", "Trouser"]


@pytest.mark.data("cifar-10")
def test_cifar_10():
    data = prepare("cifar-10", split="none")
    train = data.images.gather(data.indices("train"))
    assert train.shape == (50_000, 32, 32, 3)
    assert np.allclose(train.mean(axis=(0, 1, 2), dtype=np.float64), (125.307, 122.950, 113.865), atol=5e-4)
    assert data.manifest["counts"]["test"] == dict.fromkeys(data.classes, 1000)


@pytest.mark.data("flowers")
def test_flowers(limner_data):
    data = prepare(limner_data("flowers"), size=64)
    assert len(data.images) == 3670
    assert summary(data)["classes"] == {"daisy": 633, "dandelion": 898, "roses": 641, "sunflowers": 699, "tulips": 799}
    assert data.captions[0].startswith("a photo of a ")
    assert len(data.splits["train"]) == 2934 + len(data.manifest["moved"])


@pytest.mark.data("noto-emoji")
def test_emoji(limner_data):
    data = prepare(limner_data("noto-emoji"), size=32)
    assert len(data.images) == 1644
    assert summary(data)["captions"] == 1644
    assert len(data.classes) == 9
    assert data.images.gather(np.arange(1644))[:, 0, 0].mean() > 200  # clear corners are white


def test_without_data_or_network(tmp_path, monkeypatch):
    def offline(*args, **kwargs):
        raise requests.ConnectionError("no route to host")

    monkeypatch.setenv("LIMNER_DATA", str(tmp_path))
    monkeypatch.setenv("LIMNER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("requests.get", offline)
    with pytest.raises(InputError, match=r"LIMNER_DATA.*no route to host.*fashion-mnist") as error:
        prepare("fashion-mnist")
    assert "https://" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_download_with_a_wrong_checksum_is_not_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("LIMNER_DATA", "")
    monkeypatch.setenv("LIMNER_CACHE", str(tmp_path))
    with serve(**{"cifar-10-binary.tar.gz": b"not the file"}) as site:
        monkeypatch.setitem(
            named.PUBLISHED_SETS, "cifar-10", replace(named.PUBLISHED_SETS["cifar-10"], mirrors=(f"{site.url}/",))
        )
        with pytest.raises(InputError, match="MD5"):
            named.load("cifar-10")
        assert site.fetched == ["/cifar-10-binary.tar.gz"]
    assert not list((tmp_path / "downloads" / "cifar-10").iterdir())


def small_mnist(monkeypatch, folder, seed, suffix="", wrap=lambda data: data):
    """A set called mnist of 5 + 3 pictures of 4x4, in `folder`."""
    rng = np.random.default_rng(seed)
    files = {}
    for stem, count in (("train", 5), ("t10k", 3)):
        files[f"{stem}-images-idx3-ubyte"] = made.idx(rng.integers(0, 256, (count, 4, 4), np.uint8))
        files[f"{stem}-labels-idx1-ubyte"] = made.idx(np.arange(count, dtype=np.uint8))
    for name, data in files.items():
        made.write(folder / f"{name}{suffix}", wrap(data))
    small = replace(named.PUBLISHED_SETS["mnist"], side=4, counts=(5, 3))
    monkeypatch.setitem(named.PUBLISHED_SETS, "mnist", small)
    return {f"{name}.gz": gzip.compress(data, mtime=0) for name, data in files.items()}


def test_a_named_set_is_what_its_files_hold(tmp_path, monkeypatch):
    monkeypatch.setenv("LIMNER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("LIMNER_DATA", str(tmp_path / "raw"))
    small_mnist(monkeypatch, tmp_path / "raw" / "mnist", 1)
    first = prepare("mnist")
    monkeypatch.setenv("LIMNER_DATA", str(tmp_path / "packed"))
    small_mnist(monkeypatch, tmp_path / "packed" / "mnist", 1, ".gz", lambda data: gzip.compress(data, mtime=77))
    assert prepare("mnist").path == first.path, "however it is packed"
    small_mnist(monkeypatch, tmp_path / "packed" / "mnist", 2, ".gz", lambda data: gzip.compress(data, mtime=77))
    other = prepare("mnist")
    assert other.fingerprint != first.fingerprint, "other pictures in the same files"
    assert other.path != first.path


def test_a_damaged_download_is_fetched_anew(tmp_path, monkeypatch):
    monkeypatch.setenv("LIMNER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("LIMNER_DATA", "")
    files = small_mnist(monkeypatch, tmp_path / "original", 1)
    checksums = {name: hashlib.md5(data).hexdigest() for name, data in files.items()}
    with serve(**files) as site:
        known = replace(named.PUBLISHED_SETS["mnist"], mirrors=(f"{site.url}/",), files=checksums)
        monkeypatch.setitem(named.PUBLISHED_SETS, "mnist", known)
        first = prepare("mnist")
        assert len(site.fetched) == 4
        file = tmp_path / "cache" / "downloads" / "mnist" / "train-images-idx3-ubyte.gz"
        file.write_bytes(gzip.compress(made.idx(np.zeros((5, 4, 4), np.uint8))))  # whole in itself, and wrong
        assert prepare("mnist").path == first.path
        events = []
        again = prepare("mnist", split="none", on_progress=events.append)
        assert len(site.fetched) == 5
    assert events[0].note == f"{file} is damaged; it is fetched anew"
    assert again.images.gather(again.indices("test")).tolist() == first.images.gather(first.indices("test")).tolist()
    assert again.images.gather(np.arange(8)).any()


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.data(name)) for name in ("mnist", "fashion-mnist")])
def test_the_official_files_hold_what_is_recorded(name):
    assert named.content_of(name) == named.PUBLISHED_SETS[name].content


def test_named_sets_are_checked(tmp_path, monkeypatch):
    for stem in ("train", "t10k"):
        made.write(tmp_path / "mnist" / f"{stem}-images-idx3-ubyte", made.idx(np.zeros((5, 28, 28), np.uint8)))
        made.write(tmp_path / "mnist" / f"{stem}-labels-idx1-ubyte", made.idx(np.zeros(5, np.uint8)))
    monkeypatch.setenv("LIMNER_DATA", str(tmp_path))
    with pytest.raises(InputError, match="does not hold mnist: expected 60000"):
        named.load("mnist")


GOLDEN_SCENES = "35628f4dd370ab7ac18f799289207a7861fc51578319a6e4a028fceb39fea3c9"
GOLDEN_SCENES_OF_ONE = "71161de37387e09935f2d3e52e45847c64f5515b8cc5d7d2771f6b141f692771"

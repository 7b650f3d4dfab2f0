"""Given pictures: from a column of a table to the second packed array, and what is said about those that are missing."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import made
from limner.core.errors import InputError
from limner.core.progress import Progress
from limner.data.dataset import Dataset, open_dataset, summary
from limner.data.fingerprint import fingerprint_of
from limner.data.listing import Arrays, Listing
from limner.data.options import DataOptions
from limner.data.pictures import Shaping
from limner.data.plan import plan_dataset
from limner.data.prepare import check, prepare
from limner.data.reading import Store, read_all
from limner.data.writer import write_dataset

WHITE = (255, 255, 255)


def rows_by_file(dataset: Dataset) -> dict[str, int]:
    return {one["file"]: one["row"] for one in dataset.manifest["files"]}


def pixels(path: Path) -> NDArray[np.uint8]:
    image = np.asarray(Image.open(path))
    return image[..., None] if image.ndim == 2 else image


def rewrite(root: Path, change: dict[int, dict[str, str | None]]) -> None:
    """Changes rows of the table of `root` by their numbers; None takes a value away."""
    table = root / "metadata.jsonl"
    rows = [json.loads(line) for line in table.read_text().splitlines()]
    for number, values in change.items():
        rows[number] = {key: value for key, value in (rows[number] | values).items() if value is not None}
    table.write_text("\n".join(json.dumps(row) for row in rows))


@pytest.mark.parametrize("channels", [1, 3])
def test_every_row_has_its_given_picture(tmp_path: Path, channels: int) -> None:
    root = made.paired(tmp_path / "set", 20, given_channels=channels)
    data = prepare(root)
    assert len(data.images) == 20, "given pictures are none to be learned"
    assert data.given_images is not None
    assert data.condition_shape == (channels, 24, 24)
    assert data.classes == ()
    assert set(data.splits) == {"train", "val"}
    for one in data.manifest["files"]:
        row = np.array([one["row"]])
        assert one["given_file"] == one["file"].replace("pictures/", "given/")
        assert (data.images.gather(row)[0] == pixels(root / one["file"])).all()
        assert (data.given_images.gather(row)[0] == pixels(root / one["given_file"])).all()
        assert data.captions is not None
        assert data.captions[one["row"]] == f"picture {int(Path(one['file']).stem)}"
    report = check(root).summary()
    assert report["given_shape"] == summary(data)["given_shape"] == [24, 24, channels]
    assert report["fingerprint"] == data.fingerprint
    assert check(data.path).summary()["given_shape"] == [24, 24, channels]


@pytest.mark.parametrize("end", ["zip", "tar"])
def test_an_archive_equals_its_folder(tmp_path: Path, end: str) -> None:
    """A tar is read in its own order, and one given picture may serve several pictures."""
    root = made.paired(tmp_path / "set", 8)
    rewrite(root, {3: {"given_file_name": "given/000.png"}, 5: {"given_file_name": "given/000.png"}})
    files = made.tree_bytes(root)
    archive = tmp_path / f"set.{end}"
    if end == "zip":
        with zipfile.ZipFile(archive, "w") as zipped:
            for name, data in files.items():
                zipped.writestr(name, data)
    else:
        with tarfile.open(archive, "w") as tar:
            for name, data in reversed(files.items()):
                member = tarfile.TarInfo(f"./{name}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    one, other = prepare(root), prepare(archive, workers=3)
    assert one.fingerprint == other.fingerprint
    assert one.given_images is not None
    assert other.given_images is not None
    every = np.arange(8)
    assert (one.given_images.gather(every) == other.given_images.gather(every)).all()
    rows = rows_by_file(one)
    shared = one.given_images.gather(np.array([rows[f"pictures/{number:03d}.png"] for number in (0, 3, 5)]))
    assert (shared == shared[0]).all()


def test_missing_and_broken_partners_are_named(tmp_path: Path) -> None:
    root = made.paired(tmp_path, 12)
    made.write(tmp_path / "pictures" / "not-in-the-table.png", made.encoded(made.textured(500)))
    made.write(tmp_path / "given" / "001.png", b"this is no picture")
    rewrite(
        root,
        {
            2: {"given_file_name": "given/gone.png"},
            3: {"given_file_name": None},
            4: {"given_file_name": "../outside.png"},
            5: {"file_name": "pictures/gone.png"},
            6: {"given_file_name": ".\\given\\006.png"},
        },
    )
    made.write(tmp_path / "given" / "009.png", b"")
    made.write(tmp_path / "pictures" / "009.png", b"")
    data = prepare(root)
    reasons = {one["file"]: one["reason"] for one in data.manifest["rejected"]}
    assert reasons == {
        "pictures/001.png": "its given picture given/001.png cannot be used: not a picture in a format that can be opened",
        "pictures/002.png": "its given picture given/gone.png is not there, or is no picture",
        "pictures/003.png": "has no given picture, and others have (column given_file_name)",
        "pictures/004.png": "its given picture ../outside.png is at a path that leads out of the folder",
        "pictures/005.png": "has no given picture, and others have (column given_file_name)",
        "pictures/009.png": "the file is empty",
        "pictures/gone.png": "listed in metadata.jsonl, but there is no such picture",
        "pictures/not-in-the-table.png": "has no given picture, and others have (column given_file_name)",
        "given/002.png": "has no given picture, and others have (column given_file_name)",
        "given/003.png": "has no given picture, and others have (column given_file_name)",
        "given/004.png": "has no given picture, and others have (column given_file_name)",
    }
    assert sorted(rows_by_file(data)) == [f"pictures/{number:03d}.png" for number in (0, 6, 7, 8, 10, 11)]
    assert [one.as_json() for one in check(root).rejected] == data.manifest["rejected"]
    rewrite(root, {number: {"given_file_name": "given/gone.png"} for number in range(12)})
    with pytest.raises(InputError, match=r"no picture with its given picture \(.*given_file_name"):
        check(root)


def test_a_chain_where_each_picture_is_given_with_the_next(tmp_path: Path) -> None:
    """A picture that has a row of its own is one to be learned, though it is given with another one as well."""
    root = made.folder(tmp_path, {"frames": 6})
    rows = [{"file_name": f"frames/{n:03d}.png", "given_file_name": f"frames/{max(n - 1, 0):03d}.png"} for n in range(6)]
    made.write(root / "metadata.jsonl", "\n".join(json.dumps(row) for row in rows).encode())
    data = prepare(root)
    assert data.given_images is not None
    of = rows_by_file(data)
    for number in range(6):
        given = data.given_images.gather(np.array([of[f"frames/{number:03d}.png"]]))
        assert (given == data.images.gather(np.array([of[f"frames/{max(number - 1, 0):03d}.png"]]))).all()


def test_given_pictures_are_shaped_like_the_others(tmp_path: Path) -> None:
    """The same size and fit, whatever their own; transparency is kept where there is some, and only there."""
    root = made.paired(tmp_path, 6, side=32)
    for number in range(6):
        made.write(root / "given" / f"{number:03d}.png", made.encoded(made.textured(number, 40, 20)))
    opaque = made.encoded(Image.fromarray(made.textured(0, 40, 20)).convert("RGBA"))
    made.write(root / "given" / "000.png", opaque)
    padded = prepare(root, size=16, fit="pad")
    assert padded.condition_shape == (3, 16, 16), "an alpha channel that is full everywhere, and margins, are no transparency"
    assert padded.given_images is not None
    first = padded.given_images.gather(np.array([rows_by_file(padded)["pictures/000.png"]]))[0]
    assert (first[:, 0] == WHITE).all(), "the margin has the background's colour"
    made.write(root / "given" / "001.png", made.encoded(made.textured(1, 32, 32, 4)))
    clear = prepare(root, size=16)
    assert clear.condition_shape == (4, 16, 16)
    assert clear.shape == (16, 16, 3)
    assert clear.given_images is not None
    assert (clear.given_images.gather(np.array([rows_by_file(clear)["pictures/002.png"]]))[..., 3] == 255).all()
    assert prepare(root, size=16, channels=1).shape == (16, 16, 1)
    assert prepare(root, size=16, channels=1).condition_shape == (4, 16, 16), "channels are asked of the pictures"
    assert check(root, size=16, binary=True).given_shape == (16, 16, 4), "given pictures are not drawn black or white"


def test_equal_pictures_with_other_given_pictures_stay_on_one_side(tmp_path: Path) -> None:
    """They are duplicates: who has seen one in training knows the answer to the other. Nothing of them is dropped."""
    root = made.paired(tmp_path, 60)
    for number in range(0, 60, 2):
        made.write(root / "pictures" / f"{number + 1:03d}.png", (root / "pictures" / f"{number:03d}.png").read_bytes())
    data = prepare(root, split="0.3")
    assert data.manifest["duplicates"] == {"exact": 30, "near": 0}
    assert len(data.images) == 60
    side = {one["file"]: one["split"] for one in data.manifest["files"]}
    assert all(side[f"pictures/{n:03d}.png"] == side[f"pictures/{n + 1:03d}.png"] for n in range(0, 60, 2))
    assert data.given_images is not None
    of = rows_by_file(data)
    pair = data.given_images.gather(np.array([of["pictures/000.png"], of["pictures/001.png"]]))
    assert (pair[0] != pair[1]).any()


def test_equal_given_pictures_are_no_duplicates(tmp_path: Path) -> None:
    root = made.paired(tmp_path, 10)
    rewrite(root, {number: {"given_file_name": "given/000.png"} for number in range(10)})
    assert check(root).summary()["duplicates"] == {"exact": 0, "near": 0}


def test_the_fingerprint_covers_given_pictures_and_stays_without(tmp_path: Path) -> None:
    plain = made.folder(tmp_path / "plain", {"a": 6})
    before = prepare(plain)
    digests = np.zeros((6, 32), np.uint8)
    splits = {"train": range(6)}
    assert fingerprint_of((24, 24, 3), digests, None, None, splits) == (
        "ef2cf4bcf0fa6b22a6b6f07be9791f36059f123d2eaf1303ab9ab6d8bf9b667d"
    )
    assert before.given_images is None
    assert before.condition_shape is None
    assert summary(before)["given_shape"] is None
    root = made.paired(tmp_path / "pairs", 6)
    paired = prepare(root)
    made.write(root / "given" / "003.png", made.encoded(made.textured(77)))
    assert prepare(root).fingerprint != paired.fingerprint


def test_a_folder_prepared_before_there_were_given_pictures_opens(tmp_path: Path) -> None:
    data = prepare(made.folder(tmp_path / "plain", {"a": 6}), out=tmp_path / "out")
    manifest = json.loads((data.path / "manifest.json").read_text())
    for later in ("given_shape", "given_transparent", "checksum"):
        del manifest[later]
    (data.path / "manifest.json").write_text(json.dumps(manifest))
    assert open_dataset(data.path).given_images is None
    assert check(data.path).given_shape is None


def test_splits_limits_and_shards(tmp_path: Path) -> None:
    roots = [made.paired(tmp_path / f"s{number}", 20, first_seed=100 * number) for number in range(2)]
    shards = [prepare(root, split="0.2", out=tmp_path / f"p{number}") for number, root in enumerate(roots)]
    joined = open_dataset([shard.path for shard in shards])
    assert joined.given_images is not None
    for split in ("train", "val"):
        given = np.concatenate(
            [shard.given_images.gather(shard.indices(split)) for shard in shards if shard.given_images is not None]
        )
        assert (joined.given_images.gather(joined.indices(split)) == given).all()
        images = np.concatenate([shard.images.gather(shard.indices(split)) for shard in shards])
        assert (joined.images.gather(joined.indices(split)) == images).all()
    assert joined.caption_length == max(shard.caption_length for shard in shards) == len("picture 119")
    few = prepare(roots[0], limit=7)
    assert few.given_images is not None
    assert len(few.given_images) == len(few.images) == 7
    for one in few.manifest["files"]:
        assert (few.given_images.gather(np.array([one["row"]]))[0] == pixels(roots[0] / one["given_file"])).all()
    without = prepare(made.folder(tmp_path / "plain", {"a": 10}), out=tmp_path / "plain-out")
    with pytest.raises(InputError, match="given pictures"):
        open_dataset([shards[0].path, without.path])


@pytest.mark.parametrize("size", [24, 8])
def test_given_pictures_with_alpha_keep_their_fingerprint(size: int, tmp_path: Path) -> None:
    """Whether one is transparent is decided before it is resized, after which its alpha may be full everywhere."""
    root = made.paired(tmp_path / "set", 6)
    for number in range(3):
        picture = made.textured(50 + number, 24, 24, 4)
        picture[..., 3] = 255
        picture[0, 0, 3] = (255, 254, 0)[number]
        made.write(root / "given" / f"00{number}.png", made.encoded(picture))
    data = prepare(root, size=size)
    assert data.condition_shape == (4, size, size)
    assert open_dataset(data.path, verify=True).fingerprint == check(root, size=size).fingerprint
    given = np.load(data.path / "given.npy")
    given[0, 0, 0, 0] ^= 1
    np.save(data.path / "given.npy", given)
    with pytest.raises(InputError, match="is damaged"):
        open_dataset(data.path)


def test_a_damaged_second_array(tmp_path: Path) -> None:
    data = prepare(made.paired(tmp_path / "set", 6), out=tmp_path / "out")
    np.save(data.path / "given.npy", np.zeros((5, 24, 24, 3), np.uint8))
    with pytest.raises(InputError, match="damaged"):
        open_dataset(data.path)
    (data.path / "given.npy").unlink()
    with pytest.raises(InputError, match="damaged"):
        open_dataset(data.path)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_arrays_have_given_pictures_too(tmp_path: Path, channels: int) -> None:
    """A source of bare pixels may bring a second array; rows are matched by their place."""
    images = np.stack([made.textured(number) for number in range(12)])
    given = np.stack([made.textured(50 + number, 24, 24, channels) for number in range(12)])
    listing = Listing(
        Arrays((24, 24, 3), lambda rows: images[rows]),
        np.full(12, -1, np.int8),
        given_content=Arrays((24, 24, channels), lambda rows: given[rows]),
    )
    options, shaping = DataOptions(), Shaping((24, 24), "crop", 3, WHITE)
    with Store(tmp_path / "pixels", (12, 24, 24, 3)) as store:
        reading = read_all(listing, shaping, store=store)
        plan = plan_dataset("these", listing, reading, shaping, options)
        about = {"schema": "limner-data", "schema_version": 1, "name": "these", "key": "", "source": "", "options": {}}
        write_dataset(tmp_path / "out", about, plan, listing, store, 0.0)
    data = open_dataset(tmp_path / "out")
    assert data.given_images is not None
    assert data.condition_shape == (channels, 24, 24)
    for row, place in enumerate(plan.rows):
        assert (data.given_images.gather(np.array([row]))[0] == given[place]).all()
        assert (data.images.gather(np.array([row]))[0] == images[place]).all()


def test_the_progress_counts_both_pictures_of_a_pair(tmp_path: Path) -> None:
    events: list[Progress] = []
    check(made.paired(tmp_path, 5), on_progress=events.append)
    assert (events[-1].done, events[-1].total) == (10, 10)


def test_a_caption_with_half_a_surrogate_pair_can_be_stored(tmp_path: Path) -> None:
    """JSON can spell what no UTF-8 file can hold."""
    root = made.folder(tmp_path, {"a": 4})
    made.write(root / "metadata.jsonl", b'{"file_name": "a/000.png", "text": "half \\ud83d of a pair"}')
    captions = prepare(root).captions
    assert captions is not None
    assert sorted(captions)[-1] == "half \\ud83d of a pair"

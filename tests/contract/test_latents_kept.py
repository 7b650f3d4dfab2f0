"""Pictures are encoded once: remembered, and kept in the cache, where nothing that lies there changes what a run becomes."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import limner
from contract.helpers import ask_to_stop, assert_same_weights, at_images, finished, outcome_of, run_of, start
from contract.test_codes import BARE, SMALL, codec_of
from limner.core.digest import digest
from limner.data import latents
from limner.data.feed import Feed
from limner.data.latents import PASS_SIZE, RememberedLatents, cache_file
from limner.data.prepare import prepare
from limner.methods.vq.vqvae import VqVae
from limner.runs.run import Run

FEW = 500
"""Pictures of the tests that read every picture several times."""
LIMIT = f"data.limit={FEW}"


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that trained a codec and nothing else."""
    return run_of("vq-vae", tmp_path_factory.mktemp("bare"), "stages=[]", f"method={BARE}", narrow=False)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of kept latents in a cache that nobody else uses."""
    monkeypatch.setenv("LIMNER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "latents"


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one for every pass that a codec encodes for training."""
    seen: list[int] = []
    original = VqVae.encode

    def encode(self: VqVae, images: Tensor) -> Tensor:
        seen.extend([PASS_SIZE] * (len(images) == PASS_SIZE))
        return original(self, images)

    monkeypatch.setattr(VqVae, "encode", encode)
    return seen


@pytest.mark.parametrize("mirror", [False, True])
def test_every_picture_is_encoded_once(mirror: bool, cache: Path) -> None:
    dataset = prepare("digits")
    method = codec_of("vq-vae").eval()
    feed = Feed(dataset, "train", method.device, 0, mirror)
    asked: list[Tensor] = []

    def encode(images: Tensor) -> Tensor:
        asked.append(images)
        return method.encode(images)

    feed.remember(encode, "of this codec")
    torch.manual_seed(0)
    size, steps = 96, 2 * len(feed) // 96
    for step in range(steps):
        batch = feed.draw(step % 2, step * size, size)
        if step % 5 == 4:
            continue  # nobody asks: nothing is encoded
        assert batch.latents is not None
        assert torch.equal(batch.latents(), method.encode(batch.images))
    assert all(len(images) == PASS_SIZE for images in asked)
    distinct = len(torch.unique(torch.cat(asked).flatten(1), dim=0))
    most = len(feed) * (2 if mirror else 1)
    assert distinct <= most
    assert feed.memory is not None
    assert int(feed.memory.is_encoded.sum()) == pytest.approx(distinct, rel=0.02), "equal pictures are rare"
    before = len(asked)
    torch.manual_seed(0)
    assert feed.draw(0, 0, size).latents() is not None  # type: ignore[misc]
    assert len(asked) == before
    feed.keep()
    feed.remember(None)
    assert feed.draw(0, 0, 4).latents is None
    assert len(list(cache.iterdir())) == 1
    other = Feed(dataset, "train", method.device, 0, mirror)
    other.remember(encode, "of this codec")
    for draw in range(9):  # mirrored or not, as the generator has it
        torch.manual_seed(draw)
        batch = other.draw(0, 0, size)
        assert batch.latents is not None
        assert torch.equal(batch.latents(), method.encode(batch.images))
    assert len(asked) - before <= (9 if mirror else 0), "what was met in neither reading is encoded, and nothing else"


def test_what_is_too_large_is_encoded_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("limner.data.latents.MAX_BYTES", 1000)
    method = codec_of("vq-vae").eval()
    feed = Feed(prepare("digits"), "train", method.device, 0)
    feed.remember(method.encode)
    for _ in range(2):
        batch = feed.draw(0, 0, 10)
        assert batch.latents is not None
        assert torch.equal(batch.latents(), method.encode(batch.images))
    assert feed.memory is not None
    assert feed.memory.latents is None


def test_a_codec_encodes_no_picture_twice(bare: Run, tmp_path: Path, cache: Path, passes: list[int]) -> None:
    """Not in one run, nor in the next; and what a run reads changes nothing of what it becomes."""
    train = len(prepare("digits", limit=FEW).splits["train"])

    def prior(name: str, *settings: str) -> Run:
        return run_of("prior", tmp_path / name, f"codec={bare.path}", *SMALL, LIMIT, *settings, images=4 * train // 16 * 16)

    first = prior("first")
    assert first.checkpoint().images >= 3.9 * train
    assert train // PASS_SIZE < len(passes) <= train // 16 + 8, "one padded pass for each step of the first epoch, and no more"
    passes.clear()
    assert_same_weights(prior("again"), first)
    another = prior("another", "method.width=24", "seed=9")
    assert passes == []
    assert len(list(cache.iterdir())) == 1
    run_of("prior", tmp_path / "mirrored", f"codec={bare.path}", *SMALL, LIMIT, "data.mirror=true", images=32)
    assert passes, "mirrored pictures are others"
    assert len(list(cache.iterdir())) == 2
    run_of("prior", tmp_path / "third", f"codec={another.path}", *SMALL, LIMIT, images=32)
    assert len(list(cache.iterdir())) == 2, "it is the same codec, whichever run brings it"


def test_a_run_of_both_stages_leaves_its_latents_to_other_priors(tmp_path: Path, cache: Path, passes: list[int]) -> None:
    train = len(prepare("digits", limit=FEW).splits["train"])
    whole = run_of("vq-vae", tmp_path / "whole", LIMIT, images=96 + 3 * train // 16 * 16)
    (file,) = cache.iterdir()
    assert passes
    passes.clear()
    run_of("prior", tmp_path / "prior", f"codec={whole.path}", *SMALL, LIMIT, images=3 * train // 16 * 16)
    assert list(cache.iterdir()) == [file]
    assert len(passes) < train // 16, "what the two-stage run had met is not encoded"


def test_a_file_is_of_one_codec_and_one_way_to_round(bare: Run, cache: Path) -> None:
    method = codec_of("vq-vae")
    told = digest(method.state_dict(), [])
    places = [
        cache_file(told, ["pictures"]),
        cache_file(told, ["others"]),
        cache_file(digest(method.state_dict(), ["other"]), ["pictures"]),
    ]
    with torch.no_grad():
        next(method.parameters()).view(-1)[0] += 1e-6
    places.append(cache_file(digest(method.state_dict(), []), ["pictures"]))
    torch.set_num_threads(torch.get_num_threads() + 1)
    places.append(cache_file(told, ["pictures"]))
    assert len(set(places)) == len(places)
    assert all(place.parent == cache for place in places)


def die(_: object) -> None:
    raise RuntimeError("a fault made on purpose")


@pytest.mark.parametrize("between", ["kept", "gone", "damaged"])
@pytest.mark.parametrize(("preset", "stop"), [("vq-vae", 32), ("vq-vae", 112), ("prior", 80)])
@pytest.mark.parametrize("how", ["stopped", "killed"])
def test_resume_in_either_stage_whatever_became_of_the_cache(
    how: str,
    preset: str,
    stop: int,
    between: str,
    bare: Run,
    tmp_path: Path,
    cache: Path,
    passes: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`stopped` saves first; `killed` falls back on the last checkpoint, at 96 of the two-stage run's 160 images or at 64."""
    settings = ("checkpoints.every=0.2", *((f"codec={bare.path}", *SMALL) if preset == "prior" else ()))
    monkeypatch.setenv("LIMNER_CACHE", str(tmp_path / "elsewhere"))
    whole = run_of(preset, tmp_path / "whole", *settings, images=160)
    needed = len(passes)
    passes.clear()
    monkeypatch.setenv("LIMNER_CACHE", str(cache.parent))
    if how == "stopped":
        with at_images(stop, ask_to_stop):
            outcome_of(preset, tmp_path / "parts", *settings, images=160)
    else:
        with at_images(stop, die), pytest.raises(RuntimeError, match="on purpose"):
            outcome_of(preset, tmp_path / "parts", *settings, images=160)
    (path,) = (tmp_path / "parts").iterdir()
    kept = list(cache.glob("*"))
    assert len(kept) == (stop > 64)
    known = len(passes)
    for file in kept:
        if between == "gone":
            file.unlink()
        elif between == "damaged":
            file.write_bytes(file.read_bytes()[:-1] + b"?")
    limner.resume(path)
    assert_same_weights(Run(path), whole)
    if between == "kept" and how == "stopped":
        assert len(passes) == needed, "nothing is encoded twice"
    elif kept and between != "kept":
        assert len(passes) > needed
    assert known < needed


# ---- the file -----------------------------------------------------------------------------------------------------------


def halved(images: Tensor) -> Tensor:
    """A codec of a kind: [B, 1, 1, 4] -> [B, 2]."""
    return images.flatten(1)[:, :2] / 2


def never(images: Tensor) -> Tensor:
    raise AssertionError("encodes what is known")


PICTURES = torch.arange(80.0).view(20, 1, 1, 4)
PLACES = np.array([3, 19, 0, 7])


def remembering(path: Path, encode: latents.Encode = halved, count: int = 20) -> RememberedLatents:
    return RememberedLatents(encode, count, torch.device("cpu"), path)


def recalled(memory: RememberedLatents, places: np.ndarray = PLACES) -> Tensor:
    return memory.recall(places, PICTURES[torch.from_numpy(places)])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The latents of four pictures of twenty."""
    memory = remembering(tmp_path / "some" / "a.safetensors")
    recalled(memory)
    memory.save()
    return tmp_path / "some" / "a.safetensors"


def test_what_is_kept_is_read(file: Path) -> None:
    memory = remembering(file, never)
    assert torch.equal(recalled(memory), halved(PICTURES[torch.from_numpy(PLACES)]))
    before = file.read_bytes()
    memory.save()
    assert file.read_bytes() == before
    memory.encode = halved
    more = np.array([3, 4])
    assert torch.equal(recalled(memory, more), halved(PICTURES[3:5]))
    memory.save()
    again = remembering(file, never)
    assert again.is_encoded.sum() == 5
    recalled(again, more)
    with pytest.raises(AssertionError, match="known"):
        recalled(again, np.array([5]))


def _flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.write_bytes(content)


DAMAGES = {
    "cut": lambda file: file.write_bytes(file.read_bytes()[:-7]),
    "empty": lambda file: file.write_bytes(b""),
    "flipped": _flip,
    "text": lambda file: file.write_text("no latents"),
    "gone": lambda file: file.unlink(),
    "no checksum": lambda file: save_file({"known": torch.ones(20, dtype=torch.bool), "latents": torch.ones(20, 2)}, file),
    "wrong checksum": lambda file: save_file(load_file(file) | {"latents": torch.ones(20, 2)}, file),
    "other tensors": lambda file: save_file({"x": torch.ones(2), "digest": torch.ones(2)}, file),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_made_anew(damage: str, file: Path) -> None:
    DAMAGES[damage](file)
    memory = remembering(file)
    assert torch.equal(recalled(memory), halved(PICTURES[torch.from_numpy(PLACES)]))
    memory.save()
    assert remembering(file, never).is_encoded.sum() == 4


def test_a_file_of_fewer_pictures_is_not_believed(file: Path) -> None:
    memory = remembering(file, count=21)
    assert not memory.is_encoded.any()
    assert torch.equal(recalled(memory), halved(PICTURES[torch.from_numpy(PLACES)]))


WRITER = """
import sys, numpy as np, torch
from pathlib import Path
from limner.data.latents import PASS_SIZE, RememberedLatents, cache_file
images = torch.arange(80000.0).view(20000, 1, 1, 4)
order = np.random.default_rng(int(sys.argv[2])).permutation(20000)
memory = RememberedLatents(lambda x: x.flatten(1)[:, :2] / 2, 20000, torch.device("cpu"), Path(sys.argv[1]))
for start in range(0, 20000, 400):
    memory.recall(order[start : start + 400], images[torch.from_numpy(order[start : start + 400])])
    memory.save()
"""


def test_two_runs_may_write_at_once(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    writers = [start("-c", WRITER, str(path), str(seed)) for seed in (0, 1)]
    expected = torch.arange(80000.0).view(20000, 4)[:, :2] / 2
    read = 0
    while any(writer.poll() is None for writer in writers):
        if path.exists():
            memory = RememberedLatents(never, 20000, torch.device("cpu"), path)
            assert memory.latents is not None, "half a file"
            known = torch.from_numpy(memory.is_encoded)
            assert torch.equal(memory.latents[known], expected[known])
            read += 1
    for writer in writers:
        status, _, err = finished(writer)
        assert status == 0, err
    assert read > 3
    assert RememberedLatents(never, 20000, torch.device("cpu"), path).is_encoded.all()
    assert [left.name for left in tmp_path.iterdir()] == [path.name]


def test_the_files_longest_unused_make_room(tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = file.stat().st_size
    monkeypatch.setattr(latents, "MAX_CACHE_BYTES", 3 * size)
    for age, name in ((40, "b"), (30, "c")):
        shutil.copy(file, file.with_name(f"{name}.safetensors"))
        os.utime(file.with_name(f"{name}.safetensors"), (time.time() - age,) * 2)
    os.utime(file, (time.time() - 50,) * 2)
    remembering(file)  # used just now
    memory = remembering(file.with_name("d.safetensors"))
    recalled(memory)
    memory.save()
    assert sorted(path.stem for path in file.parent.iterdir()) == ["a", "c", "d"]
    monkeypatch.setattr(latents, "MAX_CACHE_BYTES", 1)
    recalled(memory, np.array([5]))
    memory.save()
    assert [path.stem for path in file.parent.iterdir()] == ["d"], "the newest stays, however large"


def test_a_full_disk_is_said_and_stops_no_run(bare: Run, tmp_path: Path, cache: Path, file: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    memory = remembering(file)
    recalled(memory, np.array([5]))
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
        with pytest.raises(limner.InputError, match=r"cannot write|no space left") as error:
            memory.save()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert "\n" not in str(error.value)
    assert list(file.parent.iterdir()) == [file]
    assert remembering(file, never).is_encoded.sum() == 4, "the file is as it was"
    prepare("digits")
    cache.write_text("in the way")
    run = run_of("prior", tmp_path / "run", f"codec={bare.path}", *SMALL, images=32)
    assert run.status()["state"] == "done"
    (line,) = [line for line in (run.path / "log.txt").read_text().splitlines() if "latents are not kept" in line]
    assert str(cache) in line

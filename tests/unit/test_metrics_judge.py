"""The judge and its kind: accurate, repeatable, frozen, and afraid of the right things."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import load, save_file
from sklearn.datasets import load_digits

from limner.core.errors import InputError
from limner.core.precision import exact
from limner.core.progress import Progress
from limner.judges import judge as judge_module
from limner.metrics.distribution.frechet import frechet_distance
from limner.metrics.features.detectors import Detector, Pixels, RandomConv
from limner.metrics.features.judge import Judge, judge_key, load_judge
from limner.metrics.features.judge_training import accuracy, train_judge
from limner.metrics.features.pixels import work_size
from limner.metrics.stats.moments import Moments

Pictures = NDArray[np.uint8]


@cache
def digits() -> tuple[Pictures, NDArray[np.int64]]:
    """1,797 real digits, 8×8, in one seeded order."""
    found = load_digits()
    order = np.random.default_rng(0).permutation(len(found.target))
    images = np.round(found.images * (255 / 16)).astype(np.uint8)[..., None]
    return images[order], found.target.astype(np.int64)[order]


@cache
def judge_of_digits(labelled: bool = True) -> Judge:
    images, labels = digits()
    train = np.arange(1400)
    return train_judge(images, train, labels if labelled else None, 10, seed=3, held_out=(images[1400:], labels[1400:]))


def scenes(count: int, height: int, width: int, channels: int, seed: int = 0) -> tuple[Pictures, NDArray[np.int64]]:
    """Pictures of two classes, a bright bar that lies or stands somewhere, in any shape."""
    random = np.random.default_rng(seed)
    images = random.integers(0, 60, (count, height, width, channels)).astype(np.uint8)
    labels = random.integers(0, 2, count)
    for image, label in zip(images, labels, strict=True):
        top, left = random.integers(0, height // 2), random.integers(0, width // 2)
        tall, wide = (height // 2, max(1, width // 8)) if label else (max(1, height // 8), width // 2)
        image[top : top + tall, left : left + wide] = random.integers(150, 256, channels)
    return images, labels


def blurred(images: Pictures, sigma: float) -> Pictures:
    offsets = torch.arange(-5, 6).float()
    kernel = torch.exp(-(offsets**2) / (2 * sigma**2))
    kernel = (kernel / kernel.sum()).expand(images.shape[3], 1, 1, 11)
    x = F.pad(torch.from_numpy(images).permute(0, 3, 1, 2).float(), (5, 5, 5, 5), mode="replicate")
    x = F.conv2d(x, kernel, groups=images.shape[3])
    x = F.conv2d(x, kernel.transpose(2, 3), groups=images.shape[3])
    return x.round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()


def noisy(images: Pictures, sigma: float) -> Pictures:
    noise = np.random.default_rng(0).normal(0, sigma, images.shape)
    return np.clip(images + noise, 0, 255).astype(np.uint8)


def ranks_faults(judge: Detector, reference: Pictures, fresh: Pictures) -> None:
    """A little worse is a little further: real < mild noise < heavy noise, real < blur < more blur, real < collapse < more."""
    moments = Moments.of(judge.features(reference))

    def far(images: Pictures) -> float:
        return frechet_distance(Moments.of(judge.features(images)), moments)

    real, size = far(fresh), len(fresh)
    few, one = fresh[np.arange(size) % 20], fresh[np.zeros(size, int)]
    assert real < far(noisy(fresh, 15)) < far(noisy(fresh, 40)) < far(noisy(fresh, 90))
    assert 1.5 * real < far(blurred(fresh, 0.7)) < far(blurred(fresh, 1.5))
    assert 1.5 * real < far(few) < far(one)


def test_judge_reads_digits() -> None:
    judge = judge_of_digits()
    assert judge.card.held_out_accuracy is not None
    assert judge.card.held_out_accuracy >= 0.95
    images, labels = digits()
    assert accuracy(judge, images[1400:], labels[1400:]) == judge.card.held_out_accuracy
    assert (judge.card.trained_on, judge.card.classes, judge.dim) == (1400, 10, 64)


def test_judge_s_features_have_their_unit() -> None:
    judge = judge_of_digits()
    covariance = torch.cov(judge.features(digits()[0][:1400]).double().T)
    assert float(covariance.trace()) == pytest.approx(100, rel=1e-3)


def test_the_same_seed_is_the_same_judge_to_the_bit() -> None:
    images, labels = digits()
    before = torch.random.get_rng_state()
    first = [train_judge(images[:300], None, which, 10, seed=1) for which in (labels[:300], None)]
    assert torch.equal(torch.random.get_rng_state(), before)  # and nobody else's draws were disturbed
    with torch.no_grad():
        torch.manual_seed(99)
        again = [train_judge(images[:300], None, which, 10, seed=1) for which in (labels[:300], None)]
    assert [judge.checksum for judge in first] == [judge.checksum for judge in again]
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3 - min(threads, 2))  # 1 or 2, whichever it was not
        assert train_judge(images[:300], None, labels[:300], 10, seed=1).checksum == first[0].checksum  # small pictures only
    finally:
        torch.set_num_threads(threads)
    assert first[0].checksum != train_judge(images[:300], None, labels[:300], 10, seed=2).checksum


def test_judge_comes_back_from_its_file(tmp_path: Path) -> None:
    judge, images = judge_of_digits(), digits()[0][:50]
    judge.save(tmp_path / "a.safetensors")
    again = load_judge(tmp_path / "a.safetensors")
    assert again.card == judge.card
    assert again.checksum == judge.checksum
    assert torch.equal(again.features(images), judge.features(images))
    again.save(tmp_path / "b.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_a_tampered_judge_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "judge.safetensors"
    judge = judge_of_digits()
    judge.save(path)
    whole = path.read_bytes()
    weights = load(whole)
    card = dict(vars(judge.card))
    about = {"card": card, "checksum": judge.checksum}

    def refused(reason: str) -> None:
        with pytest.raises(InputError, match=reason) as caught:
            load_judge(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)

    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    refused("changed after it was saved")
    path.write_bytes(whole[: len(whole) // 2])
    refused("damaged")
    save_file(weights, path)
    refused("no judge")
    card["held_out_accuracy"] = 1.0
    save_file(weights, path, {"limner.judge": json.dumps(about)})
    refused("changed after it was saved")
    save_file({**weights, "scale": weights["scale"][:-1].clone()}, path, {"limner.judge": json.dumps(about)})
    refused("other names or shapes")
    card["architecture"] = "judge-0"
    save_file(weights, path, {"limner.judge": json.dumps(about)})
    refused("judge-0")
    path.unlink()
    refused("no judge at")


@pytest.mark.parametrize("name", ["judge", "random-conv", "pixels"])
def test_features_do_not_depend_on_company(name: str) -> None:
    images = digits()[0][:300]
    detector = judge_of_digits() if name == "judge" else {"random-conv": RandomConv, "pixels": Pixels}[name]((8, 8, 1))
    together = detector.features(images)
    assert together.shape == (300, detector.dim)
    assert together.dtype == torch.float32
    shuffled = np.random.default_rng(0).permutation(300)
    torch.testing.assert_close(detector.features(images[shuffled]), together[shuffled], rtol=0, atol=1e-5)
    for alone in (0, 7, 299):
        torch.testing.assert_close(detector.features(images[alone : alone + 1])[0], together[alone], rtol=0, atol=1e-5)
    assert torch.equal(detector.features(torch.from_numpy(images)), together)
    assert len(detector.features(images[:0])) == 0


def test_features_are_exact_whatever_training_allows() -> None:
    judge, images = judge_of_digits(), digits()[0][:64]
    plain = judge.features(images)
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(judge.features(images), plain)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
    with exact("cpu"):
        assert not torch.is_grad_enabled()
    assert torch.is_grad_enabled()


@pytest.mark.parametrize(("height", "width", "channels"), [(28, 28, 1), (32, 48, 3), (96, 64, 4), (8, 20, 3), (5, 5, 1)])
@pytest.mark.parametrize("labelled", [True, False])
def test_any_shape(height: int, width: int, channels: int, labelled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("limner.metrics.features.judge_training.MIN_IMAGES_SEEN", 3000)
    images, labels = scenes(120, height, width, channels)
    judge = train_judge(images, np.arange(0, 120, 2), labels if labelled else None, 2, seed=0)
    seen = judge.outputs(images)
    assert seen.features.shape == (120, judge.dim)
    assert bool(torch.isfinite(seen.features).all())
    assert (seen.logits is not None) == labelled
    for kind in (RandomConv, Pixels):
        detector: Detector = kind((height, width, channels))
        assert detector.features(images).shape == (120, detector.dim)
        assert detector.dim <= 256
    with pytest.raises(InputError, match=f"{height}×{width}×{channels}"):
        judge.features(images[:, :-1])


def test_working_size_is_bounded() -> None:
    assert work_size(28, 28, 32) == (28, 28)
    assert work_size(96, 64, 32) == (32, 21)
    assert work_size(512, 64, 32) == (32, 8)
    assert work_size(5, 300, 32) == (5, 32)


def test_wrong_input_is_named() -> None:
    images, labels = digits()
    with pytest.raises(InputError, match="uint8 images"):
        train_judge(images.astype(np.float32), None, labels, 10, seed=0)
    with pytest.raises(InputError, match="label below 5"):
        train_judge(images, None, labels, 5, seed=0)
    with pytest.raises(InputError, match="at least two"):
        train_judge(images, np.arange(1), None, 0, seed=0)


def test_images_without_a_label_are_left_out() -> None:
    images, labels = digits()
    some = np.where(np.arange(len(labels)) % 2 == 0, labels, -1)[:400]
    assert train_judge(images[:400], None, some, 10, seed=0).card.trained_on == 200
    nothing = train_judge(images[:400], None, np.full(400, -1), 10, seed=0)
    assert (nothing.card.trained_on, nothing.card.classes) == (400, 0)


def test_a_data_set_may_gather() -> None:
    class Set:
        shape = digits()[0].shape

        def gather(self, indices: NDArray[np.int64]) -> Pictures:
            return digits()[0][indices]

    rows, labels = np.arange(5, 300), digits()[1]
    assert train_judge(Set(), rows, labels, 10, seed=1).checksum == train_judge(digits()[0], rows, labels, 10, seed=1).checksum
    assert torch.equal(judge_of_digits().features(Set()), judge_of_digits().features(digits()[0]))


def test_judges_are_kept_under_what_they_depend_on() -> None:
    keys = {judge_key("a", 0), judge_key("a", 1), judge_key("b", 0)}
    assert len(keys) == 3
    assert judge_key("a", 0) == judge_key("a", 0)
    assert all("/" not in key for key in keys)


@pytest.mark.parametrize("labelled", [True, False])
def test_judge_of_digits_ranks_faults(labelled: bool) -> None:
    judge = judge_of_digits(labelled)
    assert (judge.card.classes > 0) == labelled
    images, labels = digits()
    reference, fresh = images[:900], images[900:]
    ranks_faults(judge, reference, fresh)
    moments = Moments.of(judge.features(reference))
    whole = frechet_distance(Moments.of(judge.features(fresh)), moments)
    assert frechet_distance(Moments.of(judge.features(fresh[labels[900:] != 3])), moments) > whole  # a class is missing


def test_untrained_detectors_rank_faults_too() -> None:
    images = digits()[0]
    ranks_faults(RandomConv((8, 8, 1)), images[:900], images[900:])


def idx(path: Path) -> NDArray[np.uint8]:
    raw = gzip.decompress(path.read_bytes())
    shape = [int.from_bytes(raw[4 + 4 * axis : 8 + 4 * axis], "big") for axis in range(raw[3])]
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(shape)


@pytest.mark.slow
@pytest.mark.data("fashion-mnist")
def test_judge_reads_fashion_mnist(limner_data: Callable[[str], Path]) -> None:
    folder = limner_data("fashion-mnist")
    train, test = (
        (idx(folder / f"{part}-images-idx3-ubyte.gz")[..., None], idx(folder / f"{part}-labels-idx1-ubyte.gz").astype(np.int64))
        for part in ("train", "t10k")
    )
    judge = train_judge(train[0], None, train[1], 10, seed=0, held_out=test)
    assert (judge.card.held_out_accuracy or 0) >= 0.9
    ranks_faults(judge, test[0][5000:], test[0][:2000])


def test_a_damaged_judge_in_the_cache_is_trained_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And so is one that lies there under the name of another data set's."""
    monkeypatch.setenv("LIMNER_CACHE", str(tmp_path / "cache"))
    right, wrong = judge_of_digits(), judge_of_digits()
    dataset = SimpleNamespace(fingerprint=right.card.fingerprint)
    monkeypatch.setattr(judge_module, "train_judge_for", lambda *_: right)
    monkeypatch.setattr(judge_module, "SHIPPED_JUDGES", tmp_path)
    monkeypatch.setattr(judge_module, "JUDGE_SEED", right.card.seed)
    path = tmp_path / "cache" / "judges" / f"{judge_key(dataset.fingerprint, right.card.seed)}.safetensors"
    assert judge_module.judge_for(dataset).checksum == right.checksum
    whole = path.read_bytes()
    other = Judge(replace(wrong.card, fingerprint="other"), wrong.weights)
    other.save(tmp_path / "other.safetensors")
    for content, reason in (
        (whole[:-1] + bytes([whole[-1] ^ 1]), "was changed after it was saved"),
        (whole[:100], "damaged"),
        (b"", "damaged"),
        ((tmp_path / "other.safetensors").read_bytes(), "is that of other data"),
    ):
        path.write_bytes(content)
        events: list[Progress] = []
        assert judge_module.judge_for(dataset, events.append).checksum == right.checksum
        assert reason in events[0].note
        assert "; it is trained anew" in events[0].note
        assert path.read_bytes() == whole

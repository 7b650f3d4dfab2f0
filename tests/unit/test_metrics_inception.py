"""The FID network: its numbers, its weights' checks, and what is refused. Drawn weights stand in for the published ones."""

from __future__ import annotations

import hashlib
import os
import socket
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from limner.core.errors import InputError
from limner.core.precision import exact
from limner.core.progress import Progress
from limner.metrics.features import inception
from limner.metrics.features.detectors import Shape
from limner.metrics.features.inception import WEIGHTS, Inception, PublishedFile, load_inception, resize
from limner.metrics.features.inception_net import folded
from made_inception import pictures, published_weights
from served import Endless, serve, watch_reads

# Of the tiles of `pictures`, by torch-fidelity 0.4.0 on `published_weights(0)`: features 3, 320, 704, 1088, 1472, 1856, the
# mean of all 2,048, and logits 0, 500, 1007 without the bias. tests/parity/test_inception_oracles.py compares everything.
GOLDEN = {
    (28, 1): ((1.031815, 0.274080, 1.650669, 0.210725, 0.640258, 1.207141), 0.350733, (0.655038, -0.333853, 1.412934)),
    (32, 3): ((1.360381, 0.373407, 2.058115, 0.246083, 0.666588, 1.725071), 0.435478, (0.775812, -0.501474, 1.515359)),
    (64, 1): ((0.969107, 0.233595, 1.507103, 0.202669, 0.550908, 1.112918), 0.330447, (0.687616, -0.324128, 1.316882)),
    (299, 3): ((1.210800, 0.342235, 2.045866, 0.246241, 0.632153, 1.417076), 0.408995, (0.773963, -0.461575, 1.557425)),
    (512, 3): ((1.268863, 0.300671, 1.807674, 0.180181, 0.706316, 1.542354), 0.389098, (0.734542, -0.391550, 1.492330)),
}


@pytest.fixture(scope="module")
def drawn() -> dict[str, torch.Tensor]:
    return published_weights()


def detector(drawn: dict[str, torch.Tensor], shape: Shape) -> Inception:
    return Inception(shape, drawn, "checksum")


def test_golden_features_and_logits(drawn: dict[str, torch.Tensor]) -> None:
    batch = [detector(drawn, (side, side, channels)).prepare(pictures(side, channels)[1:].numpy()) for side, channels in GOLDEN]
    with exact("cpu"):
        features, logits = detector(drawn, (28, 28, 3)).forward(torch.cat(batch).contiguous(memory_format=torch.channels_last))
    assert logits is not None
    for row, (some, mean, few) in enumerate(GOLDEN.values()):
        assert features[row, [3, 320, 704, 1088, 1472, 1856]].tolist() == pytest.approx(some, abs=1e-5)
        assert float(features[row].mean()) == pytest.approx(mean, abs=1e-5)
        assert logits[row, [0, 500, 1007]].tolist() == pytest.approx(few, abs=1e-5)
    assert features.shape == (5, 2048)
    assert logits.shape == (5, 1008)


def test_features_are_exact_and_depend_neither_on_company_nor_order(drawn: dict[str, torch.Tensor]) -> None:
    net = detector(drawn, (28, 28, 1))
    net.chunk = 2
    three = torch.cat((pictures(28, 1), 255 - pictures(28, 1)[1:]))
    seen = net.outputs(three)
    with torch.autocast("cpu", dtype=torch.bfloat16):  # a caller's shortcuts stay outside
        back = net.outputs(three.flip(0))
    assert torch.equal(back.features.flip(0), seen.features)
    assert seen.logits is not None
    assert back.logits is not None
    assert torch.equal(back.logits.flip(0), seen.logits)
    assert seen.features[1, 3].item() == pytest.approx(1.031815, abs=1e-5)
    assert (seen.features[1] - seen.features[2]).abs().max() > 0.05


def test_folding_does_what_convolution_and_batch_norm_did(drawn: dict[str, torch.Tensor]) -> None:
    of = {name.removeprefix("Mixed_6b.branch7x7_2."): tensor.double() for name, tensor in drawn.items()}
    x = torch.randn(2, 128, 9, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    norm = (of["bn.running_mean"], of["bn.running_var"], of["bn.weight"], of["bn.bias"])
    expected = F.batch_norm(F.conv2d(x, of["conv.weight"]), *norm, eps=1e-3)
    weights = folded(drawn)
    found = F.conv2d(x, weights["Mixed_6b.branch7x7_2.weight"].double(), weights["Mixed_6b.branch7x7_2.bias"].double())
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


def test_weights_of_another_network_are_refused(drawn: dict[str, torch.Tensor]) -> None:
    missing = {name: tensor for name, tensor in drawn.items() if name != "Mixed_7c.branch_pool.bn.bias"}
    with pytest.raises(InputError, match=r"1 of its tensors.*Mixed_7c.branch_pool.bn.bias"):
        detector(missing, (28, 28, 1))
    with pytest.raises(InputError, match=r"2 of its tensors.*fc.bias"):  # as the later ports have it
        detector(drawn | {"fc.weight": torch.zeros(1000, 2048), "fc.bias": torch.zeros(1000)}, (28, 28, 1))


def test_transparency_is_refused(drawn: dict[str, torch.Tensor]) -> None:
    with pytest.raises(InputError, match="transparency"):
        detector(drawn, (28, 28, 4))


def test_the_resize_is_tensorflow_1_s() -> None:
    row = torch.tensor([0.0, 10.0]).view(1, 1, 1, 2)
    assert resize(row, (1, 4)).flatten().tolist() == [0, 5, 10, 10]  # corners, not centres; the last pixel goes on
    assert resize(row.transpose(2, 3), (4, 1)).flatten().tolist() == [0, 5, 10, 10]
    assert resize(torch.arange(8.0).view(1, 1, 1, 8), (1, 4)).flatten().tolist() == [0, 2, 4, 6]  # no antialiasing
    square = torch.rand(1, 1, 299, 299)
    assert torch.equal(resize(square, (299, 299)), square)


def test_prepared_pixels(drawn: dict[str, torch.Tensor]) -> None:
    grey = np.array([0, 128, 255], dtype=np.uint8).repeat(299 * 299).reshape(3, 299, 299, 1)
    found = detector(drawn, (299, 299, 1)).prepare(grey)
    assert found.shape == (3, 3, 299, 299)
    assert found.amax((1, 2, 3)).tolist() == found.amin((1, 2, 3)).tolist() == [-1, 0, 127 / 128]
    wide = pictures(28, 3)[:, :, :20].numpy()
    found = detector(drawn, (28, 20, 3)).prepare(wide)
    assert torch.equal(found[0, :, 0, 0], (torch.from_numpy(wide[0, 0, 0]).float() - 128) / 128)
    assert torch.equal(found[0, :, 298, 298], (torch.from_numpy(wide[0, 27, 19]).float() - 128) / 128)


def test_what_is_said_beside_the_numbers(drawn: dict[str, torch.Tensor]) -> None:
    net = detector(drawn, (28, 28, 1))
    assert (net.name, net.dim, net.checksum) == ("inception", 2048, "checksum")
    assert net.preprocessing["resize"] == "TensorFlow 1 bilinear to 299×299, not antialiased"
    assert detector(drawn, (299, 299, 3)).preprocessing["resize"] == "none"


# The file of the weights: another stands in for the published one, with its own size and sha256.


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory, drawn: dict[str, torch.Tensor]) -> Path:
    path = tmp_path_factory.mktemp("published") / "weights.pth"
    torch.save(drawn | {"Conv2d_1a_3x3.bn.num_batches_tracked": torch.tensor(7)}, path)
    return path


def as_published(path: Path, *urls: str) -> PublishedFile:
    return PublishedFile("weights.pth", path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest(), urls)


@pytest.fixture
def known(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PublishedFile:
    """The stand-in is what limner expects; nothing is in the cache and there is no network."""
    monkeypatch.setenv("LIMNER_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("LIMNER_INCEPTION", raising=False)
    published = as_published(file, (tmp_path / "nothing").as_uri(), (tmp_path / "nothing either").as_uri())
    monkeypatch.setattr(inception, "WEIGHTS", published)
    return published


def cached(tmp_path: Path) -> list[str]:
    return sorted(path.relative_to(tmp_path / "cache").as_posix() for path in (tmp_path / "cache").rglob("*") if path.is_file())


def test_the_constant_is_the_published_file() -> None:
    assert WEIGHTS.size == 95_628_359
    assert WEIGHTS.sha256.startswith("6726825d0af5f729")
    assert all(url.startswith("https://") and url.endswith("inception-2015-12-05-6726825d.pth") for url in WEIGHTS.urls)


@pytest.mark.parametrize("way", ["argument", "variable"])
def test_weights_by_path(
    way: str, known: PublishedFile, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, drawn: dict[str, torch.Tensor]
) -> None:
    if way == "variable":
        monkeypatch.setenv("LIMNER_INCEPTION", str(file))
    net = load_inception((28, 28, 1), file if way == "argument" else None)
    assert net.checksum == known.sha256
    assert torch.equal(net.net.fc.weight, drawn["fc.weight"])
    assert cached(tmp_path) == []


def test_the_argument_wins_over_the_variable(known: PublishedFile, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIMNER_INCEPTION", str(file) + ".not")
    assert load_inception((28, 28, 1), file).checksum == known.sha256


def test_other_files_are_refused(known: PublishedFile, file: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.pth"
    with pytest.raises(InputError, match=f"cannot read .*other.pth.*{known.sha256}"):
        load_inception((28, 28, 1), other)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    other.write_bytes(data)
    wrong = hashlib.sha256(data).hexdigest()
    with pytest.raises(InputError, match=rf"not the FID network's weights: it has sha256 {wrong}.*{known.sha256}"):
        load_inception((28, 28, 1), other)
    other.write_bytes(data[:-1])
    with pytest.raises(InputError, match=rf"it has {len(data) - 1:,} bytes.*{len(data):,} bytes"):
        load_inception((28, 28, 1), other)


class Harm:
    """Unpickled without care, it makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_a_pickle_never_runs(tmp_path: Path, known: PublishedFile, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"fc.weight": Harm(tmp_path / "harm")}, path)
    monkeypatch.setattr(inception, "WEIGHTS", as_published(path))  # even where size and sha256 are right
    with pytest.raises(Exception, match="mkdir"):
        load_inception((28, 28, 1), path)
    assert not (tmp_path / "harm").exists()


def test_the_download_is_checked_converted_and_kept(
    known: PublishedFile, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, drawn: dict[str, torch.Tensor]
) -> None:
    data = file.read_bytes()
    with serve(short=data[:-5], long=data + bytes(2**22), right=data) as site:  # the first two give less, and more
        urls = tuple(f"{site.url}/{name}" for name in ("short", "long", "right"))
        monkeypatch.setattr(inception, "WEIGHTS", replace(known, urls=urls))
        assert load_inception((28, 28, 1)).checksum == known.sha256
        assert site.asked == ["/short", "/long", "/right"]
    assert cached(tmp_path) == [f"detectors/inception-{known.sha256[:16]}.safetensors"]

    monkeypatch.setattr(inception, "WEIGHTS", known)  # from here on without a network
    again = load_inception((28, 28, 1))
    assert again.checksum == known.sha256
    assert torch.equal(again.net.fc.weight, drawn["fc.weight"])
    kept = tmp_path / "cache" / cached(tmp_path)[0]
    whole = bytearray(kept.read_bytes())
    for changed in (whole[:-7], whole[:-7] + bytes([whole[-7] ^ 1]) + whole[-6:]):
        kept.write_bytes(changed)
        with pytest.raises(InputError, match="cannot be downloaded"):  # it is not used, but fetched anew
            load_inception((28, 28, 1))
    events: list[Progress] = []
    with serve(right=data) as site:
        monkeypatch.setattr(inception, "WEIGHTS", replace(known, urls=(f"{site.url}/right",)))
        load_inception((28, 28, 1), on_progress=events.append)
    assert events[0].note == f"{kept} is damaged; it is made anew"
    assert kept.read_bytes() == whole


def test_a_place_that_never_stops_sending_is_left(
    known: PublishedFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = watch_reads(monkeypatch)
    with serve(weights=Endless()) as site:
        monkeypatch.setattr(inception, "WEIGHTS", replace(known, urls=(f"{site.url}/weights",)))
        with pytest.raises(InputError, match="not in the cache and cannot be downloaded"):
            load_inception((28, 28, 1))
    assert known.size < sum(blocks) <= known.size + 2**20  # it stops at the block, of at most a MiB, that goes beyond
    assert cached(tmp_path) == []


def test_a_file_left_in_the_cache_is_no_more_trusted(known: PublishedFile, file: Path, tmp_path: Path) -> None:
    left = tmp_path / "cache" / "downloads" / "inception" / known.name
    left.parent.mkdir(parents=True)
    left.write_bytes(file.read_bytes()[:-1] + b"?")
    with pytest.raises(InputError, match="cannot be downloaded"):  # it is not used, but fetched anew
        load_inception((28, 28, 1))
    left.write_bytes(file.read_bytes())
    assert load_inception((28, 28, 1)).checksum == known.sha256


def test_without_a_network_one_line_says_what_to_get(
    known: PublishedFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:  # a place that refuses, once it is closed
        closed = f"http://127.0.0.1:{server.getsockname()[1]}/weights.pth"
    monkeypatch.setattr(inception, "WEIGHTS", replace(known, urls=(*known.urls, closed)))
    with pytest.raises(InputError) as caught:
        load_inception((28, 28, 1))
    said = str(caught.value)
    assert "\n" not in said
    for part in (known.name, f"{known.size:,} bytes", known.sha256, "LIMNER_INCEPTION=FILE", *known.urls, closed, "refused"):
        assert part in said
    assert cached(tmp_path) == []

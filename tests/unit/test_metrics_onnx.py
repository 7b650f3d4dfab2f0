"""Detectors in ONNX files, made here: what they see, and what is refused in one line."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from limner.core.errors import InputError
from limner.metrics.features.detectors import Detector, Pixels
from limner.metrics.features.onnx import Onnx
from limner.metrics.features.table import open_detector

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

FLOAT, UINT8 = 1, 2  # onnx.TensorProto's numbers


def model(
    shape: list[Any],
    nodes: list[tuple[str, list[str], list[str], dict[str, Any]]],
    weights: dict[str, Any] | None = None,
    kind: int = FLOAT,
    out: int = FLOAT,
    metadata: dict[str, str] | None = None,
) -> Any:
    """A network from `x` to `y`."""
    make = onnx.helper
    graph = make.make_graph(
        [make.make_node(name, inputs, outputs, **options) for name, inputs, outputs, options in nodes],
        "made",
        [make.make_tensor_value_info("x", kind, shape)],
        [make.make_tensor_value_info("y", out, None)],
        [onnx.numpy_helper.from_array(value, name) for name, value in (weights or {}).items()],
    )
    built = make.make_model(graph, opset_imports=[make.make_opsetid("", 17)], ir_version=8)
    make.set_model_props(built, metadata or {})
    return built


def write(path: Path, built: Any) -> Path:
    path.write_bytes(built.SerializeToString())
    return path


IDENTITY = [("Identity", ["x"], ["y"], {})]


def images(count: int, height: int, width: int, channels: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(5).integers(0, 256, (count, height, width, channels), dtype=np.uint8)


@pytest.mark.parametrize(("told", "low", "high"), [(None, 0, 1), ("0..1", 0, 1), ("-1..1", -1, 1), ("0..255", 0, 255)])
def test_the_network_sees_the_pictures_in_its_range(told: str | None, low: int, high: int, tmp_path: Path) -> None:
    path = write(tmp_path / "same.onnx", model(["N", 3, 4, 5], IDENTITY, metadata={"limner.range": told} if told else None))
    pictures = images(40, 4, 5, 3)  # more than one chunk, the last not full
    seen = Onnx(path, (4, 5, 3)).outputs(pictures)
    expected = pictures.transpose(0, 3, 1, 2).reshape(40, 60) / 255 * (high - low) + low
    np.testing.assert_allclose(seen.features.numpy(), expected, rtol=0, atol=1e-6 * (high - low))
    assert seen.logits is None


def test_what_is_said_beside_the_numbers(tmp_path: Path) -> None:
    path = write(tmp_path / "Mine.onnx", model(["N", 3, 4, 4], IDENTITY, metadata={"limner.range": "0..255"}))
    found = Onnx(path, (9, 9, 1))
    assert (found.name, found.dim) == ("Mine.onnx", 48)
    assert found.checksum == hashlib.sha256(path.read_bytes()).hexdigest()
    assert found.preprocessing == {"resize": "antialiased bilinear to 4×4", "range": "0..255", "output": "y"}


def test_grey_goes_into_three_channels_and_sizes_are_brought_to_the_network_s(tmp_path: Path) -> None:
    path = write(tmp_path / "same.onnx", model(["N", 3, 2, 4], IDENTITY))
    pictures = images(3, 8, 8, 1)
    found = Onnx(path, (8, 8, 1)).outputs(pictures).features.view(3, 3, 2, 4)
    small = Pixels((8, 8, 1))
    small.work, small.dim = (2, 4), 8
    for channel in range(3):
        torch.testing.assert_close(found[:, channel].flatten(1), small.outputs(pictures).features, rtol=0, atol=1e-6)


def test_a_layer_by_hand_with_a_fixed_number_of_pictures(tmp_path: Path) -> None:
    weight = np.random.default_rng(1).normal(size=(16, 3)).astype(np.float32)
    nodes = [("Flatten", ["x"], ["f"], {}), ("MatMul", ["f", "w"], ["h"], {}), ("Relu", ["h"], ["y"], {})]
    found = Onnx(write(tmp_path / "layer.onnx", model([2, 1, 4, 4], nodes, {"w": weight})), (4, 4, 1))
    pictures = images(5, 4, 4, 1)
    assert (found.chunk, found.dim) == (2, 3)
    expected = np.maximum(pictures.reshape(5, 16) / 255 @ weight, 0)
    np.testing.assert_allclose(found.outputs(pictures).features.numpy(), expected, rtol=1e-5, atol=1e-6)


def test_numbers_depend_neither_on_company_nor_order(tmp_path: Path) -> None:
    weight = np.random.default_rng(2).normal(size=(4, 3, 3, 3)).astype(np.float32)
    nodes = [("Conv", ["x", "w"], ["y"], {"pads": [1, 1, 1, 1]})]
    found = Onnx(write(tmp_path / "conv.onnx", model(["N", 3, 8, 8], nodes, {"w": weight})), (8, 8, 3))
    pictures = images(35, 8, 8, 3)
    together = found.outputs(pictures).features
    assert torch.equal(found.outputs(pictures[::-1]).features.flip(0), together)
    assert torch.equal(found.outputs(pictures[33:]).features, together[33:])
    assert found.to("meta").device == torch.device("cpu")  # it stays
    assert found.session.get_providers() == ["CPUExecutionProvider"]
    assert found.session.get_session_options().intra_op_num_threads == torch.get_num_threads()


REFUSED = {
    "rank": (lambda: model(["N", 48], IDENTITY), "must take one input of float32"),
    "type": (lambda: model(["N", 3, 4, 4], IDENTITY, kind=UINT8, out=UINT8), r"must take one input.*uint8"),
    "open size": (lambda: model(["N", 3, "H", "W"], IDENTITY), r"leaves the size of its pictures open.*'H'"),
    "open channels": (lambda: model(["N", "C", 4, 4], IDENTITY), "leaves the size of its pictures open"),
    "channels": (lambda: model(["N", 1, 4, 4], IDENTITY), "sees pictures of 1 channels, and these have 3"),
    "range": (lambda: model(["N", 3, 4, 4], IDENTITY, metadata={"limner.range": "0-255"}), "did you mean '0..255'"),
    "output": (
        lambda: model(["N", 3, 4, 4], [("Cast", ["x"], ["y"], {"to": UINT8})], out=UINT8),
        r"y, is tensor\(uint8\); features must be a tensor of floats",
    ),
    "no batch": (
        lambda: model(["N", 3, 4, 4], [("ReduceMean", ["x"], ["y"], {"axes": [0], "keepdims": 0})]),
        r"y of 32 pictures is \[3, 4, 4\]; it must be \[N, …\]",
    ),
    "no numbers": (lambda: model(["N", 3, 4, 4], [("Log", ["x"], ["y"], {})]), "no finite numbers; is 0..1 the range"),
    "fails": (
        lambda: model(["N", 3, 4, 4], [("Reshape", ["x", "s"], ["y"], {})], {"s": np.array([7, 7])}),
        r"fails on pictures of 3×4×4: .*Reshape",
    ),
    "unknown operator": (lambda: model(["N", 3, 4, 4], [("Ours", ["x"], ["y"], {"domain": "our.own"})]), r"reads: .*our\.own"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_one_line(name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    build, words = REFUSED[name]
    path = write(tmp_path / "bad.onnx", build())
    with pytest.raises(InputError, match=words) as caught:
        Onnx(path, (4, 4, 3))
    assert "\n" not in str(caught.value)
    assert "bad.onnx" in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_damaged_and_missing_files(tmp_path: Path) -> None:
    path = tmp_path / "some.onnx"
    with pytest.raises(InputError, match=r"cannot read .*some\.onnx: No such file"):
        Onnx(path, (4, 4, 3))
    whole = model(["N", 3, 4, 4], IDENTITY).SerializeToString()
    for data in (b"", b"no onnx at all", whole[: len(whole) // 2], whole[:-3]):
        path.write_bytes(data)
        with pytest.raises(InputError, match=r"some\.onnx is no ONNX file that onnxruntime") as caught:
            Onnx(path, (4, 4, 3))
        assert "\n" not in str(caught.value)


def test_weights_in_another_file_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built = model(["N", 1, 4, 4], [("Add", ["x", "w"], ["y"], {})], {"w": np.ones((1, 1, 4, 4), dtype=np.float32)})
    (weight,) = built.graph.initializer
    (tmp_path / "weights.bin").write_bytes(weight.raw_data)
    monkeypatch.chdir(tmp_path)
    onnx.external_data_helper.set_external_data(weight, "weights.bin")
    weight.ClearField("raw_data")
    hidden = model(["N", 1, 4, 4], [("Constant", [], ["w"], {"value": weight}), ("Add", ["x", "w"], ["y"], {})])
    for split in (built, hidden):
        path = write(tmp_path / "split.onnx", split)
        with pytest.raises(InputError, match=r"split\.onnx keeps weights in another file"):
            Onnx(path, (4, 4, 1))


def test_without_onnxruntime_the_line_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "same.onnx", model(["N", 3, 4, 4], IDENTITY))
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(InputError, match=r"needs onnx and onnxruntime; pip install limner\[export\]"):
        Onnx(path, (4, 4, 3))


def test_chosen_by_its_file(tmp_path: Path) -> None:
    path = write(tmp_path / "same.ONNX", model(["N", 3, 4, 4], IDENTITY))
    found: Detector = open_detector(str(path), (4, 4, 3), lambda: pytest.fail("no judge was asked for"))
    assert found.name == "same.ONNX"

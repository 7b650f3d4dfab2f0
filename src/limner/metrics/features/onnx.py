"""A detector from any network in an ONNX file. onnxruntime interprets it; nothing in it can run code of its own.

What the file must hold: one input [N, C, H, W] of float32 with C, H and W given as numbers; its first output, flattened, is the
features. Pictures are brought to H×W by antialiased linear resampling, grey ones to three channels where it wants three. Their
values go from 0 to 1, unless the file's metadata has `limner.range` = `-1..1` or `0..255`; normalisation of
channels belongs into the network. All weights must be in this one file, so that the checksum covers them.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from limner.core.errors import InputError, nearest
from limner.core.files import read_regular_file
from limner.metrics.features.detectors import Detector, Shape

RANGES = {"0..1": (0.5, 0.5), "-1..1": (1.0, 0.0), "0..255": (127.5, 127.5)}
"""Range of values -> gain and offset that make it of −1..1."""
RANGE_KEY = "limner.range"
_MAX_BYTES = 2**31 - 1  # of one ONNX file
_FLOATS = ("tensor(float)", "tensor(double)", "tensor(float16)")


class Onnx(Detector):
    """The network of an ONNX file, for pictures of `shape`. It runs on the CPU, wherever the rest runs.

    `name` is the file's, `checksum` the sha256 of its bytes. Errors: `InputError` where onnxruntime is not installed, where the
    file is missing or damaged, or where its input or output is not as this module says.
    """

    def __init__(self, path: str | Path, shape: Shape) -> None:
        path = Path(path).expanduser()
        self.name, self.shape, self.device = path.name, shape, torch.device("cpu")
        data = _bytes(path)
        self.checksum = hashlib.sha256(data).hexdigest()
        self.session = _session(path, data)
        entries = self.session.get_inputs()
        if len(entries) != 1 or entries[0].type != "tensor(float)" or len(entries[0].shape) != 4:
            inputs = ", ".join(f"{entry.name} {entry.type} {entry.shape}" for entry in entries) or "none"
            raise InputError(f"{path} must take one input of float32 [N, C, H, W]; it takes: {inputs}")
        count, channels, height, width = entries[0].shape
        if not all(isinstance(size, int) and size > 0 for size in (channels, height, width)):
            raise InputError(
                f"{path} leaves the size of its pictures open ({entries[0].shape}); export it with C, H and W as numbers "
                "(N may stay open)"
            )
        if channels != shape[2] and (shape[2], channels) != (1, 3):
            raise InputError(
                f"{path} takes pictures of {channels} channels, and these have {shape[2]}; prepare both sets with that many"
            )
        self.input, self.channels, self.work = entries[0].name, channels, (height, width)
        self.chunk = count if isinstance(count, int) and count > 0 else 32
        self.range = self.session.get_modelmeta().custom_metadata_map.get(RANGE_KEY, "0..1")
        if self.range not in RANGES:
            raise InputError(f"{path}: {RANGE_KEY} is '{self.range}'{nearest(self.range, RANGES)} (one of {', '.join(RANGES)})")
        self.output = self._output(path)
        self.dim = self.forward(torch.zeros(self.chunk, channels, height, width))[0].shape[1]

    def _output(self, path: Path) -> str:
        first = self.session.get_outputs()[0]
        if first.type not in _FLOATS:
            raise InputError(f"{path}: the first output, {first.name}, is {first.type}; features must be a tensor of floats")
        name: str = first.name
        return name

    @property
    def preprocessing(self) -> dict[str, str]:
        return super().preprocessing | {"range": self.range, "output": self.output}

    def to(self, device: torch.device | str) -> Self:
        return self

    def prepare(self, images: NDArray[np.uint8]) -> Tensor:
        """[n, H, W, C] uint8 -> [n, channels, *work] float32, in the range of values that the ONNX file expects.

        Grey images are repeated to three channels, where the file takes three.
        """
        gain, offset = RANGES[self.range]
        return (super().prepare(images) * gain + offset).expand(-1, self.channels, -1, -1)

    def forward(self, batch: Tensor) -> tuple[Tensor, Tensor | None]:
        try:
            (output,) = self.session.run([self.output], {self.input: batch.contiguous().numpy()})
        except Exception as error:  # onnxruntime's errors have no base of their own
            raise InputError(
                f"{self.name} fails on pictures of {self.channels}×{self.work[0]}×{self.work[1]}: {_one_line(error)}"
            ) from error
        if output.ndim < 1 or len(output) != len(batch):
            raise InputError(f"{self.name}: {self.output} of {len(batch)} pictures is {list(output.shape)}; it must be [N, …]")
        if not np.isfinite(output).all():
            raise InputError(
                f"{self.name} gives features that are no finite numbers; is {self.range} the range that it expects?"
            )
        return torch.from_numpy(output.reshape(len(output), -1).astype(np.float32)), None


def _bytes(path: Path) -> bytes:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise InputError(f"{path} has more than 2 GiB, which no ONNX file can have")
        return read_regular_file(path)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error


def _session(path: Path, data: bytes) -> Any:
    """An onnxruntime session on the CPU, without libraries of custom operators and without a second file."""
    try:
        import onnx
        import onnxruntime
    except ImportError as error:
        raise InputError(f"{path} needs onnx and onnxruntime; pip install limner[export]") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = torch.get_num_threads(), 1
    options.log_severity_level = 4  # errors are raised; nothing is printed as well
    try:
        if not _has_external_data(onnx.load_model_from_string(data)):
            return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors have no base of their own
        raise InputError(
            f"{path} is no ONNX file that onnxruntime {onnxruntime.__version__} reads: {_one_line(error)}"
        ) from error
    raise InputError(f"{path} keeps weights in another file; save it as one file (save_as_external_data=False)")


def _has_external_data(message: Any) -> bool:
    """Whether any tensor at any depth of an ONNX message lies in another file, which older versions of onnxruntime read."""
    if message.DESCRIPTOR.name == "TensorProto":
        return bool(message.external_data) or message.data_location == message.EXTERNAL
    for field, value in message.ListFields():
        if field.message_type is not None and any(map(_has_external_data, [value] if hasattr(value, "ListFields") else value)):
            return True
    return False


def _one_line(error: Exception) -> str:
    """The message in one line, without the tag and the numbers that onnxruntime puts before it."""
    return " ".join(str(error).rpartition("[ONNXRuntimeError] : ")[2].split())

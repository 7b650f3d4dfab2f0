"""What a detector sees of many pictures: exact, the same however the work is cut, and in memory that does not grow."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from contract.helpers import finished, start, torchrun
from limner.core.errors import InputError
from limner.metrics.features import summary
from limner.metrics.features.detectors import Detector, RandomConv
from limner.metrics.features.summary import JACKKNIFE_BLOCKS, FeatureSummary, jackknife_blocks, summarise

SHAPE = (8, 8, 1)


class Known(Detector):
    """Features are the pixels in 0..255 and logits their first ten: whoever has the pictures knows the answer."""

    name, shape, work, dim, checksum = "known", SHAPE, SHAPE[:2], 64, "known"
    device = torch.device("cpu")

    def forward(self, batch: Tensor) -> tuple[Tensor, Tensor | None]:
        pixels = ((batch.flatten(1) + 1) * 127.5).round()
        return pixels, pixels[:, :10]


def pictures(count: int, seed: int = 0) -> NDArray[np.uint8]:
    """Correlated, and not the same at the end as at the beginning."""
    random = np.random.default_rng(seed)
    rise = np.linspace(0, 60, count)[:, None, None, None]
    return (random.integers(0, 100, (count, *SHAPE)) + random.integers(0, 90, (count, 1, 1, 1)) + rise).astype(np.uint8)


@pytest.mark.parametrize("count", [2, 255, 257, 1300])
def test_moments_are_the_closed_form(count: int) -> None:
    images = pictures(count)
    seen = summarise(images, Known())
    x = images.reshape(count, -1).astype(np.float64)
    assert seen.count == count
    np.testing.assert_allclose(seen.moments.mean.numpy(), x.mean(0), rtol=1e-12)
    expected = np.cov(x, rowvar=False)
    np.testing.assert_allclose(seen.moments.covariance.numpy(), expected, rtol=0, atol=1e-12 * np.abs(expected).max())
    for part, rows in zip(seen.blocks, jackknife_blocks(count), strict=True):
        np.testing.assert_allclose(part.mean.numpy(), x[rows].mean(0), rtol=1e-12)
        assert part.n == len(x[rows]) >= 2
    assert len(seen.blocks) <= JACKKNIFE_BLOCKS
    assert np.array_equal(seen.features.numpy(), x.astype(np.float32))
    assert seen.logits is not None
    assert np.array_equal(seen.logits.numpy(), x[:, :10].astype(np.float32))


def test_rows_say_which_and_in_what_order() -> None:
    images, rows = pictures(700), np.random.default_rng(3).permutation(700)[:600]
    chosen, expected = summarise(images, Known(), rows), summarise(images[rows], Known())
    assert torch.equal(chosen.features, expected.features)
    assert all(torch.equal(one.outer, other.outer) for one, other in zip(chosen.blocks, expected.blocks, strict=True))
    in_order, shuffled = summarise(images, Known()), summarise(images, Known(), np.random.default_rng(4).permutation(700))
    torch.testing.assert_close(in_order.moments.covariance, shuffled.moments.covariance, rtol=1e-12, atol=1e-12)
    assert not torch.equal(in_order.blocks[0].total, shuffled.blocks[0].total)


@pytest.mark.parametrize("chunk", [1, 100, 4096])
def test_the_chunk_changes_nothing(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    images, whole = pictures(700), summarise(pictures(700), RandomConv(SHAPE))
    monkeypatch.setattr(summary, "_CHUNK", chunk)
    cut = summarise(images, RandomConv(SHAPE))
    assert torch.equal(cut.features, whole.features), "what one picture gives does not depend on its company"
    for one, other in zip(cut.blocks, whole.blocks, strict=True):
        assert one.n == other.n
        torch.testing.assert_close(one.outer, other.outer, rtol=1e-12, atol=0)


def test_only_the_first_are_kept_and_moments_are_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    images = pictures(900)
    whole = summarise(images, Known())
    monkeypatch.setattr(summary, "MAX_FEATURES", 300)
    seen = summarise(images, Known())
    assert whole.logits is not None
    assert seen.logits is not None
    assert torch.equal(seen.features, whole.features[:300])
    assert torch.equal(seen.logits, whole.logits[:300])
    assert torch.equal(seen.moments.outer, whole.moments.outer)
    from_features = FeatureSummary.of(whole.features, whole.logits)
    assert torch.equal(from_features.features, seen.features)
    torch.testing.assert_close(from_features.moments.outer, whole.moments.outer, rtol=1e-12, atol=0)


@pytest.mark.parametrize("count", [*range(1, 60), 1000, 1001, 5000])
def test_parts_are_even_and_cover_all(count: int) -> None:
    parts = jackknife_blocks(count)
    assert [row for part in parts for row in range(count)[part]] == list(range(count))
    sizes = [part.stop - part.start for part in parts]
    assert len(parts) <= JACKKNIFE_BLOCKS
    if count >= 2:
        assert min(sizes) >= 1
        assert max(sizes) == math.ceil(count / max(1, min(JACKKNIFE_BLOCKS, count // 2)))
        assert len(parts) >= min(JACKKNIFE_BLOCKS, count // 2) // 2


def test_no_picture_is_refused() -> None:
    with pytest.raises(InputError, match="no picture to be judged"):
        summarise(pictures(0), Known())


TWICE = """
import sys
import numpy as np
from limner.core import parallel
from limner.metrics.features.detectors import RandomConv
from limner.metrics.features.summary import summarise
from safetensors.torch import save_file
with parallel.processes():
    images = np.random.default_rng(0).integers(0, 256, (1500, 8, 8, 1), dtype=np.uint8)
    seen = summarise(images, RandomConv((8, 8, 1)))
    told = {f"{name}{i}": value for i, part in enumerate(seen.blocks) for name, value in part.state().items()}
    save_file(told | {"features": seen.features}, f"{sys.argv[1]}/{parallel.rank()}-of-{parallel.process_count()}")
"""


def test_two_processes_see_what_one_sees_to_the_bit(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(TWICE)
    code, _, err = torchrun(str(script), str(tmp_path))
    assert code == 0, err[-3000:]
    code, _, err = finished(start(str(script), str(tmp_path), OMP_NUM_THREADS="1"))
    assert code == 0, err[-3000:]
    alone = (tmp_path / "0-of-1").read_bytes()
    assert len(alone) > 1500 * RandomConv(SHAPE).dim * 4
    for rank in range(2):
        assert (tmp_path / f"{rank}-of-2").read_bytes() == alone


MEMORY = """
import json, resource, sys
import numpy as np
import torch
from limner.metrics.features.detectors import Detector
from limner.metrics.features.summary import summarise

class Lazy:
    def __init__(self, count):
        self.shape = (count, 28, 28, 1)
    def gather(self, rows):
        return np.random.default_rng(int(rows[0])).integers(0, 256, (len(rows), 28, 28, 1), dtype=np.uint8)

class Half(Detector):
    name, shape, work, dim, checksum, device = "half", (28, 28, 1), (28, 28), 392, "half", torch.device("cpu")
    def forward(self, batch):
        return batch[:, :, ::2].flatten(1), None

seen = summarise(Lazy(int(sys.argv[1])), Half())
assert seen.count == int(sys.argv[1])
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps({"peak": peak, "kept": seen.features.numel() * 4}))
"""


def test_memory_does_not_grow_with_the_number_of_pictures(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(MEMORY)

    def measured(count: int) -> dict[str, Any]:
        code, out, err = finished(start(str(script), str(count), OMP_NUM_THREADS="1"))
        assert code == 0, err
        found: dict[str, Any] = json.loads(out)
        return found

    few, many = measured(2_000), measured(60_000)
    assert many["kept"] == summary.MAX_FEATURES * 392 * 4
    assert many["peak"] - few["peak"] - (many["kept"] - few["kept"]) < 60e6

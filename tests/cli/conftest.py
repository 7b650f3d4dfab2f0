"""What every test of judging shares: the verb's door, and the same pictures in every place that holds pictures."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from limner.cli import main
from limner.data.prepare import prepare
from limner.evaluation.evaluate import EXIT_CODE_GATE
from made import encoded, write

Pixels = NDArray[np.uint8]
Ask = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Ask:
    """`ask("sample", …)` is (exit code, the one JSON object); what a person can mend is one line, there and for a person."""

    def run(*words: str | Path) -> tuple[int, dict[str, Any]]:
        capsys.readouterr()
        code = main([*map(str, words), "--json"])
        seen = capsys.readouterr()
        assert "Traceback" not in seen.out + seen.err
        answer: dict[str, Any] = json.loads(seen.out)
        if code not in (0, EXIT_CODE_GATE):
            assert set(answer) == {"error"}
            assert seen.err.splitlines()[-1] == f"limner: {answer['error']}"
        return code, answer

    return run


@pytest.fixture
def judge(ask: Ask) -> Ask:
    """`judge(WHAT, …)` asks `evaluate`."""
    return partial(ask, "evaluate")


@pytest.fixture(scope="module")
def fakes() -> tuple[Pixels, NDArray[np.int64]]:
    """Digits with a noise that every detector sees, and their classes."""
    data = prepare("digits")
    rows = data.indices("val")
    images = data.images.gather(rows)
    noise = np.random.default_rng(0).normal(0, 40, images.shape)
    assert data.labels is not None
    return (images + noise).clip(0, 255).round().astype(np.uint8), data.labels[rows]


@pytest.fixture(scope="module")
def places(fakes: tuple[Pixels, NDArray[np.int64]], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same pictures in the same order in a folder, in an .npz and, with their classes, in another."""
    images, labels = fakes
    base = tmp_path_factory.mktemp("places")
    for number, one in enumerate(images):
        write(base / "folder" / f"{number:04d}.png", encoded(Image.fromarray(one.squeeze())))
        write(base / "sorted" / str(labels[number]) / f"{number:04d}.png", encoded(Image.fromarray(one.squeeze())))
    np.savez(base / "plain.npz", images=images)
    np.savez(base / "labelled.npz", images=images, labels=labels)
    return {path.name: path for path in base.iterdir()}

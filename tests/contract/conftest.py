"""Small made sets of every shape, prepared once in a session."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import torch

from contract.helpers import SHAPES
from limner.data.prepare import prepare
from made import encoded, textured, write


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Mapping[tuple[int, int, int], Path]:
    """(H, W, C) -> a prepared set of 40 pictures of that shape, in two classes."""
    made = {}
    for shape in SHAPES:
        height, width, channels = shape
        root = tmp_path_factory.mktemp("pictures") / "x".join(map(str, shape))
        for number in range(40):
            write(root / "ab"[number % 2] / f"{number:03d}.png", encoded(textured(number, height, width, channels)))
        made[shape] = prepare(root, size=(height, width), workers=1).path
        assert prepare(made[shape]).shape == shape
    return made


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    """A test that changes the number of threads gives it back."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)

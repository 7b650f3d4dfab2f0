"""README's commands, run as they stand, but for the budget."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from limner.cli import main

README = Path(__file__).parents[2] / "README.md"
BLOCK = re.compile(r"<!-- run: (\w+) -->\n```\w+\n(.*?)```", re.S)
BLOCKS = dict(BLOCK.findall(README.read_text(encoding="utf-8")))


def brief(text: str) -> str:
    """The same with a budget of two batches instead of minutes."""
    return re.sub(r"minutes=\d+", "images=64", re.sub(r"--minutes \d+", "--images 64", text))


def commands(block: str) -> list[list[str]]:
    lines = [shlex.split(line, comments=True) for line in brief(block).splitlines() if line.strip()]
    assert lines
    assert all(words[0] == "limner" for words in lines)
    return [words[1:] for words in lines]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    small = "score.points=0 previews.count=4 previews.every=1 checkpoints.every=1 batch.size=32 data.limit=2000"
    monkeypatch.setenv("LIMNER_SETTINGS", small)
    # A checkpoint of a VAE fits a mixture to the latents of 5,000 pictures, which takes half a minute.
    monkeypatch.setattr("limner.methods.vae.base.PRIOR_IMAGES", 128)


def test_every_block_is_run() -> None:
    assert set(BLOCKS) == {"folder", "mnist", "python"}
    fenced = re.findall(r"```\w*\n(.*?)```", README.read_text(encoding="utf-8"), re.S)
    assert {block for block in fenced if "limner" in block} == set(BLOCKS.values())


def test_my_own_folder(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    for i in range(60):
        path = tmp_path / "pictures" / ("cats", "dogs")[i % 2] / f"{i}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw.integers(0, 256, (80, 70, 3), dtype=np.uint8)).save(path)
    for words in commands(BLOCKS["folder"]):
        assert main(words) == 0, words


@pytest.mark.data("mnist")
def test_mnist(tmp_path: Path) -> None:
    (tmp_path / "runs" / "0001-mine").mkdir(parents=True)  # the reader has done the folder first
    for words in commands(BLOCKS["mnist"]):
        assert main(words) == 0, words


def test_python(tmp_path: Path) -> None:
    code = brief(BLOCKS["python"]) + "\nassert images.shape == (16, 8, 8, 1), images.shape\n"
    exec(compile(code, "README.md", "exec"), {"__name__": "reader"})


def test_the_verbs_that_are_named_exist() -> None:
    for verb in set(re.findall(r"`limner (\w+)", README.read_text(encoding="utf-8"))):
        assert main([verb, "--help"]) == 0, verb

"""The pictures of the README are those that limner draws now."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from limner.recipes.settings import compose, parse_recipe

ROOT = Path(__file__).parents[2]
PICTURES = re.findall(r'src="(docs/pictures/[\w-]+\.png)"', (ROOT / "README.md").read_text(encoding="utf-8"))


def test_readme_begins_with_pictures() -> None:
    assert len(PICTURES) == 2


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_drawn_by_a_preset_of_now(name: str) -> None:
    """Where this fails, `python docs/draw_pictures.py` draws it anew."""
    with Image.open(ROOT / name) as file:
        texts = dict(file.text)  # type: ignore[attr-defined]
        assert file.size[0] >= 600
    recipe = json.loads(texts["recipe"])
    now = json.loads(compose(recipe["preset"], data__source=recipe["data"]["source"]).portable())
    assert texts["seeds"] == "0-63"
    assert recipe["seed"] == 0
    drawn = json.loads(parse_recipe(recipe, name).portable())  # with the defaults of settings that came later
    for section in ("ema", "batch", "score"):
        assert drawn[section] == now[section]


def leaves(tree: Any, path: str = "") -> dict[str, Any]:
    """Path -> value of a tree of settings."""
    if not isinstance(tree, dict):
        return {path: tree}
    return {name: value for key, branch in tree.items() for name, value in leaves(branch, f"{path}.{key}").items()}


def test_clothes_are_drawn_by_the_demo() -> None:
    """The settings of the preset, but for those that it leaves open."""
    with Image.open(ROOT / "docs/pictures/clothes.png") as file:
        drawn = leaves(json.loads(file.text["recipe"])["method"])  # type: ignore[attr-defined]
    (preset,) = re.findall(r"limner train clothes --preset (\w+)", (ROOT / "Makefile").read_text(encoding="utf-8"))
    now = leaves(json.loads(compose(preset, data__source="clothes").portable())["method"])
    fixed = {name: value for name, value in now.items() if value not in ("auto", None)}
    assert len(fixed) > 10
    assert {name: drawn[name] for name in fixed} == fixed

"""HTML pages by Jinja2. A template lies beside the code that fills it: `runs/report.html` beside `runs/report.py`.

A page opens anywhere: what it shows is in it (pictures as data, curves as SVG), and nothing in it runs. Its content policy
forbids scripts and the network, so that a page from a stranger opens safely. ``base.html`` holds this policy and the style,
``macros.html`` the parts that several pages have. Python code prepares texts, numbers and the classes below; templates escape
whatever text they are given, and fail on a name that nobody gave them.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from limner.pages.numbers import count, digits, percent

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup


@dataclass(frozen=True)
class Tile:
    """One of the few facts at the head of a page. `note` follows the value in small letters; `hint` explains the note."""

    name: str
    value: str
    note: str = ""
    hint: str = ""


@dataclass(frozen=True)
class Table:
    """Texts: the first of each row is its name, the others stand below `columns[1:]`, numbers to the right."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Figure:
    """A picture as the bytes of a PNG file, with `words` for who cannot see it and a line below it."""

    png: bytes
    words: str
    caption: str

    @property
    def source(self) -> str:
        """The picture as an address that holds it whole."""
        return f"data:image/png;base64,{base64.b64encode(self.png).decode('ascii')}"


def figure(image: NDArray[np.uint8], words: str, caption: str) -> Figure:
    """A figure of the picture [H, W, C]."""
    from limner.core import images  # torch comes with it, and reports of a run's files do without

    buffer = io.BytesIO()
    images.to_pillow(image).save(buffer, format="PNG")
    return Figure(buffer.getvalue(), words, caption)


def render(template: str, facts: Mapping[str, Any], folder: Path | None = None) -> str:
    """The page that `template` (a path below the package, or a name in `folder`) makes of `facts`.

    Errors: `jinja2.TemplateNotFound`, and `jinja2.UndefinedError` where the template names what is not in `facts`.
    """
    environment = _environment()
    if folder is not None:
        from jinja2 import ChoiceLoader, FileSystemLoader

        assert environment.loader is not None
        environment = environment.overlay(loader=ChoiceLoader([FileSystemLoader(folder), environment.loader]))
    return environment.get_template(template).render(facts)


def source(path: str) -> Markup:
    """The text of a style sheet or a script of this package, by its path below it. It is our own, and goes in unescaped."""
    from markupsafe import Markup

    return Markup(resources.files("limner").joinpath(path).read_text(encoding="utf-8"))


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("limner", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"count": count, "digits": digits, "percent": percent, "sentence": _sentence}
    environment.globals["source"] = source
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":")}
    return environment


def _sentence(text: str) -> str:
    """`text` with a capital at its beginning and a full stop at its end."""
    return f"{text[:1].upper()}{text[1:]}."

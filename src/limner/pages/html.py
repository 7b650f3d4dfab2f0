"""HTML pages by Jinja2. A template lies beside the code that fills it: `runs/report.html` beside `runs/report.py`.

A page opens without a network: everything it shows is inside it (pictures as data, curves as SVG). Its content policy forbids
scripts and requests, so that a page from a stranger opens safely. ``base.html`` holds the policy and the style, ``macros.html``
the parts that several pages have. Python code prepares texts, numbers and the classes below. Templates escape every text, and
an undefined name is an error.
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

from limner.pages.numbers import format_count, format_number, format_percent

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup


@dataclass(frozen=True)
class Tile:
    """One of the facts at the top of a page."""

    name: str
    value: str
    note: str = ""
    """Follows the value in small letters."""
    hint: str = ""
    """Explains the note where the pointer rests on it."""


@dataclass(frozen=True)
class PageTable:
    """A table of texts."""

    columns: Sequence[str]
    """The heads; that of the first column, which names the rows, is often empty."""
    rows: Sequence[Sequence[str]]
    """Each with one text per column; all but the first and the last are aligned to the right, as numbers are."""


@dataclass(frozen=True)
class Figure:
    """A picture with a line of text below it."""

    png: bytes
    """The bytes of a PNG file."""
    alt_text: str
    """Describes the picture to people who cannot see it."""
    caption: str

    @property
    def data_url(self) -> str:
        """The picture as a ``data:`` URL."""
        return f"data:image/png;base64,{base64.b64encode(self.png).decode('ascii')}"


def make_figure(image: NDArray[np.uint8], alt_text: str, caption: str) -> Figure:
    """A figure of the picture `image` [H, W, C]."""
    from limner.core import images  # it imports torch, which the report of a run does without

    buffer = io.BytesIO()
    images.to_pillow(image).save(buffer, format="PNG")
    return Figure(buffer.getvalue(), alt_text, caption)


def render(template: str, facts: Mapping[str, Any], folder: Path | None = None) -> str:
    """The page that `template` makes of `facts`, the names that it uses.

    `template` is a path below the package, or the name of a file in `folder`. Errors: `jinja2.TemplateNotFound`;
    `jinja2.UndefinedError` where the template uses a name that `facts` lacks.
    """
    environment = _environment()
    if folder is not None:
        from jinja2 import ChoiceLoader, FileSystemLoader

        assert environment.loader is not None
        environment = environment.overlay(loader=ChoiceLoader([FileSystemLoader(folder), environment.loader]))
    return environment.get_template(template).render(facts)


def read_asset(path: str) -> Markup:
    """The text of a style sheet or script of this package, by its path below the package. A page contains it unescaped."""
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
    environment.filters |= {"count": format_count, "digits": format_number, "percent": format_percent, "sentence": _sentence}
    environment.globals["read_asset"] = read_asset
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":")}
    return environment


def _sentence(text: str) -> str:
    """`text` with a capital at its beginning and a full stop at its end."""
    return f"{text[:1].upper()}{text[1:]}."

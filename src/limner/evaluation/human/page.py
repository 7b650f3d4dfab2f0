"""The page that people see: one file with its pictures inside, which opens from a disk and asks nothing of the network."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from limner.evaluation.human.records import Key, Task

Practice = dict[Task, list[tuple[list[bytes], str]]]


def page(
    key: Key,
    minutes: int,
    pictures: Mapping[str, bytes],
    masks: Sequence[bytes],
    examples: Sequence[bytes],
    practice: Practice,
) -> str:
    """The page as text. Of the key it holds only what is shown where: blind names, never what they stand for.

    Its content policy allows its one script by hash, pictures as data, and sending answers to where the page came from.
    """
    here, shared = Path(__file__).parent, resources.files("limner.pages")
    script = (here / "page.js").read_text(encoding="utf-8")
    style = "".join(file.read_text(encoding="utf-8") for file in (shared / "report.css", here / "page.css"))
    body = (here / "page.html").read_text(encoding="utf-8")
    place = {name: number for number, name in enumerate(pictures)}
    told: dict[str, Any] = {
        "study": key.study,
        "exposure": key.exposure,
        "minutes": minutes,
        "tasks": key.tasks,
        "names": list(pictures),
        "pictures": [_text(data) for data in pictures.values()],
        "masks": [_text(data) for data in masks],
        "examples": [_text(data) for data in examples],
        "practice": {task: [[[_text(data) for data in shown], right] for shown, right in practice[task]] for task in key.tasks},
        "forms": [
            [[key.tasks.index(trial.task), *map(place.__getitem__, trial.shown)] for trial in form] for form in key.forms
        ],
    }
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'"
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">'
        '<meta name="referrer" content="no-referrer"><link rel="icon" href="data:,">'
        f"<title>Real or generated?</title><style>{style}</style></head>\n<body>\n{body}\n"
        f'<script id="study" type="application/json">{json.dumps(told, separators=(",", ":"))}</script>\n'
        f"<script>{script}</script>\n</body></html>\n"
    )


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")

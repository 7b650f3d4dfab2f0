"""The page that people see: one file with its pictures inside, which opens from a disk and asks nothing of the network."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from limner.evaluation.human.records import Key, Task
from limner.pages.html import read_asset, render

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
    place = {name: number for number, name in enumerate(pictures)}
    study: dict[str, Any] = {
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
    script = read_asset("evaluation/human/page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return render("evaluation/human/page.html", {"study": study, "script": script, "digest": digest})


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")

"""The page that people see: one HTML file with its pictures inside, which opens from a disk and needs no network."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from limner.evaluation.human.records import StudyKey
from limner.evaluation.human.study_types import Task
from limner.pages.html import read_asset, render

PracticeTrials = dict[Task, list[tuple[list[bytes], str]]]
"""By task: the pictures as PNG and the right answer of each practice trial."""


def render_study_page(
    key: StudyKey,
    minutes: int,
    pictures: Mapping[str, bytes],
    masks: Sequence[bytes],
    examples: Sequence[bytes],
    practice: PracticeTrials,
) -> str:
    """The page as HTML.

    `pictures` are the PNG files by blind name, `masks` and `examples` PNG files. Of the key the page contains blind names and
    what is shown in which trial, never what a name stands for. Its content policy allows the one script (by its hash), pictures
    as data, and requests to the server that the page came from.
    """
    place = {name: number for number, name in enumerate(pictures)}
    study: dict[str, Any] = {
        "study": key.study,
        "exposure": key.exposure,
        "minutes": minutes,
        "tasks": key.tasks,
        "names": list(pictures),
        "pictures": [_base64(data) for data in pictures.values()],
        "masks": [_base64(data) for data in masks],
        "examples": [_base64(data) for data in examples],
        "practice": {
            task: [[[_base64(data) for data in images], right] for images, right in practice[task]] for task in key.tasks
        },
        "forms": [
            [[key.tasks.index(trial.task), *map(place.__getitem__, trial.shown)] for trial in form] for form in key.forms
        ],
    }
    script = read_asset("evaluation/human/page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return render("evaluation/human/page.html", {"study": study, "script": script, "digest": digest})


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")

"""Verbs: train a generator, and resume its training."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, model_validator

from limner.core.fields import (
    MAX_IMAGES,
    MAX_MINUTES,
    RUN_HELP,
    SOURCE_HELP,
    Cli,
    NameOrFile,
    OutputFolder,
    RunPath,
    Seed,
    Settings,
    Source,
)
from limner.core.progress import OnProgress
from limner.core.verb import Request, Result

AUTO = "auto"
"""The value of `preset` that has one chosen, and of settings that a run decides when it starts."""
EXIT_CODE_STOPPED = 130
"""The exit code of a command that was stopped before its end, with everything saved: 128 + SIGINT, as shells have it."""


class TrainRequest(Request):
    """Train a generator on pictures."""

    source: Annotated[Source | None, Cli("SRC", is_argument=True)] = Field(
        None, description=f"{SOURCE_HELP} A recipe file names its own."
    )
    settings: Settings = Field((), description="Settings of the recipe, such as method.width=32 or data.size=64.")
    preset: NameOrFile = Field(
        AUTO, description="A preset of 'limner methods', or a recipe file; auto chooses by pictures and budget."
    )
    out: Annotated[OutputFolder, Cli("DIR")] = Field(Path("runs"), description="Folder that holds the runs.")
    images: int | None = Field(None, ge=1, le=MAX_IMAGES, description="Budget: training images to see in all.")
    minutes: float | None = Field(
        None,
        gt=0,
        le=MAX_MINUTES,
        description="Budget: minutes to train, scores and checkpoints included, preparing data and a judge not. How many "
        "images that is follows from the speed, also where it changes on the way.",
    )
    seed: Seed | None = Field(None, ge=0, description="Seed of every random draw; default: that of the preset, usually 0.")
    name: str | None = Field(None, description="Name of the run after its number; default: the data and the preset.")
    dry_run: bool = Field(False, description="Print choices, memory and time of the training, and train nothing.")
    all_settings: Annotated[bool, Cli(option="--all")] = Field(
        False, description="With --dry-run: print every setting of the recipe as well."
    )

    @model_validator(mode="before")
    @classmethod
    def _take_settings(cls, values: object) -> object:
        """A setting in the place of SRC is one: ``limner train --preset runs/0007/recipe.yaml seed=1`` needs no source."""
        if not isinstance(values, Mapping) or not isinstance(source := values.get("source"), str):
            return values
        if not re.match(r"[a-z][a-z_.]*=", source) or os.path.exists(source):
            return values
        others = {name: value for name, value in values.items() if name != "source"}
        return {**others, "settings": (source, *values.get("settings", ()))}


class ResumeRequest(Request):
    """Resume a run from its last checkpoint.

    --images or --minutes sets a new total budget, so that a finished run can train for longer.
    """

    run: Annotated[RunPath, Cli("RUN", is_argument=True)] = Field(description=RUN_HELP)
    settings: Settings = Field(
        (), description="Settings that may change in a run: batch.chunks, on_nonfinite, checkpoints., previews. or score.KEY."
    )
    images: int | None = Field(None, ge=1, le=MAX_IMAGES, description="New total budget in training images.")
    minutes: float | None = Field(None, gt=0, le=MAX_MINUTES, description="New total budget in minutes.")


class TrainResult(Result):
    """A run after its training, or after it was stopped."""

    run: Path
    images: int
    """Training images seen in all."""
    seconds: float
    """Of training, over all sessions, without pauses."""
    images_per_second: float
    parameters: dict[str, int]
    """Number of parameters of each player, and of all players (`total`)."""
    losses: dict[str, float]
    """The mean loss of each player in the last row of metrics."""
    state: Literal["done", "stopped"]
    """Whether the budget is used up ("done"), or training was interrupted before that and can be resumed ("stopped")."""
    preset: str
    why: tuple[str, ...]
    """What was chosen automatically, with the reasons."""
    notes: tuple[str, ...] = ()
    """What a person should know about the data: pictures that were set aside, and classes or captions that are not used."""
    checkpoint_notes: tuple[str, ...] = ()
    """What the last checkpoint scored; where an earlier one is clearly better, also that. Empty for a run without scores."""
    next_command: str = ""
    """A command that goes on from here and works for a run of this method."""

    def __fspath__(self) -> str:
        """The folder of the run, so that the result names it wherever a run or a path is wanted."""
        return str(self.run)

    @property
    def exit_code(self) -> int:
        """130 where training was stopped before its end."""
        return EXIT_CODE_STOPPED if self.state == "stopped" else 0

    @property
    def picture(self) -> Path | None:
        """The newest preview. Its file is named by the number of images seen; reals.png beside it shows real images."""
        return max(self.run.glob("previews/[0-9]*.png"), key=lambda path: int(path.stem), default=None)


class DryRunResult(Result):
    """What training would do. `stages` has a row for each stage that would be trained; other fields are about all stages."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    recipe: dict[str, Any]
    """The recipe, with every "auto" resolved."""
    why: tuple[str, ...]
    """What was chosen automatically, with the reasons."""
    stages: list[dict[str, Any]]
    parameters: dict[str, int]
    """Number of parameters of each player, and of all players (`total`)."""
    weights_bytes: int
    """Of the last stage's weights in float32, its frozen codec included."""
    memory: int
    """Peak memory in bytes: measured over the timed steps, or predicted where these were on fewer pictures than a batch."""
    images_per_second: float
    images: int
    seconds_estimate: float
    """Of training, with previews, scores and checkpoints; as `train` counts its minutes."""
    milestone_seconds: float
    """How many of `seconds_estimate` previews, scores and the fits at checkpoints take."""
    judge_seconds: float | None
    """What comes on top, once for these pictures: the training of a judge, before the first step. 0 where there is one; None
    where it was not measured."""
    time_warnings: tuple[str, ...]
    """What makes the times unreliable (other programs), or the plan a bad one (previews and scores take most of the time)."""
    notes: tuple[str, ...]
    """What a person should know about the data: pictures that were set aside, and classes or captions that are not used."""
    all_settings: bool
    """Whether every setting is printed for a person."""
    data: dict[str, Any]
    """`path` and `shape` (height, width, channels) of the prepared set, and the number of pictures of each of its `splits`."""


def train(request: TrainRequest, on_progress: OnProgress) -> TrainResult | DryRunResult:
    """Trains a method on the pictures of a source, and writes a run folder.

    `preset` is a name, a recipe file, or "auto", which chooses a preset by the pictures and the budget and says why. The budget
    is `images` or `minutes`; `settings` replace settings of the preset. With `dry_run` a few steps are timed, and no run folder
    is written. Errors: `InputError` for settings that cannot be used, data that cannot be read, too little memory and a loss
    that is not finite. What was saved until then stays, and `resume` continues from there.
    """
    if request.dry_run:
        from limner.training.dry_run import estimate_training

        return estimate_training(request, on_progress=on_progress)
    from limner.training.session import start_run

    return start_run(request, on_progress)


def resume(request: ResumeRequest, on_progress: OnProgress) -> TrainResult:
    """Continues training from the last checkpoint of a run, or from the start where it has none yet.

    The result is the same, to the bit, as if the run had not been interrupted; of a budget in minutes, where the number of
    images follows from the clock, up to the last correction of that number that was written down. With `images` or `minutes` as
    the new total budget, schedules continue towards that. Errors: `InputError` as for `train`, and where the data are no longer
    the same.
    """
    from limner.training.session import resume_run

    return resume_run(request, on_progress)

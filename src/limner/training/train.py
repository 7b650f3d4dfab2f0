"""Verbs: `train` and `resume`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from limner.core.fields import Cli, OutputFolder, RunPath, Settings, Source
from limner.core.progress import OnProgress
from limner.core.verb import Request, Result

AUTO = "auto"
STOPPED = 130
"""The exit code of a command that was interrupted, with everything saved."""


class TrainRequest(Request):
    """Train a generator on a set of pictures."""

    source: Annotated[Source, Cli("SRC", is_argument=True)] = Field(
        description="A name ('limner data list'), a folder, an archive, a set's file; or the address of one."
    )
    settings: Settings = Field((), description="Any setting of the recipe.")
    preset: str = Field(AUTO, description="How to train; 'limner methods' lists them, 'auto' chooses.")
    out: Annotated[OutputFolder, Cli("DIR")] = Field(Path("runs"), description="The folder of all runs.")
    images: int | None = Field(None, description="Budget: so many images seen in all.")
    minutes: float | None = Field(None, description="Budget: so many minutes of training.")
    seed: int | None = Field(None, description="Decides everything that is drawn.")
    name: str | None = Field(None, description="The run's name; default: a number, the data and the preset.")
    dry_run: bool = Field(False, description="Say what would be done, how long and how large; train nothing.")


class ResumeRequest(Request):
    """Go on with a run exactly where it stopped.

    With --images or --minutes it goes on for longer: the number is the new total.
    """

    run: Annotated[RunPath, Cli("RUN", is_argument=True)] = Field(description="The folder of a run.")
    settings: Settings = Field((), description="Any setting of the recipe.")
    images: int | None = Field(None, description="Budget: so many images seen in all.")
    minutes: float | None = Field(None, description="Budget: so many minutes of training.")


class TrainResult(Result):
    """What became of a run."""

    run: Path
    images: int
    """Seen in training."""
    seconds: float
    images_per_second: float
    parameters: dict[str, int]
    """Of each player, and in all (`total`)."""
    losses: dict[str, float]
    state: Literal["done", "stopped"]
    preset: str
    why: tuple[str, ...]
    """What was chosen for the person, and the reasons."""

    @property
    def exit_code(self) -> int:
        """130 where training was stopped before its end."""
        return STOPPED if self.state == "stopped" else 0

    @property
    def picture(self) -> Path | None:
        """The newest preview. Previews are named by the images seen; the sheet of real pictures beside them is not."""
        return max(self.run.glob("previews/[0-9]*.png"), key=lambda path: int(path.stem), default=None)


class DryRunResult(Result):
    """What training would do. `stages` says so of every stage that would be trained; the rest is of all together."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    recipe: dict[str, Any]
    """With nothing left open."""
    why: tuple[str, ...]
    stages: list[dict[str, Any]]
    parameters: dict[str, int]
    weights_bytes: int
    memory: int
    """Bytes, at most."""
    images_per_second: float
    images: int
    seconds_estimate: float
    data: dict[str, Any]


def train(request: TrainRequest, on_progress: OnProgress) -> TrainResult | DryRunResult:
    """Trains a preset on the pictures of a source and leaves a run folder.

    `preset` may be a name, a recipe file, or "auto", which chooses by the pictures and the budget and says why. `images` or
    `minutes` is the budget; `settings` are ``key=value`` over the preset's own. With `dry_run`, a few steps are timed and
    nothing is left. Errors: `InputError` where the person can mend something; what was saved until then stays, and `resume`
    goes on from there.
    """
    if request.dry_run:
        from limner.training.dry_run import estimate_training

        return estimate_training(request)
    from limner.training.session import start_run

    return start_run(request, on_progress)


def resume(request: ResumeRequest, on_progress: OnProgress) -> TrainResult:
    """Goes on with a run exactly where its last checkpoint is (from its recipe, where there is none yet).

    With `images` or `minutes`, the number is the new total, and the schedules go on towards it. Errors: `InputError`.
    """
    from limner.training.session import resume_run

    return resume_run(request, on_progress)

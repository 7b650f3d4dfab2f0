"""The base classes of requests to a trained model: which run, which checkpoint, and under which conditions it draws."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from limner.core.fields import CHECKPOINT_HELP, LABEL_HELP, RUN_HELP, CheckpointName, ClassName, Cli, InputPath, RunPath, Text
from limner.core.verb import Request


class ModelRequest(Request):
    """A request to the model in one checkpoint of a run."""

    run: Annotated[RunPath, Cli("RUN", is_argument=True)] = Field(description=RUN_HELP)
    checkpoint: Annotated[CheckpointName, Cli("last|best|N")] = Field("last", description=CHECKPOINT_HELP)


class ConditionalRequest(ModelRequest):
    """A request for pictures, under conditions of the kinds that the model was trained with."""

    label: Annotated[ClassName | None, Cli("CLASS")] = Field(None, description=LABEL_HELP)
    text: Text | None = Field(
        None, description="Caption of the pictures; without one, each seed draws a training caption. For models of captions."
    )
    given: Annotated[InputPath | None, Cli("FILE")] = Field(
        None, description="A picture file to draw from; for models that were trained with given pictures."
    )

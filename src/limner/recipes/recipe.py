"""The whole description of a training run: a frozen, validated tree.

Settings come from, in falling order: the command line, the environment (`LIMNER_SETTINGS`), a recipe file, the preset, the
defaults. An unknown key is an error that names its nearest neighbour.
"""

from __future__ import annotations

import json
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

from limner.core.address import public_name
from limner.core.errors import InputError
from limner.core.precision import Precision
from limner.data.options import DataOptions, ImageOptions
from limner.recipes.registry import DEFAULT_PRESET, MethodConfig, default_method

SCHEMA_VERSION = 1


class _Tree(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _DataSource(_Tree):
    source: str = Field("", description="A built-in name, a folder, an archive, or any of these behind an address.")


class DataConfig(ImageOptions, _DataSource):  # the source comes second here, so that its field comes first in recipe.yaml
    """What is trained on: a source, prepared with the options of `limner.prepare`."""

    mirror: bool = Field(False, description="Show every picture mirrored half of the time (not for letters or digits).")
    fingerprint: str | None = Field(
        None, description="Of the prepared set; filled in when the run starts, and checked when it resumes."
    )
    classes: tuple[str, ...] = Field((), description="Their names, in the order of the labels; filled in when the run starts.")

    def options(self) -> DataOptions:
        """What `prepare_source` is asked for. A run's pictures are split by the default seed, whatever the run's own is."""
        return DataOptions(**{name: getattr(self, name) for name in ImageOptions.model_fields})


class BatchConfig(_Tree):
    size: int = Field(64, ge=1)
    chunks: int = Field(1, ge=1)
    """Equal parts in which a batch is worked through: less memory, and what several processes share."""

    @model_validator(mode="after")
    def _divides(self) -> BatchConfig:
        if self.size % self.chunks:
            raise ValueError(f"batch.chunks={self.chunks} does not divide batch.size={self.size}")
        return self


class BudgetConfig(_Tree):
    """One of the two; images where both are given."""

    images: int | None = Field(None, ge=1)
    minutes: float | None = Field(None, gt=0)


class EmaConfig(_Tree):
    half_life: float = Field(0.01, ge=0, lt=1)
    """Of the moving average, as a fraction of the budget."""
    ramp: float = Field(0.05, gt=0)
    """The half-life is at most this share of the images seen so far, so that a young average does not remember the start."""


class CheckpointConfig(_Tree):
    every: float = Field(0.1, gt=0, le=1)
    """Fraction of the budget between two checkpoints."""
    minutes: float = Field(10.0, gt=0)
    """And at least this often by the clock."""
    keep: int = Field(0, ge=0)
    """How many are kept beside the last and the best; the newest ones."""


class PreviewConfig(_Tree):
    first: int = Field(1000, ge=1)
    """Images before the first preview."""
    every: float = Field(0.05, gt=0, le=1)
    count: int = Field(64, ge=1, le=1024)


class ScoreConfig(_Tree):
    """How *best* is found: Fréchet distance of EMA samples to the validation split, in the judge's features."""

    points: int = Field(20, ge=0)
    """At about so many points of the budget; 0 is never."""
    count: int = Field(2000, ge=16)
    share: float = Field(0.03, gt=0, le=1)
    """At most this share of the time; points that would cost more are left out."""


class Segment(_Tree):
    """A later change of the run's plan, written down by `resume`."""

    start: int
    images: int | None = None
    minutes: float | None = None
    chunks: int | None = None


class Stage(_Tree):
    """A part of the budget that trains a method of its own, which then serves the next stage as its frozen codec."""

    name: str
    share: float = Field(ge=0, lt=1)
    """0: it comes trained, from the run that `codec` names."""
    method: MethodConfig


class Recipe(_Tree):
    """Rerun it and get the same run."""

    schema_version: int = SCHEMA_VERSION
    preset: str = DEFAULT_PRESET
    seed: int = Field(0, ge=0)
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    data: DataConfig = DataConfig()
    stages: tuple[Stage, ...] = ()
    """Before `method`, which takes what their shares leave."""
    method: MethodConfig = Field(default_factory=default_method)
    batch: BatchConfig = BatchConfig()
    budget: BudgetConfig = BudgetConfig()
    ema: EmaConfig = EmaConfig()
    checkpoints: CheckpointConfig = CheckpointConfig()
    previews: PreviewConfig = PreviewConfig()
    score: ScoreConfig = ScoreConfig()
    on_nonfinite: Literal["stop", "rollback"] = "stop"
    """When a loss is not finite: stop, or go back to the last checkpoint once and go on with other draws."""
    init_from: str | None = None
    """A run whose averaged weights this one starts from."""
    codec: str | None = None
    """A finished run in whose latents `method` works; its codec is copied, as a stage, and the new run stands alone."""
    segments: tuple[Segment, ...] = ()

    @model_validator(mode="after")
    def _shares(self) -> Recipe:
        if sum(stage.share for stage in self.stages) >= 1:
            raise ValueError("the shares of stages must leave some of the budget to method")
        trained = [stage.share > 0 for stage in self.stages]
        if any(trained) and (self.codec is not None or not all(trained)):
            raise ValueError("codec=RUN brings a trained stage; give it alone, or stages with shares above 0 alone")
        return self

    def number_format(self) -> Precision:
        """The precision, resolved. A run records it before it starts."""
        if self.precision == "auto":
            raise InputError("precision=auto is resolved when a run starts; set precision=fp32 or precision=bf16")
        return self.precision

    def portable(self) -> str:
        """Canonical JSON without paths, for the metadata of weights: equal weights are equal files.

        Nor does it hold the user, password or query of an address, for weights are handed on.
        """
        tree = self.model_dump(mode="json")
        tree["data"]["source"] = public_name(self.data.source)
        tree["init_from"] = tree["codec"] = None
        return json.dumps(tree, sort_keys=True)

    def to_yaml(self) -> str:
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)

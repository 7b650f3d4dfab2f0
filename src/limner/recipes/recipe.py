"""The whole description of a training run: a frozen, validated tree.

Settings come from, in falling order: the command line, the environment (`LIMNER_SETTINGS`), a recipe file, the preset, the
defaults. An unknown key is an error that names its nearest neighbour.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    SerializeAsAny,
    ValidatorFunctionWrapHandler,
    model_validator,
)
from pydantic_core import CoreSchema, PydanticKnownError, core_schema

from limner.core.address import public_name
from limner.core.config import MAX_CAPTION_BYTES, DataSpec, MethodConfig, Precision, Settings
from limner.core.errors import InputError
from limner.data.options import DataOptions, ImageOptions
from limner.recipes.registry import DEFAULT_PRESET, METHODS, default_method

SCHEMA_VERSION = 1


class _FamilyOfKind:
    """Validates a method's settings as the config of the family that their `kind` names, be that ours or registered."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_wrap_validator_function(self._validate, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        configs = [family.config for family in METHODS.values()]
        for config in configs:
            config.model_rebuild()  # schemas are built on first use
        return {"oneOf": [handler(config.__pydantic_core_schema__) for config in configs]}

    @staticmethod
    def _validate(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        if not isinstance(value, Mapping):
            return handler(value)  # a config as it is, or pydantic's error for what is no tree of settings
        if "kind" not in value:
            raise PydanticKnownError("union_tag_not_found", {"discriminator": "'kind'"})
        kind = str(value["kind"])
        if kind not in METHODS:
            expected = ", ".join(f"'{name}'" for name in METHODS)
            raise PydanticKnownError("union_tag_invalid", {"discriminator": "'kind'", "tag": kind, "expected_tags": expected})
        return METHODS[kind].config.model_validate(dict(value))


AnyMethodConfig = Annotated[SerializeAsAny[MethodConfig], _FamilyOfKind()]
"""The settings of any family of the table of methods."""


class _DataSource(Settings):
    source: str = Field("", description="A built-in name, a folder, an archive, or any of these behind an address.")


class DataConfig(ImageOptions, _DataSource):  # the source comes second here, so that its field comes first in recipe.yaml
    """What is trained on: a source, prepared with the options of `limner.prepare`."""

    mirror: bool = Field(False, description="Show every picture mirrored half of the time (not for letters or digits).")
    fingerprint: str | None = Field(
        None, description="Of the prepared set; filled in when the run starts, and checked when it resumes."
    )
    classes: tuple[str, ...] = Field((), description="Their names, in the order of the labels; filled in when the run starts.")
    caption_length: int = Field(
        0, ge=0, le=MAX_CAPTION_BYTES, description="Bytes of the longest caption; filled in when the run starts."
    )
    condition_shape: tuple[int, int, int] | None = Field(
        None, description="(C, H, W) of the picture that each picture is made from; filled in when the run starts."
    )

    def options(self) -> DataOptions:
        """What `prepare_source` is asked for. A run's pictures are split by the default seed, whatever the run's own is."""
        return DataOptions(**{name: getattr(self, name) for name in ImageOptions.model_fields})

    def spec(self) -> DataSpec:
        """What a method has to know of the data, as the run recorded it when it started.

        Errors: `InputError` where the size is not recorded yet.
        """
        if self.height_and_width is None:
            raise InputError("data.size is not known before the data are prepared; set it, such as data.size=64")
        shape = (*self.height_and_width, self.fixed_channels or 3)
        return DataSpec.of_images(shape, self.classes, self.caption_length, self.condition_shape)


class BatchConfig(Settings):
    """How many pictures a step is taken on."""

    size: int = Field(64, ge=1)
    """Pictures in a batch."""
    chunks: int = Field(1, ge=1)
    """Equal parts in which a batch is worked through: less memory, and what several processes share."""

    @model_validator(mode="after")
    def _divides(self) -> BatchConfig:
        if self.size % self.chunks:
            raise ValueError(f"batch.chunks={self.chunks} does not divide batch.size={self.size}")
        return self


class BudgetConfig(Settings):
    """How long to train: one of the two; images where both are given."""

    images: int | None = Field(None, ge=1)
    """Training images seen in all."""
    minutes: float | None = Field(None, gt=0)
    """Minutes of training; they become images after a measured warm-up."""


class EmaConfig(Settings):
    """The moving average of the weights, which is what is sampled from."""

    half_life: float = Field(0.01, ge=0, lt=1)
    """Of the moving average, as a fraction of the budget."""
    ramp: float = Field(0.05, gt=0)
    """The half-life is at most this share of the images seen so far, so that a young average does not remember the start."""


class CheckpointConfig(Settings):
    """When the whole state of a run is saved."""

    every: float = Field(0.1, gt=0, le=1)
    """Fraction of the budget between two checkpoints."""
    minutes: float = Field(10.0, gt=0)
    """And at least this often by the clock."""
    keep: int = Field(0, ge=0)
    """How many are kept beside the last and the best; the newest ones."""


class PreviewConfig(Settings):
    """Sheets of samples of the same seeds, drawn while training."""

    first: int = Field(1000, ge=1)
    """Images before the first preview."""
    every: float = Field(0.05, gt=0, le=1)
    """Fraction of the budget between two previews."""
    count: int = Field(64, ge=1, le=1024)
    """Pictures on a sheet."""


class ScoreConfig(Settings):
    """How *best* is found: Fréchet distance of EMA samples to the validation split, in the judge's features."""

    points: int = Field(20, ge=0)
    """At about so many points of the budget; 0 is never."""
    count: int = Field(2000, ge=16)
    """Samples that are compared."""
    share: float = Field(0.03, gt=0, le=1)
    """At most this share of the time; points that would cost more are left out."""


class Segment(Settings):
    """A later change of the run's plan, written down by `resume`."""

    start: int
    """Images after which it holds."""
    images: int | None = None
    """The new budget in images."""
    minutes: float | None = None
    """The new budget in minutes."""
    chunks: int | None = None
    """The new `batch.chunks`."""


class Stage(Settings):
    """A part of the budget that trains a method of its own, which then serves the next stage as its frozen codec."""

    name: str
    """By which settings name it: ``stages.NAME.method.width=8``."""
    share: float = Field(ge=0, lt=1)
    """Fraction of the budget. 0: it comes trained, from the run that `codec` names."""
    method: AnyMethodConfig
    """The settings of the family that this stage trains."""


class Recipe(Settings):
    """Rerun it and get the same run."""

    schema_version: int = SCHEMA_VERSION
    """Of this model, so that files of before can be migrated."""
    preset: str = DEFAULT_PRESET
    """The preset that the settings started from."""
    seed: int = Field(0, ge=0)
    """Decides every random draw."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """The number format of forward passes; `auto`: bf16 where the hardware computes it."""
    data: DataConfig = Field(default_factory=DataConfig)
    """What is trained on."""
    stages: tuple[Stage, ...] = ()
    """Before `method`, which takes what their shares leave."""
    method: AnyMethodConfig = Field(default_factory=default_method)
    """The settings of the family that is trained."""
    batch: BatchConfig = Field(default_factory=BatchConfig)
    """How many pictures a step is taken on."""
    budget: BudgetConfig = Field(default_factory=BudgetConfig)
    """How long to train."""
    ema: EmaConfig = Field(default_factory=EmaConfig)
    """The moving average of the weights."""
    checkpoints: CheckpointConfig = Field(default_factory=CheckpointConfig)
    """When the state is saved."""
    previews: PreviewConfig = Field(default_factory=PreviewConfig)
    """Sheets of samples on the way."""
    score: ScoreConfig = Field(default_factory=ScoreConfig)
    """How *best* is found."""
    on_nonfinite: Literal["stop", "rollback"] = "stop"
    """When a loss is not finite: stop, or go back to the last checkpoint once and go on with other draws."""
    init_from: str | None = None
    """A run whose averaged weights this one starts from."""
    codec: str | None = None
    """A finished run in whose latents `method` works; its codec is copied, as a stage, and the new run stands alone."""
    segments: tuple[Segment, ...] = ()
    """Later changes of the plan, by `resume`."""

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
        """The text of ``recipe.yaml``."""
        import yaml

        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)

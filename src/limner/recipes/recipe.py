"""The recipe: the whole description of a training run, as a frozen tree of validated settings.

`limner.recipes.settings` reads recipes from presets, files and ``key=value`` settings.
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
from limner.core.config import MAX_CAPTION_BYTES, DataSpec, MethodConfig, Precision, Settings, only_if
from limner.core.errors import InputError
from limner.core.fields import MAX_IMAGES, MAX_MINUTES
from limner.data.options import DataOptions, ImageOptions
from limner.recipes.registry import DEFAULT_PRESET, METHODS, default_method

SCHEMA_VERSION = 1


class _FamilyOfKind:
    """Validates the settings of a method as the config of the family that their `kind` names in the table of methods."""

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
            return handler(value)  # a config stays as it is; for anything else pydantic has an error
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
    source: str = Field("", description="A built-in name, a folder, an archive, or the address of one.")


class DataConfig(ImageOptions, _DataSource):  # the source comes second here, so that its field comes first in recipe.yaml
    """The training data: a source, and the options of `limner.prepare` by which it is prepared."""

    mirror: bool = Field(False, description="Mirror every picture with probability 1/2 (not for letters or digits).")
    fingerprint: str | None = Field(
        None, description="Digest of the prepared set; filled in when the run starts, and compared when it resumes."
    )
    classes: tuple[str, ...] = Field(
        (), description="Names of the classes, in the order of the labels; filled in when the run starts."
    )
    caption_length: int = Field(
        0, ge=0, le=MAX_CAPTION_BYTES, description="Bytes of the longest caption; filled in when the run starts."
    )
    condition_shape: tuple[int, int, int] | None = Field(
        None, description="(C, H, W) of the given pictures, where there are any; filled in when the run starts."
    )

    @model_validator(mode="before")
    @classmethod
    def _keep_rules(cls, value: object) -> object:
        """A recipe that records the fingerprint of its data and no rules is of a run from before there were other rules."""
        if isinstance(value, Mapping) and value.get("fingerprint") is not None and "rules" not in value:
            return {**value, "rules": 1}
        return value

    def options(self) -> DataOptions:
        """The options for `prepare_source`. Pictures are split by the default seed, whatever the seed of the run."""
        return DataOptions(**{name: getattr(self, name) for name in ImageOptions.model_fields})

    def spec(self) -> DataSpec:
        """What a method has to know about the data, as a run records it when it starts.

        Errors: `InputError` where the size is not recorded yet.
        """
        if self.height_and_width is None:
            raise InputError("data.size is not known before the data are prepared; set it, such as data.size=64")
        shape = (*self.height_and_width, self.fixed_channels or 3)
        return DataSpec.of_images(shape, self.classes, self.caption_length, self.condition_shape)


class BatchConfig(Settings):
    """The batches of training."""

    size: int = Field(64, ge=1)
    """Pictures in a batch, on which one step is taken."""
    chunks: int = Field(1, ge=1)
    """Equal parts of a batch that are computed one after the other, to save memory, or by several processes."""

    @model_validator(mode="after")
    def _divides(self) -> BatchConfig:
        if self.size % self.chunks:
            raise ValueError(f"batch.chunks={self.chunks} does not divide batch.size={self.size}")
        return self


class BudgetConfig(Settings):
    """How long to train, in images or in minutes; images take precedence."""

    images: int | None = Field(None, ge=1, le=MAX_IMAGES)
    """Training images to see in all."""
    minutes: float | None = Field(None, gt=0, le=MAX_MINUTES)
    """Minutes to train; the speed of the first steps turns them into a number of images."""


class EmaConfig(Settings):
    """The moving average of the weights, from which samples are drawn."""

    kind: Literal["half-life", "power"] = "half-life"
    """By a half-life; or by a power of the position in training (Karras et al. 2024, arXiv:2312.02696): then two averages are
    tracked, and the end of the run chooses the length that does best on the validation split."""
    half_life: float = Field(0.01, ge=0, lt=1, json_schema_extra=only_if("kind", "half-life"))
    """Half-life of the average, as a fraction of the budget."""
    ramp: float = Field(0.05, gt=0, json_schema_extra=only_if("kind", "half-life"))
    """The half-life is at most this share of the images seen so far, so that the first weights are forgotten."""
    snapshots: int = Field(16, ge=1, le=1000, json_schema_extra=only_if("kind", "power"))
    """Snapshots of the two averages over the budget, in the run's folder averages/, from which other lengths follow."""
    gigabytes: float = Field(2.0, ge=0, json_schema_extra=only_if("kind", "power"))
    """The most that snapshots may take of the disk: beyond it the oldest are removed, never the newest one and the guide."""


class CheckpointConfig(Settings):
    """When the complete state of a run is saved."""

    every: float = Field(0.1, gt=0, le=1)
    """Fraction of the budget between two checkpoints."""
    minutes: float = Field(10.0, gt=0)
    """The longest time between two checkpoints."""
    share: float = Field(0.1, gt=0, le=1)
    """The largest share of the training time that the fits of scheduled checkpoints may take, such as that of a prior; those
    beyond it are left out, never the last, the best, or one that is ordered."""
    keep: int = Field(0, ge=0)
    """How many of the newest checkpoints to keep beside the last and the best."""


class PreviewConfig(Settings):
    """Sheets of samples of the same seeds, drawn during training."""

    first: int = Field(1000, ge=1)
    """Images before the first preview."""
    every: float = Field(0.05, gt=0, le=1)
    """Fraction of the budget between two previews."""
    count: int = Field(64, ge=1, le=1024)
    """Pictures on a sheet."""


class ScoreConfig(Settings):
    """Scores during training: the Fréchet distance of samples to the validation split, in the judge's features.

    The checkpoint *best* is the one with the smallest distance.
    """

    points: int = Field(20, ge=0)
    """Number of scores over the budget, approximately; 0: none."""
    count: int = Field(2000, ge=16)
    """Samples that are drawn for a score."""
    share: float = Field(0.03, gt=0, le=1)
    """The largest share of the training time that scores may take; scores beyond it are left out."""


class Segment(Settings):
    """A change of the recipe in a run that was resumed."""

    start: int
    """Number of images seen from which the change is in force."""
    images: int | None = Field(None, ge=1, le=MAX_IMAGES)
    """The new budget in images."""
    minutes: float | None = Field(None, gt=0, le=MAX_MINUTES)
    """The new budget in minutes."""
    chunks: int | None = None
    """The new `batch.chunks`."""


class Stage(Settings):
    """A part of the budget in which another method is trained, which is the frozen codec of the next stage."""

    name: str
    """The name in settings such as ``stages.NAME.method.width=8``."""
    share: float = Field(ge=0, lt=1)
    """Fraction of the budget; 0: the method is trained already, in the run that `codec` names."""
    method: AnyMethodConfig
    """The settings of the family that this stage trains."""


class Recipe(Settings):
    """The whole description of a training run: the same recipe on the same machine gives the same weights."""

    schema_version: int = SCHEMA_VERSION
    """Version of this model, by which older files can be migrated."""
    preset: str = DEFAULT_PRESET
    """The preset to which the settings belong."""
    seed: int = Field(0, ge=0)
    """Seed of every random draw."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """The number format of forward passes; `auto`: bf16 where the hardware computes in it."""
    data: DataConfig = Field(default_factory=DataConfig)
    """The training data."""
    stages: tuple[Stage, ...] = ()
    """Stages that are trained before `method`, which gets the rest of the budget."""
    method: AnyMethodConfig = Field(default_factory=default_method)
    """The settings of the family that is trained."""
    batch: BatchConfig = Field(default_factory=BatchConfig)
    """The batches of training."""
    budget: BudgetConfig = Field(default_factory=BudgetConfig)
    """How long to train."""
    ema: EmaConfig = Field(default_factory=EmaConfig)
    """The moving average of the weights."""
    checkpoints: CheckpointConfig = Field(default_factory=CheckpointConfig)
    """When the state is saved."""
    previews: PreviewConfig = Field(default_factory=PreviewConfig)
    """Sheets of samples during training."""
    score: ScoreConfig = Field(default_factory=ScoreConfig)
    """Scores during training, which decide the best checkpoint."""
    on_nonfinite: Literal["stop", "rollback"] = "stop"
    """What to do where a loss is not finite: stop, or continue once from the last checkpoint with other random draws."""
    init_from: str | None = None
    """A run whose averaged weights are the initial weights of this one."""
    codec: str | None = None
    """A finished run in whose latents `method` works. Its codec is copied as a stage, so that the new run does not depend on
    it."""
    segments: tuple[Segment, ...] = ()
    """Changes that were made when the run was resumed."""

    @model_validator(mode="after")
    def _shares(self) -> Recipe:
        if sum(stage.share for stage in self.stages) >= 1:
            raise ValueError("the shares of stages must leave some of the budget to method")
        trained = [stage.share > 0 for stage in self.stages]
        if any(trained) and (self.codec is not None or not all(trained)):
            raise ValueError("codec=RUN brings a trained stage; give it alone, or stages with shares above 0 alone")
        return self

    def number_format(self) -> Precision:
        """The precision, resolved. Errors: `InputError` where it is "auto", which a run resolves before it starts."""
        if self.precision == "auto":
            raise InputError("precision=auto is resolved when a run starts; set precision=fp32 or precision=bf16")
        return self.precision

    def portable(self) -> str:
        """Canonical JSON for the metadata of weights, without paths, so that equal weights are equal files.

        Since weights are given to others, it holds no user, password or query of an address either.
        """
        tree = self.model_dump(mode="json")
        tree["data"]["source"] = public_name(self.data.source)
        tree["init_from"] = tree["codec"] = None
        return json.dumps(tree, sort_keys=True)

    def to_yaml(self) -> str:
        """The text of ``recipe.yaml``."""
        import yaml

        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)

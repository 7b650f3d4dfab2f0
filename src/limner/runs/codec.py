"""Takes the trained codec of a finished run as the first stages of a new run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from limner.core.config import MethodConfig
from limner.core.errors import InputError
from limner.recipes.build import CODEC_WORDS, presets_making, stage_configs
from limner.recipes.recipe import Recipe, Stage
from limner.runs.plan import Plan
from limner.runs.run import Run


@dataclass(frozen=True)
class TrainedCodec:
    """The codec of a finished run."""

    run: Run
    stages: tuple[Stage, ...]
    """The methods up to the codec, which is the last, as stages with share 0, which are not trained again."""
    tensors: dict[str, Tensor]
    """The averaged weights of the codec, and of the codec in which it works itself, if any."""


def open_codec(path: Path | str) -> Run:
    """The run that the setting `codec` names. Errors: `InputError` where there is no run at `path`."""
    try:
        return Run.open(path)
    except InputError as error:
        raise InputError(f"codec={path}: {error}; where it was moved, give its new place") from error


def trained_codec(path: Path | str, consumer: MethodConfig) -> TrainedCodec:
    """The codec in the run at `path` for the method of `consumer`: the last of its stages that makes latents of that kind.

    Errors: `InputError` where there is no such run, where it has no such stage, or where that stage is not trained to its end.
    """
    run = open_codec(path)
    recipe, checkpoint = run.recipe(), run.checkpoint()
    configs = stage_configs(recipe)[: checkpoint.state()["stage"] + 1]
    fitting = [place for place, (_, _, config) in enumerate(configs) if config.makes == consumer.takes]
    if not fitting:
        kinds = [config.makes for _, _, config in configs if config.makes is not None]
        raise InputError(
            f"{consumer.kind} draws {CODEC_WORDS[consumer.takes]}; {run.path} ({recipe.preset}) makes "
            f"{CODEC_WORDS[kinds[-1] if kinds else None]}; give codec= a run of {_join_names(presets_making(consumer.takes))}"
        )
    last = fitting[-1]
    if last == len(configs) - 1:  # the stage that was in training when the checkpoint was saved
        total = Plan(run.plan()).total(checkpoint.images)
        share = sum(share for _, share, _ in configs)
        if total is None or checkpoint.images < share * total:
            raise InputError(
                f"the codec of {run.path} is half trained ({checkpoint.images:,} images); finish it with `limner resume "
                f"{run.path}`"
            )
    prefix = "codec." * (len(configs) - 1 - last)  # of its weights in the method of the checkpoint, which works in it
    tensors = checkpoint.tensors("ema")
    tensors = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
    stages = tuple(Stage(name=name, share=0, method=config) for name, _, config in configs[: last + 1])
    return TrainedCodec(run, stages, tensors)


def adopt_codec(recipe: Recipe, image_shape: tuple[int, int, int]) -> dict[str, Any]:
    """The settings `codec` and `stages` by which `recipe` records the run that its `codec` names.

    `image_shape` is (H, W, C) of the pictures. Errors: `InputError` as `trained_codec` has them, and where the codec was
    trained on pictures of another shape.
    """
    codec = trained_codec(str(recipe.codec), recipe.method)
    data, (height, width, channels) = codec.run.recipe().data, image_shape
    if (data.size, data.channels) != (f"{height}x{width}", channels):
        raise InputError(
            f"{codec.run.path} encodes pictures of {data.size} with {data.channels} channel(s), these are {height}x{width} "
            f"with {channels}; set data.size={data.size} data.channels={data.channels}"
        )
    return {"codec": str(codec.run.path.resolve()), "stages": codec.stages}


def codec_weights(recipe: Recipe) -> dict[str, Tensor]:
    """The weights of the codec, from the run that `recipe.codec` names. Errors: `InputError` as `trained_codec` has them."""
    return trained_codec(str(recipe.codec), recipe.method).tensors


def _join_names(names: Sequence[str]) -> str:
    """The names as a list in words.

    >>> _join_names(["vae", "vq-vae", "fsq"])
    'vae, vq-vae or fsq'
    """
    return " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)

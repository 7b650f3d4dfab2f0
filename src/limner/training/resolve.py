"""Turns a request to train into a recipe in which every "auto" is resolved, and prepares the data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from limner.core import parallel, precision
from limner.core.address import is_address, public_address
from limner.core.config import RunContext, Settings, unused_reason
from limner.core.errors import InputError
from limner.core.invocation import option
from limner.core.progress import OnProgress, Progress
from limner.core.verb import typed_name
from limner.data.dataset import Dataset
from limner.data.options import MIN_SIDE, size_out_of_range
from limner.data.prepare import prepare_source
from limner.data.sources import describe_source, locate
from limner.recipes.build import resolve_recipe, resolved_values
from limner.recipes.recipe import BatchConfig, BudgetConfig, Recipe
from limner.recipes.settings import all_settings, compose
from limner.runs.codec import adopt_codec
from limner.runs.plan import whole_batches
from limner.runs.run import Run
from limner.training.auto import SLOW_MOMENT, Choice, choose, fastest
from limner.training.memory import fitting_chunks
from limner.training.train import AUTO, TrainRequest

DEFAULT_MINUTES = 10.0
"""The budget where neither the request nor the recipe names one."""


MeasureSpeed = Callable[[Recipe, Dataset], float]
"""The images per second that training by a resolved recipe reaches on this machine."""
DOUBT = 20
"""By how much the guessed speed of `RunContext.image_budget` may be too high. Where an "auto" of a budget in minutes would be
another value at a speed that is lower by this factor, the speed is measured. (r3gan on two cores: 16.)"""


def resolve_request(
    request: TrainRequest, on_progress: OnProgress, measure_speed: MeasureSpeed | None = None
) -> tuple[Recipe, Dataset, tuple[str, ...]]:
    """The recipe with every "auto" resolved, its prepared data, and what was chosen automatically, with the reasons.

    Where a choice depends on how many images a budget in minutes allows, `measure_speed` says; without it, that is a guess.
    Errors: `InputError` for settings that contradict each other or have no effect, and for data that cannot be prepared.
    """
    pictures = None if isinstance(request.source, str | Path) else request.source
    speed: float | None = None
    if request.preset == AUTO:
        recipe, dataset, reasons, speed = _choose_recipe(request, on_progress, measure_speed)
    else:
        recipe, reasons = _compose(request), ()
        check_processes(recipe)
        dataset = _dataset_of_recipe(recipe, request, on_progress, pictures)
        if plan := recorded_plan(request):
            reasons = (f"budget {plan[-1][1]} images: as in {Path(request.preset).parent}",)
    if recipe.data.rules >= 2 and min(dataset.shape[:2]) < MIN_SIDE:
        raise InputError(f"{size_out_of_range(*dataset.shape[:2])}; data.size={MIN_SIDE} enlarges the pictures")
    resolved = _resolve(recipe, dataset, recorded_source(recipe, dataset, pictures), speed, measure_speed)
    if request.preset == AUTO and (batch := _fitting_batch(resolved)) != resolved.batch:
        resolved = resolved.model_copy(update={"batch": batch})
        reasons += (f"batch.chunks={batch.chunks}: {batch.size} pictures at once would need more memory than there is",)
    _check_used(resolved, request.settings)
    decisions = dict(resolved_values(recipe.method, resolved.method))
    _check_overruled(decisions, request.settings)
    by = "the pictures, the codec and the budget" if resolved.codec is not None else "the pictures and the budget"
    reasons += (f"by {by}: {' '.join(f'{key}={value}' for key, value in decisions.items())}",) if decisions else ()
    reasons += describe_rounding(resolved.budget.images, resolved.batch.size)
    for line in reasons:
        on_progress(Progress("chosen", note=line))
    return resolved, dataset, reasons


def describe_rounding(images: int | None, batch_size: int) -> tuple[str, ...]:
    """Says in one line how many images are trained with a budget of `images` (None: in time) that is no whole number of
    batches; no line where it is one."""
    if images is None or whole_batches(images, batch_size) == images:
        return ()
    return (f"images {whole_batches(images, batch_size)}: {images} are no whole number of batches of {batch_size}",)


def _check_used(recipe: Recipe, settings: Sequence[str]) -> None:
    """Errors: `InputError` for one of `settings` of a method, a stage's method or the average that has no effect beside the
    others."""
    configs: dict[str, Settings] = {"method.": recipe.method, "ema.": recipe.ema}
    configs |= {f"stages.{stage.name}.method.": stage.method for stage in recipe.stages}
    for key in (setting.partition("=")[0].strip() for setting in settings):
        for prefix, config in configs.items():
            reason = unused_reason(config, key.removeprefix(prefix), prefix) if key.startswith(prefix) else None
            if reason is not None:
                raise InputError(f"{key} would do nothing here: {reason}; leave it out")


def _check_overruled(decisions: Mapping[str, Any], settings: Sequence[str]) -> None:
    """Errors: `InputError` for one of `settings` that `decisions` replaced, since the codec's latents allow no other value."""
    for key, _, text in (setting.partition("=") for setting in settings):
        if key.strip() in decisions and text.strip() != AUTO:
            raise InputError(
                f"{key}={text} does not fit the codec's latents, which take {key}={decisions[key.strip()]}; leave it out"
            )


def _context(recipe: Recipe, dataset: Dataset) -> RunContext:
    """The facts from which "auto" settings are resolved."""
    height, width, channels = dataset.shape
    smallest_class = 0
    if dataset.labels is not None and dataset.classes:
        labels = dataset.labels[dataset.indices("train")]
        smallest_class = int(np.bincount(labels[labels >= 0], minlength=len(dataset.classes)).min())
    return RunContext(
        shape=(channels, height, width),
        batch_size=recipe.batch.size,
        images=recipe.budget.images,
        minutes=recipe.budget.minutes,
        accelerated=precision.device().type != "cpu",
        class_count=len(dataset.classes),
        smallest_class=smallest_class,
        training_images=len(dataset.splits["train"]),
        binary=recipe.data.binary,
    )


def _choose_recipe(
    request: TrainRequest, on_progress: OnProgress, measure_speed: MeasureSpeed | None
) -> tuple[Recipe, Dataset, tuple[str, ...], float | None]:
    """For ``preset=auto``: the recipe of the preset that is chosen, the data, the reason, and its speed, if that was measured.

    The data come first, since the choice depends on them; their settings are the same for every preset.
    """
    pictures = None if isinstance(request.source, str | Path) else request.source
    probe = _compose(request.model_copy(update={"preset": Recipe.model_fields["preset"].default}), common=True)
    dataset = prepared_dataset(probe, on_progress, pictures=pictures)
    source = recorded_source(probe, dataset, pictures)
    speeds: dict[str, float] = {}

    def measure(choice: Choice) -> float:
        assert measure_speed is not None
        on_progress(Progress("measuring", note=f"how fast {choice.preset} learns here"))
        candidate = _compose_choice(request, choice)
        resolved = resolve_recipe(_with_data(candidate, dataset, source), _context(candidate, dataset))
        speed = measure_speed(resolved.model_copy(update={"batch": _fitting_batch(resolved)}), dataset)
        speeds[choice.preset] = max(speed, speeds.get(choice.preset, 0.0))
        return speed

    # Settings of the method are those of a GAN, the default, so that only GANs can be chosen where there are any.
    adversarial = any(setting.startswith("method.") for setting in all_settings(request.settings))
    count, context = len(dataset.splits["train"]), _context(probe, dataset)
    choice = choose(count, context, adversarial, None if measure_speed is None else measure)
    recipe = _compose_choice(request, choice)
    check_processes(recipe)
    return recipe, dataset, (f"preset {choice.preset}: {choice.why}",), speeds.get(choice.preset)


def _compose_choice(request: TrainRequest, choice: Choice) -> Recipe:
    """The recipe of the request with the preset and the settings of `choice`."""
    return _compose(request.model_copy(update={"preset": choice.preset}), choice.settings)


def _fitting_batch(recipe: Recipe) -> BatchConfig:
    """The batch in as many chunks as memory asks for; as it is where no number of them helps."""
    return recipe.batch.model_copy(update={"chunks": fitting_chunks(recipe) or recipe.batch.chunks})


def _compose(request: TrainRequest, over: Sequence[str] = (), common: bool = False) -> Recipe:
    """The recipe of the request's preset, with its settings and a budget.

    `over` are settings that were chosen with the preset; `common` leaves out the settings of the method.
    """
    images, minutes = request.images, request.minutes
    is_named = isinstance(request.source, str | Path)
    source = None if request.source is None else str(request.source) if is_named else describe_source(request.source)
    recipe = compose(
        request.preset,
        request.settings,
        over,
        common=common,
        data__source=source,
        budget__images=images,
        budget__minutes=minutes,
        seed=request.seed,
    )
    if not recipe.data.source:
        raise InputError(
            f"{typed_name(TrainRequest, 'source')} is missing; name the pictures, or give a recipe file that names them: "
            f"{option('preset', 'RUN/recipe.yaml')}"
        )
    if plan := recorded_plan(request):
        recipe = recipe.model_copy(update={"budget": BudgetConfig(images=plan[-1][1])})
    if images is None and minutes is not None and recipe.budget.images is not None:
        recipe = recipe.model_copy(update={"budget": BudgetConfig(minutes=minutes)})
    if recipe.budget.images is None and recipe.budget.minutes is None:
        recipe = recipe.model_copy(update={"budget": BudgetConfig(minutes=DEFAULT_MINUTES)})
    return recipe


def recorded_plan(request: TrainRequest) -> list[tuple[int, int]]:
    """The plan of the run whose ``recipe.yaml`` is the preset, so that training again sees as many images by the same schedule.

    Empty where the request or a setting names a budget, and where that run has not planned yet. Errors: `InputError` where its
    plan is damaged.
    """
    recipe_file = Path(request.preset)
    has_budget = request.images is not None or request.minutes is not None
    if (
        has_budget
        or recipe_file.name != "recipe.yaml"
        or any(one.startswith("budget.") for one in all_settings(request.settings))
    ):
        return []
    return Run(recipe_file.parent).plan()


def _dataset_of_recipe(recipe: Recipe, request: TrainRequest, on_progress: OnProgress, pictures: object) -> Dataset:
    """The prepared set of the recipe; where the recipe itself names its source, the one that it was written for.

    Errors: `InputError` where that source has changed since then.
    """
    if request.source is not None:
        return prepared_dataset(recipe, on_progress, pictures=pictures)
    expected = recipe.data.fingerprint
    dataset = prepared_dataset(recipe, on_progress, expected)
    if expected not in (None, dataset.fingerprint):
        source = public_address(recipe.data.source)
        raise InputError(
            f"{source} is no longer what {request.preset} was written for (its fingerprint differs); bring the pictures back, "
            f"or train on what is there now: `limner train {source} --preset {request.preset}`"
        )
    return dataset


def prepared_dataset(
    recipe: Recipe, on_progress: OnProgress, fingerprint: str | None = None, pictures: object = None
) -> Dataset:
    """The prepared set of the recipe's source, or of `pictures` in memory.

    The main process prepares it, then the others open it. `fingerprint` is that of an earlier preparation, if any (see
    `prepare_source`). Errors: `InputError` where the data cannot be prepared.
    """
    source = recipe.data.source if pictures is None else pictures

    def open_dataset() -> Dataset:
        return prepare_source(source, recipe.data.options(), on_progress=on_progress, fingerprint=fingerprint)

    dataset = open_dataset() if parallel.is_main_process() else None
    parallel.wait_for_all()
    return dataset or open_dataset()


def recorded_source(recipe: Recipe, dataset: Dataset, pictures: object = None) -> str:
    """The source that the recipe records, such that the run can be resumed from any working directory.

    A path becomes absolute; names and addresses stay. For `pictures` in memory, which a later process cannot read, it is the
    folder of the prepared set.
    """
    if pictures is not None:
        return str(dataset.path.resolve())
    source = recipe.data.source
    place = locate(source)
    if isinstance(place, Path) and place.exists() and not is_address(source):
        return str(place.resolve())
    return source


def _resolve(recipe: Recipe, dataset: Dataset, source: str, speed: float | None, measure_speed: MeasureSpeed | None) -> Recipe:
    """The recipe with facts about the data, and with values for "auto" that depend on data and machine.

    `source` is what it records as the source of its data, and `speed` was measured already. Errors: `InputError` for a run in
    `init_from` or `codec` that does not fit.
    """
    context = replace(_context(recipe, dataset), speed=speed)
    recipe = _with_data(recipe, dataset, source)
    resolved = resolve_recipe(recipe, context)
    if measure_speed is None or speed is not None or context.images is not None or context.image_budget == 0:
        return resolved
    guess = context.image_budget / (60 * (context.minutes or 0.0))
    if resolve_recipe(recipe, replace(context, speed=guess / DOUBT)) == resolved:
        return resolved

    def resolve_at(images_per_second: float) -> Recipe:
        return resolve_recipe(recipe, replace(context, speed=images_per_second))

    def is_in_doubt(images_per_second: float) -> bool:
        return resolve_at(images_per_second) != resolve_at(images_per_second * SLOW_MOMENT)

    return resolve_at(fastest(lambda: measure_speed(resolved, dataset), is_in_doubt))


def _with_data(recipe: Recipe, dataset: Dataset, source: str) -> Recipe:
    """The recipe with facts about the data and the machine, in which settings of methods may still be "auto"."""
    height, width, channels = dataset.shape
    data = {
        "source": source,
        "size": f"{height}x{width}",
        "channels": channels,
        "value_range": dataset.value_range,
        "fingerprint": dataset.fingerprint,
        "classes": dataset.classes,
        "caption_length": dataset.caption_length,
        "condition_shape": dataset.condition_shape,
    }
    number_format = precision.choose() if recipe.precision == "auto" else recipe.precision
    init_from = None
    if recipe.init_from is not None:
        source_run = Run.open(recipe.init_from)
        init_from = str(source_run.checkpoint().path.parents[1].resolve())
        own_channels = source_run.recipe().data.channels
        if own_channels != channels:
            raise InputError(
                f"{source_run.path} draws pictures of {own_channels} channel(s), these have {channels}; set "
                f"data.channels={own_channels}, "
                "or leave init_from out"
            )
    update = {"data": recipe.data.model_copy(update=data), "precision": number_format, "init_from": init_from}
    if recipe.codec is not None:
        update |= adopt_codec(recipe, dataset.shape)
    elif any(stage.share == 0 for stage in recipe.stages):
        raise InputError("a stage with share=0 comes trained from another run; name that run with codec=RUN")
    return recipe.model_copy(update=update)


def check_processes(recipe: Recipe, size_is_fixed: bool = False) -> None:
    """Errors: `InputError` where the processes cannot share the chunks of a batch equally.

    `size_is_fixed` says that batch.size cannot change, as in a run that is resumed; the error then proposes something else.
    """
    processes, chunks, size = parallel.process_count(), recipe.batch.chunks, recipe.batch.size
    if chunks % processes:
        fitting = next((n for n in range(processes, size + 1, processes) if size % n == 0), None)
        mend = (
            f"set batch.chunks={fitting}, or another multiple of {processes} that divides batch.size={size}"
            if fitting
            else f"use another number of processes, one that divides batch.size={size}"
            if size_is_fixed
            else f"set batch.size to a multiple of {processes}, and batch.chunks={processes}"
        )
        raise InputError(f"{processes} processes cannot share {chunks} chunk(s) of a batch equally; {mend}")

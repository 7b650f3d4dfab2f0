"""A session of training: starts or resumes a run, and ends it as done, stopped or failed."""

from __future__ import annotations

import time
import traceback
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Literal

from limner.core import parallel, precision
from limner.core.address import public_address, public_text
from limner.core.errors import InputError, Interruption, PackageError, is_out_of_memory
from limner.core.files import write_json
from limner.core.invocation import option
from limner.core.method import Method
from limner.core.process import fix_thread_count
from limner.core.progress import OnProgress, Progress
from limner.data.conditions import pick_captions
from limner.data.dataset import Dataset
from limner.judges.judge import TRAINING_STAGE
from limner.recipes.recipe import Recipe, Segment
from limner.recipes.settings import parse_recipe, put_setting
from limner.runs.report import write_report
from limner.runs.run import Run
from limner.runs.validation import describe_checkpoint
from limner.training.choice import Scorer
from limner.training.dry_run import measure_speed
from limner.training.interrupt import StopRequest, hand_on, handle_signals
from limner.training.logger import NotFiniteError
from limner.training.loop import train_to_end
from limner.training.memory import check_memory
from limner.training.notes import data_notes
from limner.training.provenance import provenance
from limner.training.resolve import check_processes, describe_rounding, prepared_dataset, recorded_plan, resolve_request
from limner.training.scorer import ValidationScorer, unscorable_error
from limner.training.slowdown import note_at_start
from limner.training.stages import Training, check_method
from limner.training.train import ResumeRequest, TrainRequest, TrainResult

RESUME_SETTINGS = ("batch.chunks", "on_nonfinite", "checkpoints.", "previews.", "score.")
"""Settings, or beginnings of settings, that may change when a run is resumed, since the trained weights do not depend on them
(on `batch.chunks` only through statistics over a chunk)."""


def start_run(request: TrainRequest, on_progress: OnProgress) -> TrainResult:
    """Does the work of `limner.training.train.train` without `dry_run`. Errors: `InputError`, as described there."""
    with parallel.processes():
        load_note = note_at_start()
        recipe, dataset, why = resolve_request(request, on_progress, measure_speed)
        accepts = check_method(recipe)  # settings that do not fit are refused before a folder is made
        check_memory(recipe)
        label = request.name or f"{dataset.name}-{Path(recipe.preset).stem}"
        folder = str(Run.create(request.out, label, recipe).path) if parallel.is_main_process() else ""
        run = Run(Path(parallel.broadcast_object(folder)))
        if parallel.is_main_process():
            run.write_status("starting", images=0)
            write_json(run.path / "provenance.json", provenance(recipe, dataset, request))
            captions = pick_captions(dataset, recipe.seed) if "text" in accepts else None
            if captions is not None:
                run.write_captions(captions)
            for at, images in recorded_plan(request):
                run.add_plan(at, images)
            for line in why:
                run.log(line)
            if load_note:
                on_progress(Progress("training", note=load_note))
                run.log(load_note)
        notes = _report_notes(run, recipe, dataset, on_progress)
        with _lock(run):
            result, number = _train(run, recipe, dataset, on_progress)
    return _return(result.model_copy(update={"why": why, "notes": notes}), number)


def resume_run(request: ResumeRequest, on_progress: OnProgress) -> TrainResult:
    """Does the work of `limner.training.train.resume`. Errors: `InputError`, as described there."""
    run = Run.open(request.run)
    with parallel.processes():
        recipe = run.recipe()
        dataset = prepared_dataset(recipe, on_progress, recipe.data.fingerprint)
        if recipe.data.fingerprint != dataset.fingerprint:
            raise InputError(
                f"{public_address(recipe.data.source)} is no longer what {run.path} was trained on (its fingerprint "
                f"differs); bring the pictures back, or start a new run with init_from={run.path}"
            )
        with _lock(run):
            recipe = _change_plan(run, recipe, request.images, request.minutes, request.settings)
            why = describe_rounding(request.images, recipe.batch.size)
            for line in why if parallel.is_main_process() else ():
                on_progress(Progress("chosen", note=line))
                run.log(line)
            notes = _report_notes(run, recipe, dataset, on_progress)
            result, number = _train(run, recipe, dataset, on_progress)
    return _return(result.model_copy(update={"why": why, "notes": notes}), number)


def _return(result: TrainResult, number: int | None) -> TrainResult:
    """`result`, once the signal `number`, if any, was handed on. Errors: `Interruption` where that interrupts the caller."""
    if number is not None:
        try:
            hand_on(number)
        except KeyboardInterrupt:
            raise Interruption(
                f"training was interrupted at {result.images:,} images and is saved; go on with "
                f"limner.resume({str(result.run)!r})",
                result,
            ) from None
    return result


def _report_notes(run: Run, recipe: Recipe, dataset: Dataset, on_progress: OnProgress) -> tuple[str, ...]:
    """Says what a person should know about the data, as progress, in the run's log and in its provenance; returns it."""
    notes = data_notes(recipe, dataset)
    if parallel.is_main_process():
        for line in notes:
            on_progress(Progress("data", note=line))
            run.log(line)
        about = run.provenance()
        about["data"] = {**about.get("data", {}), "notes": list(notes)}
        write_json(run.path / "provenance.json", about)
    return notes


def _lock(run: Run) -> AbstractContextManager[None]:
    """Holds the run's lock in the main process, the only one that writes."""
    return run.locked() if parallel.is_main_process() else nullcontext()


def _train(run: Run, recipe: Recipe, dataset: Dataset, on_progress: OnProgress) -> tuple[TrainResult, int | None]:
    """Trains, and records in the run's status and log how it ended, whatever the error.

    Also returns the number of the signal that asked to stop, if any.
    """
    fix_thread_count()
    try:
        if parallel.is_main_process():
            run.remove_leftovers()
        with precision.repeatable():
            return _train_in_memory(run, recipe, dataset, on_progress)
    except BaseException as error:
        if parallel.is_main_process():
            _write_failure(run, error, recipe.data.source)
        raise


def _write_failure(run: Run, error: BaseException, source: str) -> None:
    """Writes status and log of a run that ended with `error`, without what is secret in `source`, where it is an address."""
    if not run.is_present():
        return
    newest = run.checkpoints()[-1:]
    state = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
    run.write_status(state, images=newest[0].images if newest else 0, error=public_text(str(error), source))
    error.add_note(f"log: {run.path / 'log.txt'}")
    mendable = isinstance(error, InputError | KeyboardInterrupt) and not isinstance(error, PackageError)
    text = f"{type(error).__name__}: {error}" if mendable else traceback.format_exc()
    run.log(public_text(text, source))


def _train_in_memory(run: Run, recipe: Recipe, dataset: Dataset, on_progress: OnProgress) -> tuple[TrainResult, int | None]:
    """Trains; turns an error for lack of memory into an `InputError` that names the setting to change."""
    try:
        return _train_from_newest(run, recipe, dataset, on_progress)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise out_of_memory_error(run, recipe) from error


def _train_from_newest(run: Run, recipe: Recipe, dataset: Dataset, on_progress: OnProgress) -> tuple[TrainResult, int | None]:
    """Trains from the newest checkpoint, or from the start where there is none, to the end of the plan."""
    scorer = _prepare_scorer(run, recipe, dataset, on_progress) if recipe.score.points and parallel.is_main_process() else None
    newest = run.checkpoints()[-1:]
    training = Training(run, recipe, dataset, newest[0] if newest else None)
    if parallel.is_main_process():
        run.delete_after(training.state.images)
    if not training.plan.rows and recipe.budget.images is not None:
        if parallel.is_main_process():
            run.add_plan(0, recipe.budget.images)
        training.plan.rows.append((0, recipe.budget.images))
    if parallel.is_main_process():
        run.log(f"training from {training.state.images} images on {precision.processor()} in {recipe.precision}")
    with handle_signals() as stop_request:
        end, losses = _train_with_rollback(training, scorer, on_progress, stop_request)
    state = training.state
    if parallel.is_main_process():
        # The status has the seconds up to here; those in the last checkpoint end when it was saved.
        run.write_status(end, images=state.images, seconds=state.seconds, total=training.total_images())
        write_report(run.path)
    result = TrainResult(
        run=run.path,
        images=state.images,
        seconds=state.seconds,
        images_per_second=state.images / max(state.seconds, 1e-9),
        parameters=training.parameter_counts(),
        losses=losses,
        state=end,
        preset=recipe.preset,
        why=(),
        notes=(),
        checkpoint_notes=_checkpoint_notes(run),
        next_command=choose_next_command(run.path, training.stage.method, end),
    )
    return result, stop_request.number


def choose_next_command(run: Path, method: Method, end: Literal["done", "stopped"]) -> str:
    """The command that goes on from a training which has come to this `end`: a verb that works for a run of this `method`."""
    if end == "stopped":
        return f"limner resume {run}"
    if not method.generates:
        return f"limner reconstruct {run} IMAGES"
    return f"limner sample {run} --count 64{' --given FILE' if 'image' in method.accepts else ''} --grid"


def _checkpoint_notes(run: Run) -> tuple[str, ...]:
    """What the last checkpoint scored, for the result and for the log; nothing for a run without scores."""
    saved = run.checkpoints()[-1:] if run.scores() else []
    notes = describe_checkpoint(run, saved[0].images) if saved else ()
    if parallel.is_main_process():
        for line in notes:
            run.log(line)
    return notes


def _prepare_scorer(run: Run, recipe: Recipe, dataset: Dataset, on_progress: OnProgress) -> Scorer:
    """The function that scores the method while it trains; provenance and log of the run say by which judge and images.

    A judge that has to be trained takes time before the first step, which the budget in minutes does not count.
    """
    began, trained_stages = time.monotonic(), set[str]()

    def report(event: Progress) -> None:
        if event.what == TRAINING_STAGE:
            trained_stages.add(event.what)
        on_progress(event)

    report(Progress("preparing the judge"))
    provenance = run.provenance()
    earlier = provenance.get("judge")
    try:
        scorer = ValidationScorer(dataset, recipe.score.count, report, earlier)
    except InputError as error:  # such as too few pictures
        raise unscorable_error(error) from error
    scored_on = {"split": scorer.split, "pictures": scorer.pictures}
    if earlier not in (None, scorer.checksum) and run.scores():
        run.log(
            "the judge of earlier scores is gone; scores from here on are by another one, and those are in "
            + run.set_scores_aside()
        )
    write_json(run.path / "provenance.json", provenance | {"judge": scorer.checksum, "scored_on": scored_on})
    if trained_stages:
        seconds = time.monotonic() - began
        run.log(f"a judge of these pictures was trained in {seconds:.1f} s, before the minutes of training begin; it is kept")
    run.log(f"scores compare with {scorer.pictures:,} pictures of the {scorer.split} split")
    return scorer.score


def _train_with_rollback(
    training: Training, scorer: Scorer | None, on_progress: OnProgress, stop_request: StopRequest
) -> tuple[Literal["done", "stopped"], dict[str, float]]:
    """`train_to_end`, repeated once from the last checkpoint where a loss is not finite and ``on_nonfinite`` is "rollback".

    Measured costs of scores and of held-out losses are forgotten then, so that there may be one point more than the recipe
    allows. Errors: `InputError` where a loss is not finite and there is no (second) rollback.
    """
    run, recipe = training.run, training.recipe
    while True:
        try:
            return train_to_end(training, scorer, on_progress, stop_request)
        except NotFiniteError as error:
            newest, state = run.checkpoints()[-1:], training.state
            where = f"the last good checkpoint is {newest[0].path}" if newest else "there is no checkpoint yet"
            what = f"the loss '{error}' is not finite at {state.images if error.images is None else error.images} images"
            if recipe.on_nonfinite != "rollback" or state.rollbacks or not newest:
                raise InputError(
                    f"{what}; {where}; lower the learning rate, or `limner resume {run.path} on_nonfinite=rollback`"
                ) from error
            if parallel.is_main_process():
                run.log(f"{what}; going back once: {where}")
            training.restore(newest[0])
            training.change_draws()
            if parallel.is_main_process():
                run.delete_after(training.state.images)


def out_of_memory_error(run: Run, recipe: Recipe) -> InputError:
    """The error that names the value of `batch.chunks` to try next."""
    size, chunks = recipe.batch.size, recipe.batch.chunks
    more = next((n for n in range(chunks + 1, size + 1) if size % n == 0), None)
    if more is None:
        return InputError(f"out of memory with one image at a time; use a smaller data.size or narrower networks ({run.path})")
    return InputError(f"out of memory with batch.chunks={chunks}; try `limner resume {run.path} batch.chunks={more}`")


def _change_plan(run: Run, recipe: Recipe, images: int | None, minutes: float | None, settings: Sequence[str]) -> Recipe:
    """The recipe with a new budget and changed `settings`, written to the run as a segment before training uses it.

    Errors: `InputError` for a setting that may not change, and for a total budget that is used up already.
    """
    for setting in settings:
        if not setting.startswith(RESUME_SETTINGS):
            raise InputError(
                f"'{setting}' cannot change while a run goes on ({', '.join(RESUME_SETTINGS)} can); start a new one with "
                "init_from="
            )
    checkpoints = run.checkpoints()
    start = checkpoints[-1].images if checkpoints else 0
    if images is not None and images <= start:
        raise InputError(
            f"{run.path} has seen {start} images already; {option('images')} is the new total, so give more than that"
        )
    if images is not None:
        minutes = None  # as in `train`, a budget in images takes precedence
    if images is None and minutes is None and not settings:
        check_processes(recipe, size_is_fixed=True)
        return recipe
    tree = recipe.model_dump(mode="json")
    for setting in settings:
        put_setting(tree, setting)
    chunks = tree["batch"]["chunks"] if tree["batch"]["chunks"] != recipe.batch.chunks else None
    tree["segments"].append(Segment(start=start, images=images, minutes=minutes, chunks=chunks).model_dump(mode="json"))
    changed = parse_recipe(tree, str(run.path))
    check_processes(changed, size_is_fixed=True)  # before anything is written
    if parallel.is_main_process():
        run.write_recipe(changed)
        if images is not None or minutes is not None:
            run.replan(
                start, images if images is not None else _minutes_to_images(run, start, minutes or 0.0, changed.batch.size)
            )
    parallel.wait_for_all()  # no process reads the plan before it is written
    return changed


def _minutes_to_images(run: Run, start: int, minutes: float, batch: int) -> int | None:
    """The total of images that a total of `minutes` allows at the speed of the first `start` images; None where that is 0.

    Training corrects it later by the clock. Errors: `InputError` where the run has trained for so long already.
    """
    if start == 0:
        return None
    seconds = float(run.checkpoints()[-1].state()["seconds"])
    seconds_left = 60 * minutes - seconds
    if seconds_left <= 0:
        raise InputError(
            f"{run.path} has trained for {seconds / 60:.1f} minutes already; {option('minutes')} is the new total, so give more"
        )
    return start + max(1, round(start / seconds * seconds_left / batch)) * batch

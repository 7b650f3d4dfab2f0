"""The one training loop: every method, device and number of processes goes through it.

One round of it is one step:

1. *Step.* `Stepper.step` (training/step.py): for every phase that is due and every chunk of the batch, `Feed.draw` gathers the
   images (each phase reads a shuffled sequence of its own, without end) and the method's losses are differentiated; then the
   optimisers move the weights.
2. *Orders.* `Control.exchange` reads signals and the files in ``control/``, and corrects the plan of a budget in minutes.
3. *Average.* `Training.update_average` moves the averaged weights, from which samples are drawn.
4. *Log.* `Milestones.after_step` writes metrics, status and progress, and at chosen points previews, scores and checkpoints.
"""

from __future__ import annotations

import time
from typing import Literal

from limner.core import parallel
from limner.core.progress import OnProgress
from limner.training.choice import Scorer
from limner.training.control import Control
from limner.training.interrupt import StopRequest
from limner.training.logger import Logger, Stopwatch
from limner.training.milestones import Milestones
from limner.training.stages import Training


def train_to_end(
    training: Training, scorer: Scorer | None, on_progress: OnProgress, stop_request: StopRequest
) -> tuple[Literal["done", "stopped"], dict[str, float]]:
    """Trains until the budget is used up, or until a person asks to stop, as `stop_request` says. The state is saved in both
    cases.

    `scorer` computes the scores of the averaged method; None for a run without scores, and on all but the main process.
    Returns how training ended, and the mean losses of the last row of metrics. Errors: `NotFiniteError` where a loss or a
    weight is infinite or not a number; such a state is never saved.
    """
    state, batch = training.state, training.recipe.batch.size
    stopwatch = Stopwatch(state.seconds)
    control = Control(training, stopwatch, stop_request)
    logger = Logger(training, stopwatch, on_progress, control.clock)
    milestones = Milestones(training, logger, control, scorer)
    training.remember_latents()
    _read_pictures(training, logger, control)
    stopped = False
    while not training.finished() and not stopped:
        # Before the step, so that a run that was saved at the end of a stage begins the next one when it is resumed.
        if training.stage_finished():
            training.start_next_stage()
            training.remember_latents()
            _read_pictures(training, logger, control)
            control.restart_clock()

        # Draw and step. Both are functions of the number of images seen, so a resumed run continues to the bit.
        images_before, position = state.images, training.position()
        if logger.log_phase_changes():
            control.exchange_soon()  # steps may be slower from here on
        losses = training.stage.stepper.step(training.feed.draw, position, state.iteration)
        state.images += batch
        state.iteration += 1
        logger.add(losses)

        # A corrected plan comes before the average, whose half-life is a share of the plan.
        orders = control.exchange()
        training.update_average()

        # Log, preview, score, save: the main process alone.
        if parallel.is_main_process() and not control.broken:
            with control.raise_together():
                milestones.after_step(images_before, orders)
        stopped = "stop" in orders
    if parallel.is_main_process() and not control.broken and not stopped:
        newest = training.run.checkpoints()[-1:]
        if not newest or newest[0].images < state.images:  # a resumed run whose budget was used up already
            with control.raise_together():
                milestones.after_step(state.images, {"save-now"})
    control.close()
    return ("stopped" if stopped else "done"), logger.losses


def _read_pictures(training: Training, logger: Logger, control: Control) -> None:
    """Has the method read the pictures, reports what it says of them, and leaves that time out of the measured speed."""
    began = time.monotonic()
    for line in training.read_pictures(logger.monitor.feed):
        logger.report_note(line)
    control.exclude(time.monotonic() - began)

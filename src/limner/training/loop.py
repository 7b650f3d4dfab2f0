"""The one training loop: every method, device and number of processes goes through it."""

from __future__ import annotations

from typing import Literal

from limner.core import parallel
from limner.core.progress import OnProgress
from limner.training.control import Control
from limner.training.interrupt import handle_signals
from limner.training.logger import Logger, Stopwatch
from limner.training.milestones import Milestones, Scorer
from limner.training.stages import Training


def train_to_end(
    training: Training, scorer: Scorer | None, on_progress: OnProgress
) -> tuple[Literal["done", "stopped"], dict[str, float]]:
    """Trains until the budget is used up, or somebody asks to stop. The state is saved either way.

    Returns how it ended, and the last row's losses. Errors: `NotFiniteError` where a loss or a weight is infinite or not a
    number; nothing of it is saved.
    """
    state, batch = training.state, training.recipe.batch.size
    with handle_signals() as request:
        stopwatch = Stopwatch(state.seconds)
        control = Control(training, stopwatch, request)
        logger = Logger(training, stopwatch, on_progress)
        milestones = Milestones(training, logger, control, scorer)
        training.remember_latents()
        stopped = False
        while not training.finished() and not stopped:
            # Before the step, so that a run resumed on the border of two stages crosses it as well.
            if training.stage_finished():
                training.start_next_stage()
                training.remember_latents()
                control.restart_clock()

            # Draw and step. What is drawn depends on the images seen, not on what was drawn before.
            before, position = state.images, training.position()
            if logger.announce_phases():
                control.exchange_soon()
            logs = training.stage.stepper.step(training.feed.draw, position, state.iteration)
            state.images += batch
            state.iteration += 1
            logger.add(logs)

            # Look at the orders. A corrected plan comes before the average, whose half-life depends on it.
            orders = control.exchange()
            training.update_average()

            # Log, preview, score, save.
            if parallel.is_main_process() and not control.broken:
                with control.raise_together():
                    milestones.visit(before, orders)
            stopped = "stop" in orders
        if parallel.is_main_process() and not control.broken and not stopped:
            newest = training.run.checkpoints()[-1:]
            if not newest or newest[0].images < state.images:  # a resumed run whose plan was used up already
                with control.raise_together():
                    milestones.visit(state.images, {"save-now"})
        control.close()
    return ("stopped" if stopped else "done"), logger.losses

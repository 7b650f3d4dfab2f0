"""What influences a run while it trains: signals, files in the run's folder ``control/``, and the clock of a budget in minutes.

The main process decides, and sends its decision to the other processes as one small tensor of integers, every few steps.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from limner.core import parallel
from limner.runs.run import Run
from limner.training.clock import Clock
from limner.training.interrupt import StopRequest
from limner.training.logger import NotFiniteError, Stopwatch
from limner.training.stages import Training

POLL_SECONDS = 0.5
"""Time between two checks of the folder ``control/``."""
EXCHANGE_SECONDS = 0.25
"""Time between two exchanges of several processes, approximately."""
MAX_STEPS_APART = 64
"""Steps between two exchanges, at most."""
ORDERS = ("stop", "save-now", "sample-now")
"""Names of files in ``control/``, in the order of their bits in the tensor. Only the main process handles ``pause``: the others
wait for its next message."""
NO_VALUE = -1
"""Stands for None in the tensor; all its values are zero or more."""


@dataclass
class Decision:
    """What the main process sends to the others. All are integers, so that one tensor holds them."""

    orders: int = 0
    """A bit for each of `ORDERS`, the first one the lowest."""
    plan: int = NO_VALUE
    """The new total of images where the plan is corrected, else `NO_VALUE`."""
    not_finite: int = NO_VALUE
    """Images at which the main process met a loss or weight that is not finite, else `NO_VALUE`."""
    steps: int = 1
    """Steps until the next exchange."""


class Control:
    """Collects orders, corrects a plan in minutes, and sends both to all processes."""

    def __init__(self, training: Training, stopwatch: Stopwatch, stop_request: StopRequest) -> None:
        self.training, self.stopwatch, self.stop_request = training, stopwatch, stop_request
        self.run: Run = training.run
        self.clock = _clock(training)
        self.reserve = 0.0
        """Seconds that the last preview, score and checkpoint will take."""
        self._polled_at = 0.0
        self._next_exchange = training.state.iteration
        self._steps = 1
        self._not_finite: NotFiniteError | None = None
        self._exchanged_at = stopwatch.seconds(), training.state.iteration

    def exchange(self) -> set[str]:
        """After a step: the orders, some of `ORDERS`, that every process follows now; empty where no exchange is due.

        Every process also adds a corrected total to its plan. Errors: `NotFiniteError`, on all processes together.
        """
        state = self.training.state
        state.seconds = self.stopwatch.seconds()
        if state.iteration < self._next_exchange:
            return set()
        decision = Decision(
            *parallel.broadcast_integers(_integers(self._decide() if parallel.is_main_process() else Decision()))
        )
        self._steps = decision.steps
        self._next_exchange = state.iteration + self._steps
        if decision.plan != NO_VALUE:
            self.training.plan.rows.append((state.images, decision.plan))
        self._raise_if_not_finite(decision.not_finite)
        return {name for bit, name in enumerate(ORDERS) if decision.orders >> bit & 1}

    @contextmanager
    def raise_together(self) -> Iterator[None]:
        """A context for work of the main process alone: its `NotFiniteError` is raised on all processes at the next exchange.

        With one process it is raised at once.
        """
        try:
            yield
        except NotFiniteError as error:
            if parallel.process_count() == 1:
                raise
            error.images = self.training.state.images
            self._not_finite = error

    @property
    def broken(self) -> bool:
        """Whether the main process met a value that is not finite and waits for the next exchange to raise the error."""
        return self._not_finite is not None

    def close(self) -> None:
        """The last exchange. Errors: `NotFiniteError`, on all processes together."""
        (images,) = parallel.broadcast_integers([self._not_finite_images()])
        self._raise_if_not_finite(images)

    def _not_finite_images(self) -> int:
        """Images at which the main process met a value that is not finite, or `NO_VALUE`."""
        return NO_VALUE if self._not_finite is None or self._not_finite.images is None else self._not_finite.images

    def _raise_if_not_finite(self, images: int) -> None:
        """Raises the main process's `NotFiniteError` on every process, unless `images` is `NO_VALUE`."""
        if images != NO_VALUE:
            raise NotFiniteError(parallel.broadcast_object(str(self._not_finite)), images)

    def exchange_soon(self) -> None:
        """Exchanges after the next step, and then at a distance that grows from one step, since steps may be slower now."""
        self._steps = 1
        self._next_exchange = self.training.state.iteration

    def restart_clock(self) -> None:
        """Measures the speed anew, for a stage that begins here."""
        self.exchange_soon()
        if self.clock is not None:
            self.clock.restart(self.stopwatch.seconds(), self.training.state.images)

    def exclude(self, seconds: float) -> None:
        """Leaves `seconds` that scores, fits and checkpoints took just now out of the speed by which the plan is corrected."""
        if self.clock is not None:
            self.clock.excluded += seconds

    def _decide(self) -> Decision:
        """The decision of this moment, made on the main process."""
        plan = self._correct_plan()
        orders = self._collect_orders()
        return Decision(
            orders=sum(1 << bit for bit, name in enumerate(ORDERS) if name in orders),
            plan=NO_VALUE if plan is None else plan,
            not_finite=self._not_finite_images(),
            steps=self._steps_apart(),
        )

    def _correct_plan(self) -> int | None:
        """The new total of images where a plan in minutes is due for a correction, else None.

        It is written to the run folder before it is used, so that a resumed run replays it.
        """
        if self.clock is None:
            return None
        state = self.training.state
        self.clock.reserve = self.reserve
        row = self.clock.correct(self.training.plan, state.images, state.seconds, self.training.recipe.batch.size)
        if row is None:
            return None
        self.run.add_plan(*row)
        return row[1]

    def _steps_apart(self) -> int:
        """Steps until the next exchange: 1 for a single process, for which it costs nothing; else about `EXCHANGE_SECONDS`.

        The number at most doubles, so that a run whose steps become slow still follows orders soon.
        """
        if parallel.process_count() == 1:
            return 1
        (seconds, iteration), now = self._exchanged_at, (self.stopwatch.seconds(), self.training.state.iteration)
        self._exchanged_at = now
        step_seconds = max(now[0] - seconds, 1e-6) / max(now[1] - iteration, 1)
        return max(1, min(MAX_STEPS_APART, 2 * self._steps, int(EXCHANGE_SECONDS / step_seconds)))

    def _collect_orders(self) -> set[str]:
        """The orders of a signal, and of the files in ``control/``, which are checked every `POLL_SECONDS`."""
        orders = {"stop"} if self.stop_request.is_set else set()
        now = self.stopwatch.seconds()
        if now - self._polled_at > POLL_SECONDS:
            self._polled_at = now
            self.run.check_presence()
            orders |= self.run.take_orders()
            if "pause" in orders:
                orders |= self._pause(now)
        return orders

    def _pause(self, now: float) -> set[str]:
        """Waits until ``control/pause`` is removed or a person asks to stop; returns the orders that arrived in the meantime.

        `now`: seconds of training, at which the stopwatch continues afterwards.
        """
        state, orders, status_at = self.training.state, set[str](), -math.inf
        while True:
            if time.monotonic() - status_at > 5:  # so that other processes see that it is alive
                status_at = time.monotonic()
                self.run.write_status("paused", images=state.images, seconds=now)
            time.sleep(0.2)
            files = self.run.take_orders()
            orders |= files | ({"stop"} if self.stop_request.is_set else set())
            if "pause" not in files or "stop" in orders:
                break
        self.stopwatch.set(now)  # the pause is not training time
        state.seconds = now
        total = self.training.total_images()
        self.run.write_status("training", images=state.images, seconds=now, total=total)
        return orders


def _integers(decision: Decision) -> list[int]:
    """The fields in their order, as `Decision(*integers)` takes them."""
    return [decision.orders, decision.plan, decision.not_finite, decision.steps]


def _clock(training: Training) -> Clock | None:
    """The clock of a budget in minutes; None for a budget in images. The newest segment of a resumed run says which it is."""
    recipe, state = training.recipe, training.state
    minutes = recipe.budget.minutes if recipe.budget.images is None else None
    for segment in recipe.segments:
        if segment.images is not None or segment.minutes is not None:
            minutes = segment.minutes
    return None if minutes is None else Clock(60 * minutes, (state.seconds, state.images), stage_start=state.stage_start)

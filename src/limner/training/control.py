"""What reaches a training run from outside: signals, files in ``control/``, and the clock of a budget in minutes.

The main process decides. The others learn of it by one small tensor of integers, every few steps.
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
"""Between two looks into ``control/``."""
EXCHANGE_SECONDS = 0.25
"""About so much time lies between two exchanges among several processes."""
MAX_STEPS_APART = 64
"""At most so many steps lie between two of them."""
ORDERS = ("stop", "save-now", "sample-now")
"""Names of files in ``control/``, in the order of their bits in the tensor. A pause concerns the main process alone."""
NONE = -1


@dataclass
class Decision:
    """What the main process tells the others; integers, so that it travels as one tensor."""

    orders: int = 0
    """Bits, in the order of `ORDERS`."""
    plan: int = NONE
    """The new total of images, where the plan is corrected."""
    not_finite: int = NONE
    """Images at which the main process met a value that is not finite."""
    steps: int = 1
    """Until the next exchange."""


class Control:
    """Collects orders, corrects plans in minutes, and keeps all processes in agreement."""

    def __init__(self, training: Training, stopwatch: Stopwatch, request: StopRequest) -> None:
        self.training, self.stopwatch, self.request = training, stopwatch, request
        self.run: Run = training.run
        self.clock = _clock(training)
        self.reserve = 0.0
        """Seconds that the last preview, score and checkpoint will take."""
        self._polled = 0.0
        self._next_exchange = training.state.iteration
        self._steps = 1
        self._not_finite: NotFiniteError | None = None
        self._exchanged_at = stopwatch.seconds(), training.state.iteration

    def exchange(self) -> set[str]:
        """After a step: the orders (of `ORDERS`) that every process follows now. A corrected plan is known to all as well.

        Errors: `NotFiniteError`, on every process alike.
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
        if decision.plan != NONE:
            self.training.plan.rows.append((state.images, decision.plan))
        self._raise_if_met(decision.not_finite)
        return {name for bit, name in enumerate(ORDERS) if decision.orders >> bit & 1}

    @contextmanager
    def raise_together(self) -> Iterator[None]:
        """Around what the main process does alone: that it met a value that is not finite is told at the next exchange."""
        try:
            yield
        except NotFiniteError as error:
            if parallel.process_count() == 1:
                raise
            error.images = self.training.state.images
            self._not_finite = error

    @property
    def broken(self) -> bool:
        """Whether the main process waits for the next exchange with a value that is not finite."""
        return self._not_finite is not None

    def close(self) -> None:
        """The last exchange. Errors: `NotFiniteError`, on every process alike."""
        (images,) = parallel.broadcast_integers([self._not_finite_images()])
        self._raise_if_met(images)

    def _not_finite_images(self) -> int:
        """Where the main process met a value that is not finite, or `NONE`."""
        return NONE if self._not_finite is None or self._not_finite.images is None else self._not_finite.images

    def _raise_if_met(self, images: int) -> None:
        """On every process the same `NotFiniteError`, where the main process met a value that is not finite at `images`."""
        if images != NONE:
            raise NotFiniteError(parallel.broadcast_object(str(self._not_finite)), images)

    def exchange_soon(self) -> None:
        """The steps that follow may be far slower: exchange after the next one, and after few from there on."""
        self._steps = 1
        self._next_exchange = self.training.state.iteration

    def restart_clock(self) -> None:
        """A new stage trains at a speed of its own."""
        self.exchange_soon()
        if self.clock is not None:
            self.clock.restart(self.stopwatch.seconds(), self.training.state.images)

    def _decide(self) -> Decision:
        """On the main process."""
        plan = self._correct_plan()
        orders = self._collect_orders()
        return Decision(
            orders=sum(1 << bit for bit, name in enumerate(ORDERS) if name in orders),
            plan=NONE if plan is None else plan,
            not_finite=self._not_finite_images(),
            steps=self._steps_apart(),
        )

    def _correct_plan(self) -> int | None:
        """The new total of images, where a plan in minutes is due for a correction; it is written down before it is used."""
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
        """One process exchanges nothing and looks after every step; several at about equal times.

        The distance doubles at most, so that a run whose steps become slow is not left without orders for long.
        """
        if parallel.process_count() == 1:
            return 1
        (seconds, iteration), now = self._exchanged_at, (self.stopwatch.seconds(), self.training.state.iteration)
        self._exchanged_at = now
        step_seconds = max(now[0] - seconds, 1e-6) / max(now[1] - iteration, 1)
        return max(1, min(MAX_STEPS_APART, 2 * self._steps, int(EXCHANGE_SECONDS / step_seconds)))

    def _collect_orders(self) -> set[str]:
        """Of a signal, and of the files in ``control/``, which are looked for twice a second."""
        orders = {"stop"} if self.request.made else set()
        now = self.stopwatch.seconds()
        if now - self._polled > POLL_SECONDS:
            self._polled = now
            orders |= self.run.asked()
            if "pause" in orders:
                orders |= self._pause(now)
        return orders

    def _pause(self, now: float) -> set[str]:
        """Waits at second `now` until ``control/pause`` is gone or somebody asks to stop; gives what else was asked for."""
        state, orders, beat = self.training.state, set[str](), -math.inf
        while True:
            if time.monotonic() - beat > 5:
                beat = time.monotonic()
                self.run.write_status("paused", images=state.images, seconds=now)
            time.sleep(0.2)
            files = self.run.asked()
            orders |= files | ({"stop"} if self.request.made else set())
            if "pause" not in files or "stop" in orders:
                break
        self.stopwatch.set(now)  # the pause is not training time
        state.seconds = now
        total = self.training.plan.total(state.images)
        self.run.write_status("training", images=state.images, seconds=now, total=total)
        return orders


def _integers(decision: Decision) -> list[int]:
    return [decision.orders, decision.plan, decision.not_finite, decision.steps]


def _clock(training: Training) -> Clock | None:
    """What corrects a plan in minutes; None for one in images, also where the run was resumed with such a plan."""
    recipe, state = training.recipe, training.state
    minutes = recipe.budget.minutes if recipe.budget.images is None else None
    for segment in recipe.segments:
        if segment.images is not None or segment.minutes is not None:
            minutes = segment.minutes
    return None if minutes is None else Clock(60 * minutes, (state.seconds, state.images), began=state.stage_start)

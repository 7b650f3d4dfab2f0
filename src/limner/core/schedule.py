"""A value that depends on the progress of the budget: warm-up, plateau, decay. Counted in fractions, never in steps."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_serializer

from limner.core.config import Settings


class Schedule(Settings):
    """`value` after a linear warm-up, held until `decay_from`, then brought to `value * final`. A bare number is a constant.

    >>> schedule = Schedule(value=2.0, warmup=0.1, decay_from=0.5)
    >>> [schedule.at(progress) for progress in (0.0, 0.05, 0.3, 0.75, 1.0)]
    [0.0, 1.0, 2.0, 1.0, 0.0]
    """

    value: float
    """The value on the plateau."""
    warmup: float = Field(0.0, ge=0, lt=1)
    """Fraction of the budget over which the value rises linearly from zero."""
    decay_from: float = Field(1.0, ge=0, le=1)
    """Fraction of the budget at which the decay begins; 1 is never."""
    final: float = Field(0.0, ge=0)
    """What is left at the end, as a share of `value`."""
    shape: Literal["linear", "cosine"] = "linear"
    """Of the decay: a straight line, or half a period of a cosine."""

    def at(self, progress: float) -> float:
        """The value at `progress` in 0..1."""
        if progress < self.warmup:
            return self.value * progress / self.warmup
        if progress <= self.decay_from or self.decay_from == 1.0:
            return self.value
        way = min((progress - self.decay_from) / (1 - self.decay_from), 1.0)
        if self.shape == "cosine":
            way = 0.5 - 0.5 * math.cos(math.pi * way)
        return self.value * (1 - way * (1 - self.final))

    @model_serializer(mode="wrap")
    def _short(self, full: Any) -> Any:
        return self.value if self == Schedule(value=self.value) else full(self)


def constant(value: float) -> Schedule:
    """The schedule that is `value` throughout, for defaults: it is made without a validator, which takes milliseconds to build.

    >>> constant(0.5) == Schedule(value=0.5)
    True
    """
    return Schedule.model_construct({"value"}, value=value)


def _from_number(value: Any) -> Any:
    return {"value": value} if isinstance(value, int | float) and not isinstance(value, bool) else value


Scheduled = Annotated[Schedule, BeforeValidator(_from_number)]

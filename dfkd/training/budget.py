"""What a run may spend, when whose turn it is, and what is spent so far."""

import math
import numbers
import time
from dataclasses import dataclass, field

from dfkd.errors import DfkdError, check_within


@dataclass(frozen=True)
class Budget:
    """Wall time or student steps; exactly one of the two.

    Raises:
        DfkdError: both or neither, or a value that is not positive and finite.
    """

    minutes: float | None = None
    steps: int | None = None

    def __post_init__(self) -> None:
        if (self.minutes is None) == (self.steps is None):
            raise DfkdError("give a budget either in `minutes` or in `steps`")
        value = self.minutes if self.minutes is not None else self.steps
        number = isinstance(value, numbers.Real) and not isinstance(value, bool)
        if not number or not math.isfinite(value) or value <= 0:  # type: ignore[arg-type,operator]
            raise DfkdError(f"a budget must be a positive number, not {value!r}")
        if self.steps is not None and not isinstance(self.steps, numbers.Integral):
            raise DfkdError(f"`steps` must be a whole number, not {self.steps!r}")

    def progress(self, seconds: float, steps: int) -> float:
        """Return the share of the budget that is spent, in [0, 1]."""
        spent = seconds / (60 * self.minutes) if self.minutes else steps / (self.steps or 1)
        return min(1.0, spent)


@dataclass(frozen=True)
class Alternation:
    """When the synthesizer's turn comes.

    Attributes:
        warmup_updates: synthesizer updates before the first student step; None: one round of the
            method, as it says itself.
        warmup_share: of a budget in minutes, the most that those may take.
        steps_per_update: student steps between two later updates; 0: there are none.
        batch_size: images in a student step, over all processes.
    """

    warmup_updates: int | None = 0
    warmup_share: float = 0.5
    steps_per_update: int = 0
    batch_size: int = 128

    def __post_init__(self) -> None:
        check_within(self, "[0, inf)", "warmup_updates", "steps_per_update")
        check_within(self, "[0, 1]", "warmup_share")
        check_within(self, "[1, inf)", "batch_size")


@dataclass
class RunProgress:
    """What the run has spent so far."""

    steps: int = 0
    updates: int = 0
    warmup_updates: int = 0
    synthesis_seconds: float = 0.0
    distillation_seconds: float = 0.0
    earlier_seconds: float = 0.0
    started: float = field(default_factory=time.perf_counter)

    @property
    def seconds(self) -> float:
        """Wall time, that of interrupted sessions included."""
        return self.earlier_seconds + time.perf_counter() - self.started

"""Watch a run: one class with four methods, all of them empty."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn


class Callback:
    """Derive from it and write the methods that you need; the others do nothing.

    A run calls them between two steps, in its first process alone. What they raise ends the run;
    its files are whole then, and it can be resumed from its last checkpoint.

    Attributes:
        marks: shares of the budget, in (0, 1], at which ``on_mark`` is called.
    """

    marks: Sequence[float] = ()

    def on_start(self, facts: Mapping[str, Any]) -> None:
        """Before the first step.

        Args:
            facts: what was decided, as in ``result.json``: ``compiled`` and ``decisions``; of a
                distillation also ``init`` and ``pairs``.
        """

    def on_log(
        self,
        progress: float,
        step: int,
        metrics: Mapping[str, float],
        class_counts: Sequence[int],
    ) -> None:
        """About every two seconds, and at the end.

        Args:
            progress: share of the budget that is spent, in [0, 1].
            step: steps so far.
            metrics: losses and the like, by name.
            class_counts: how often the teacher answered each class; empty where nobody counts.
        """

    def on_checkpoint(self, step: int, path: Path) -> None:
        """After a checkpoint was taken; a thread of its own writes it.

        Args:
            step: steps so far.
            path: the file, whole at any time; this state is in it when the run has ended.
        """

    def on_mark(self, progress: float, step: int, seconds: float, student: nn.Module) -> None:
        """Act at each of ``marks``; the run's clock stands still. Not called by ``invert``.

        Args:
            progress: the mark.
            step: steps so far.
            seconds: wall time so far.
            student: as it would be kept now, in eval mode; unchanged afterwards, copied to be kept.
        """

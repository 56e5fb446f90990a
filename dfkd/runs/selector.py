"""The best student on the way: judged on held-out images at a few points of the budget.

Most runs end best: their rate falls to nothing. One whose images run away from the student, or
whose classes collapse, was better before; and who has no data cannot see when.
"""

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from dfkd.evaluation.validation import Candidate, Validation
from dfkd.networks.copying import copy_network
from dfkd.protocols import Source
from dfkd.runs.callbacks import Callback
from dfkd.training.budget import Budget

MOST_MARKS = 8
"""Points at which a student is judged, at most."""
_SHARE = 0.01
"""Of a budget in minutes, what judging on the way may take."""
_STEPS = 50
"""Of the student that lie between two points, at least, where a budget is in steps."""


def marks_of(budget: Budget, seconds: float) -> tuple[float, ...]:
    """Choose the shares of a budget at which a student is judged, evenly spaced, in (0, 1).

    Args:
        budget: of the run.
        seconds: that judging it once takes.
    """
    if budget.minutes is not None:
        affordable = int(_SHARE * 60 * budget.minutes / max(seconds, 1e-3))
    else:
        affordable = (budget.steps or 0) // _STEPS
    count = min(MOST_MARKS, affordable)
    return tuple(index / (count + 1) for index in range(1, count + 1))


class Selector(Callback):
    """Keeps the best student of the marks that are passed, and ends a run that gains no more.

    Args:
        validation: judges.
        source: says what builds the network that would be kept now; None: the user's student.
        marks: shares of the budget; a session that goes on has those that it began with.
        patience: marks without a better student after which the run is ended; 0: never.
        end: ends it.
        agree: any process's wish to end becomes everybody's.
        saved: ``state_dict`` of an interrupted session, where one goes on.

    Attributes:
        best: of the marks so far.
        way: (share, agreement, divergence) at each of them.
    """

    def __init__(
        self,
        validation: Validation,
        source: Callable[[], Source | None],
        marks: tuple[float, ...],
        patience: int = 0,
        end: Callable[[], None] = lambda: None,
        agree: Callable[[bool], bool] = bool,
        saved: Mapping[str, Any] | None = None,
    ) -> None:
        self._validation, self._source = validation, source
        self._patience, self._end, self._agree = patience, end, agree
        state = saved or {"marks": list(marks), "way": [], "best": None, "without": 0}
        self.way: list[tuple[float, float, float]] = [tuple(row) for row in state["way"]]
        self._without: int = state["without"]
        self._saved = state["best"]
        self.best: Candidate | None = None
        self._all: tuple[float, ...] = tuple(state["marks"])
        passed = max((share for share, *_ in self.way), default=0.0)
        self.marks = tuple(mark for mark in self._all if mark > passed)

    def restore(self, *networks: nn.Module) -> None:
        """Bring the best student back from its saved tensors.

        Args:
            networks: of the run; one of them is of its architecture.
        """
        if self._saved is None:
            return
        state = self._saved["student"]
        shapes = {name: value.shape for name, value in state.items()}
        for network in networks:
            if {name: value.shape for name, value in network.state_dict().items()} == shapes:
                student = copy_network(network)
                student.load_state_dict(state)
                standing = self._validation.standing(student)
                self.best = Candidate(
                    student, standing, self._saved["share"], self._saved["source"]
                )
                return

    def on_mark(self, progress: float, step: int, seconds: float, student: nn.Module) -> None:
        """Judge the student as it is now; keep a copy where it is the best so far."""
        standing = self._validation.standing(student)
        self.way.append((progress, standing.agreement, standing.divergence))
        best = self.best and self.best.standing
        # Of gains that no image shows there is no end.
        gained = best is None or standing.agreement > best.agreement
        self._without = 0 if gained else self._without + 1
        if best is None or standing.rank > best.rank:
            self.best = Candidate(copy_network(student), standing, progress, self._source())
        if self._patience and self._agree(self._without >= self._patience):
            self._end()

    def state_dict(self) -> dict[str, Any]:
        """Return what a session that goes on needs. No tensor of it changes any more."""
        best = self.best and {
            "student": {k: v.detach().cpu() for k, v in self.best.student.state_dict().items()},
            "share": self.best.share,
            "source": self.best.source,
        }
        way = [list(row) for row in self.way]
        return {"marks": list(self._all), "way": way, "best": best, "without": self._without}

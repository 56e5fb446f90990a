"""Settings of a network that teaches itself: data alone."""

import math
from dataclasses import dataclass

from dfkd.errors import DfkdError

_FORMS = ("exits", "generations")
_EXITS = ("drop", "keep")


@dataclass(frozen=True)
class SelfConfig:
    """A student that also learns from itself: from its deeper layers, or from its former self.

    Attributes:
        form: ``exits``: heads at its depths learn from its end; ``generations``: it starts anew
            several times and learns from what it was.
        exits: whether those heads stay in the finished student: ``keep`` or ``drop``.
        alpha: share of the end's outputs in what a head learns; the teacher's have the rest.
        beta: weight of the distance between a head's embedding and the end's, a mean over N x D
            here and a norm in the authors' code; alpha and beta are theirs.
        generations: how many; they share the budget evenly.
        predecessor: weight of the former self's outputs beside the knowledge.
    """

    form: str = "exits"
    exits: str = "drop"
    alpha: float = 0.3
    beta: float = 0.03
    generations: int = 3
    predecessor: float = 1.0

    def __post_init__(self) -> None:
        if self.form not in _FORMS:
            raise DfkdError(f"form must be exits or generations, not {self.form!r}")
        if self.exits not in _EXITS:
            raise DfkdError(f"exits must be keep or drop, not {self.exits!r}")
        if self.form == "generations" and self.exits == "keep":
            raise DfkdError("generations have no exits to keep: leave form at exits")
        if not 0 <= self.alpha <= 1:
            raise DfkdError(f"alpha is a share in [0, 1], not {self.alpha}")
        if self.generations < 1:
            raise DfkdError(f"generations must be at least 1, not {self.generations}")
        for name in ("beta", "predecessor"):
            if not 0 <= getattr(self, name) < math.inf:
                raise DfkdError(f"{name} must be finite and >= 0, not {getattr(self, name)}")

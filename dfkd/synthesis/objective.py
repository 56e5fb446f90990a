"""An objective is a flat weighted sum of named terms, always minimised.

Only ``+`` and scalar ``*``: no products, no conditionals, no terms of terms.
The adversary is a distillation term times a negative number, so it needs no
mechanism of its own.

    objective = Term("cross_entropy", class_loss) + 0.05 * Term("statistics", bn_loss)
    total, components = objective(evidence, progress=0.1)
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

from torch import Tensor

from dfkd.errors import DfkdError
from dfkd.teacher import Trace

Schedule = Callable[[float], float]
"""Progress of the run in [0, 1] -> a factor."""


class Evidence(NamedTuple):
    """Everything a term may look at, for one batch of images.

    ``images`` N x C x H x W in [0, 1], as the teacher saw them; ``targets`` N class
    indices; ``student_logits`` is there only where a student watches.
    """

    images: Tensor
    targets: Tensor
    trace: Trace
    student_logits: Tensor | None = None

    def require_student(self) -> Tensor:
        """The student's logits, or an error where a term needs them and no student watches."""
        if self.student_logits is None:
            raise DfkdError("this objective needs a student, and none was given")
        return self.student_logits


@dataclass(frozen=True)
class Term:
    """A named loss with a weight; the weight is a number or a schedule over progress."""

    name: str
    loss: Callable[[Evidence], Tensor]
    weight: float | Schedule = 1.0

    def __mul__(self, factor: float) -> "Term":
        weight = self.weight
        if callable(weight):
            schedule = weight
            return replace(self, weight=lambda progress: factor * schedule(progress))
        return replace(self, weight=factor * weight)

    __rmul__ = __mul__

    def __add__(self, other: "Term | Objective") -> "Objective":
        return Objective((self,)) + other

    def weight_at(self, progress: float) -> float:
        """The weight when ``progress`` in [0, 1] of the run is done."""
        return self.weight(progress) if callable(self.weight) else self.weight


class Objective:
    """A sum of terms. Calling it gives the total and every *unweighted* component by name.

    Raises:
        DfkdError: no term at all (an empty sum is never a loss), or two of one name.
    """

    def __init__(self, terms: Iterable[Term]) -> None:
        self.terms = tuple(terms)
        names = [term.name for term in self.terms]
        if not names:
            raise DfkdError("an objective needs at least one term")
        if len(set(names)) < len(names):
            raise DfkdError(f"term names must differ: {', '.join(names)}")

    def __add__(self, other: "Term | Objective") -> "Objective":
        return Objective(self.terms + (other.terms if isinstance(other, Objective) else (other,)))

    def __mul__(self, factor: float) -> "Objective":
        return Objective(factor * term for term in self.terms)

    __rmul__ = __mul__

    def __call__(
        self, evidence: Evidence, progress: float = 0.0
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Total (a scalar) and detached components; terms of weight 0 are not computed."""
        total: Tensor | None = None
        components: dict[str, Tensor] = {}
        for term in self.terms:
            weight = term.weight_at(progress)
            if weight == 0:
                continue
            value = term.loss(evidence)
            components[term.name] = value.detach()
            total = weight * value if total is None else total + weight * value
        if total is None:
            raise DfkdError("every term of this objective has weight 0")
        return total, components


def constant(value: float) -> Schedule:
    """The same factor throughout."""
    return lambda progress: value


def linear(start: float, end: float) -> Schedule:
    """From ``start`` to ``end`` in a straight line."""
    return lambda progress: start + (end - start) * progress


def cosine(start: float, end: float) -> Schedule:
    """From ``start`` to ``end`` along half a cosine (Loshchilov & Hutter, ICLR 2017, eq. 5)."""
    return lambda progress: end + (start - end) * 0.5 * (1 + math.cos(math.pi * progress))


def warmup(share: float, then: Schedule) -> Schedule:
    """Rise linearly from 0 over the first ``share`` of the run, on top of ``then``."""
    return lambda progress: then(progress) * min(1.0, progress / share if share > 0 else 1.0)

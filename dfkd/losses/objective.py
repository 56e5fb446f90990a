"""An objective is a flat weighted sum of named losses, always minimised.

Only ``+`` and scalar ``*``: no products, no conditionals, no sums of sums. The adversary is a
distillation loss times a negative number, so it needs no mechanism of its own. One language
serves both sides:

    Objective.parse("10*bn + 0.5*onehot + 1.33*adv")   # images
    Objective.parse("kd + 250*at")                      # a student
    Objective.parse("9*kd@std")                         # of standardised logits
    Objective.of(bn=config.bn, onehot=config.oh) + Term("colour", my_loss, 0.1)
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from dfkd.errors import DfkdError, nearest
from dfkd.losses.modifiers import MODIFIERS
from dfkd.losses.registry import KNOWLEDGE, LOSSES, find_loss

Schedule = Callable[[float], float]
"""Progress of the run in [0, 1] -> a factor."""

WEIGHTED = re.compile(
    r"\s*(?:(?P<weight>[0-9.]+(?:[eE][+-]?[0-9]+)?)\s*\*\s*)?(?P<name>[a-z]\w*)(?P<modifier>@\w*)?\s*"
)


@dataclass(frozen=True)
class Term:
    """A named loss with a weight.

    Attributes:
        name: under which its value is logged.
        loss: ``PairOutputs`` -> scalar.
        weight: a number, or a schedule over the run's progress.
        needs: what of the outputs it takes, as paths (``dfkd.losses.registry.Loss.needs``); a loss
            of one's own may leave it empty: logits are always there.
    """

    name: str
    loss: Callable[[Any], Tensor]
    weight: float | Schedule = 1.0
    needs: tuple[str, ...] = ()

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
        """Return the weight when ``progress`` in [0, 1] of the run is done."""
        return self.weight(progress) if callable(self.weight) else self.weight


class Objective:
    """A sum of terms. Calling it gives the total and every *unweighted* component by name.

    Args:
        terms: at least one; no two of one name.

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

    @classmethod
    def of(cls, **weights: float | Schedule) -> "Objective":
        """Weigh losses of the registry by name, such as ``Objective.of(bn=10.0, kd=-1.0)``."""
        rows = {name: find_loss(name) for name in weights}
        return cls(Term(n, rows[n], weight, rows[n].needs) for n, weight in weights.items())

    @classmethod
    def parse(cls, expression: str, *, signed: bool = True) -> "Objective":
        """Read an expression such as ``"10*bn + 0.5*onehot - kd"``; see ``parse``."""
        return cls.of(**parse(expression, signed=signed))

    @property
    def needs(self) -> frozenset[str]:
        """Paths of all that the terms take; terms whose weight is 0 throughout need nothing."""
        return frozenset(path for term in self.terms if term.weight != 0 for path in term.needs)

    def __add__(self, other: "Term | Objective") -> "Objective":
        return Objective(self.terms + (other.terms if isinstance(other, Objective) else (other,)))

    def __mul__(self, factor: float) -> "Objective":
        return Objective(factor * term for term in self.terms)

    __rmul__ = __mul__

    def __call__(self, outputs: Any, progress: float = 0.0) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the total (a scalar) and the detached components.

        Args:
            outputs: of one forward pass of both networks (``PairOutputs``).
            progress: of the run, in [0, 1]; terms whose weight is 0 there are not computed.

        Raises:
            DfkdError: every term has weight 0.
        """
        total: Tensor | None = None
        components: dict[str, Tensor] = {}
        for term in self.terms:
            weight = term.weight_at(progress)
            if weight == 0:
                continue
            value = term.loss(outputs)
            components[term.name] = value.detach()
            total = weight * value if total is None else total + weight * value
        if total is None:
            raise DfkdError("every term of this objective has weight 0")
        return total, components


def parse(expression: str, *, signed: bool = False) -> dict[str, float]:
    """Read weights by the losses' names, in the order of the expression.

    Args:
        expression: ``weight*name`` joined by ``+``; a weight of 1 may be left out. For ``name``,
            where the loss takes logits, also ``name@modifier``.
        signed: allow ``-``, and losses of images alone. A student maximises nothing.

    Raises:
        DfkdError: not of that form; the message points at the column.

    >>> parse("kd + 250*at")
    {'kd': 1.0, 'at': 250.0}
    >>> parse("10*bn - kd", signed=True)
    {'bn': 10.0, 'kd': -1.0}
    """

    def mistake(position: int, what: str) -> DfkdError:
        side = "objective" if signed else "knowledge"
        return DfkdError(f"{side} {expression!r}, column {position + 1}: {what}")

    weights: dict[str, float] = {}
    position, sign = 0, 1
    while True:
        found = WEIGHTED.match(expression, position)
        if not found:
            position = len(expression) - len(expression[position:].lstrip())
            raise mistake(position, "a term such as 0.5*at is expected")
        name, start = found["name"], found.start("name")
        if name not in LOSSES or not (signed or LOSSES[name].student):
            known = LOSSES if signed else KNOWLEDGE
            raise mistake(start, f"unknown loss {name!r}{nearest(name, known)}")
        if found["modifier"] is not None:
            try:
                name = modified(name, found["modifier"][1:])
            except DfkdError as error:
                raise mistake(found.start("modifier"), str(error)) from None
        if name in weights:
            raise mistake(start, f"{name} stands there twice")
        try:
            weight = float(found["weight"] or 1)
        except ValueError:
            raise mistake(found.start("weight"), f"no number: {found['weight']}") from None
        if weight == 0 or weight == float("inf"):
            raise mistake(found.start("weight"), "a weight is positive and finite")
        weights[name] = sign * weight
        position = found.end()
        if position == len(expression):
            return weights
        if expression[position] not in ("+-" if signed else "+"):
            raise mistake(position, f"terms are joined by +{' or -' * signed}")
        sign = -1 if expression[position] == "-" else 1
        position += 1


def modified(name: str, modifier: str) -> str:
    """Return ``NAME@MODIFIER``.

    Args:
        name: of a loss.
        modifier: what follows the ``@``.

    Raises:
        DfkdError: no such modifier, or the loss takes no logits.
    """
    if modifier not in MODIFIERS:
        raise DfkdError(f"unknown modifier {modifier!r}{nearest(modifier, MODIFIERS)}")
    if not LOSSES[name].of_logits:
        raise DfkdError(f"{modifier} changes logits, and {name} takes none: leave it away")
    return f"{name}@{modifier}"

"""What is transferred, as an expression: ``kd``, ``kd + 250*at``, ``l1``."""

import re

from dfkd.distillation.knowledge.kinds import KINDS
from dfkd.errors import DfkdError, nearest

TERM = re.compile(r"\s*(?:(?P<weight>[0-9.]+(?:[eE][+-]?[0-9]+)?)\s*\*\s*)?(?P<name>[a-z]\w*)\s*")


def parse(expression: str) -> dict[str, float]:
    """Weights by the names of ``KINDS``, in the order of the expression.

    Raises:
        DfkdError: not a sum of ``weight*name``; the message points at the column.

    >>> parse("kd + 250*at")
    {'kd': 1.0, 'at': 250.0}
    """
    weights: dict[str, float] = {}
    position = 0
    while True:
        found = TERM.match(expression, position)
        if not found:
            position = len(expression) - len(expression[position:].lstrip())
            raise _refusal(expression, position, "a term such as 0.5*at is expected")
        name, start = found["name"], found.start("name")
        if name not in KINDS:
            raise _refusal(expression, start, f"unknown kind {name!r}{nearest(name, KINDS)}")
        if name in weights:
            raise _refusal(expression, start, f"{name} stands there twice")
        try:
            weight = float(found["weight"] or 1)
        except ValueError:
            raise _refusal(
                expression, found.start("weight"), f"no number: {found['weight']}"
            ) from None
        if weight == 0 or weight == float("inf"):
            raise _refusal(expression, found.start("weight"), "a weight is positive and finite")
        weights[name] = weight
        position = found.end()
        if position == len(expression):
            return weights
        if expression[position] != "+":
            raise _refusal(expression, position, "terms are joined by +")
        position += 1


def _refusal(expression: str, position: int, what: str) -> DfkdError:
    return DfkdError(f"knowledge {expression!r}, column {position + 1}: {what}")

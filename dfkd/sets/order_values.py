"""The values of a set's order as plain numbers, whoever gave them: NumPy, torch or a string."""

import operator
from collections.abc import Iterable
from typing import Any

from dfkd.errors import DfkdError
from dfkd.tasks.words import shown


def as_whole(name: str, value: Any) -> int:
    """Return a whole number as Python's own.

    Raises:
        DfkdError: it is none; names the parameter.
    """
    try:
        return operator.index(value)
    except TypeError:
        raise DfkdError(f"`{name}` must be a whole number, not {shown(repr(value), 40)}") from None


def as_wholes(name: str, values: Any) -> tuple[int, ...]:
    """Return whole numbers; see ``as_whole``."""
    return tuple(as_whole(name, one) for one in _several(name, values))


def as_numbers(name: str, values: Any) -> tuple[float, ...]:
    """Return numbers as Python's own.

    Raises:
        DfkdError: one is none.
    """
    return tuple(as_number(name, one) for one in _several(name, values))


def as_number(name: str, value: Any) -> float:
    """Return a number as Python's own; see ``as_numbers``."""
    try:
        if isinstance(value, str):
            raise TypeError
        return float(value)
    except (TypeError, ValueError):
        raise DfkdError(f"`{name}` must be a number, not {shown(repr(value), 40)}") from None


def _several(name: str, values: Any) -> Iterable[Any]:
    if isinstance(values, Iterable) and not isinstance(values, str | bytes):
        return values
    raise DfkdError(f"`{name}` must be a list of numbers, not {shown(repr(values), 40)}")

"""The one exception a user is meant to see."""

import difflib
import os
from collections.abc import Iterable
from dataclasses import fields
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

_ROOM = 160
"""Characters of a list of choices: a message is a line."""


class DfkdError(ValueError):
    """Something the user can mend: the message is one clear line that says what to do.

    It names parameters between backticks, as Python calls them. The command line turns those into
    its options (``dfkd.cli.flags``), prints the line without a traceback and exits with status 2.

    Attributes:
        final: whether fewer images at once would fare no better.
    """

    final = False


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the end of an error message: ``; did you mean 'x'?``, or all choices."""
    choices = sorted(known)
    matches = difflib.get_close_matches(name, choices, n=1, cutoff=0.5)
    if matches:
        return f"; did you mean {matches[0]!r}?"
    if not choices:
        return ""
    line = ", ".join(choices)
    if len(line) > _ROOM:
        line = line[:_ROOM].rpartition(",")[0] + ", …"
    return f"; choose from {line}"


def unwritable(error: Exception, place: object) -> DfkdError:
    """Return the error to raise where ``place``, or ``error``'s file, could not be written."""
    place = os.fsdecode(getattr(error, "filename", None) or str(place))
    reason = getattr(error, "strerror", None) or str(error).partition("\n")[0][:80]
    return DfkdError(
        f"{place} cannot be written ({reason}): make room there, or choose another `output`"
    )


def check_settings(settings: Any, quote: str = "") -> None:
    """Raise unless every setting is as its field declares; None passes where that is its type.

    Args:
        settings: a dataclass, whose types say what its values may be: ``Literal["drop", "keep"]``,
            or ``Annotated[float, "[0, 1)"]`` with an interval as mathematics writes it.
        quote: put around the names in messages.

    Raises:
        DfkdError: names the first setting that is not; NaN lies in no interval.
    """
    for field in fields(settings):
        value, wanted = getattr(settings, field.name), declared(field.type)
        if wanted and value is not None and not _is_within(value, wanted):
            kind = "in " * isinstance(wanted, str)
            raise DfkdError(
                f"{quote}{field.name}{quote} must be {kind}{in_words(wanted)}, not {value!r}"
            )


def declared(hint: Any) -> str | tuple[str, ...]:
    """Return what a type says of its values: an interval, words to choose from, or "".

    >>> declared(Annotated[float, "[0, 1)"] | None), declared(Literal["drop", "keep"])
    ('[0, 1)', ('drop', 'keep'))
    """
    if get_origin(hint) is Annotated:
        return next((word for word in hint.__metadata__ if isinstance(word, str)), "")
    if get_origin(hint) is Literal:
        return tuple(map(str, get_args(hint)))
    parts = get_args(hint) if get_origin(hint) in (Union, UnionType) else ()
    for part in parts:
        if found := declared(part):
            return found
    return ""


def in_words(wanted: str | tuple[str, ...]) -> str:
    """Join what ``declared`` found into a phrase: ``a, b or c``."""
    if isinstance(wanted, str):
        return wanted
    return " or ".join(filter(None, (", ".join(wanted[:-1]), wanted[-1])))


def _is_within(value: Any, wanted: str | tuple[str, ...]) -> bool:
    if not isinstance(wanted, str):
        return value in wanted
    if isinstance(value, tuple):
        return all(_is_within(part, wanted) for part in value)
    low, high = (float(end) for end in wanted[1:-1].split(","))
    try:
        above = value > low or (value == low and wanted[0] == "[")
        below = value < high or (value == high and wanted[-1] == "]")
        return bool(above and below)
    except TypeError:  # no number
        return False


def check_within(settings: object, interval: str, *names: str) -> None:
    """Raise unless the settings of those names lie in ``interval`` or are None.

    Args:
        settings: has an attribute of each name.
        interval: as mathematics writes it, such as ``[0, 1)``; NaN lies in none.
        *names: the settings to check.

    Raises:
        DfkdError: names the first that does not.
    """
    for name in names:
        value = getattr(settings, name)
        if value is not None and not _is_within(value, interval):
            raise DfkdError(f"{name} must be in {interval}, not {value}")

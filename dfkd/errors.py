"""The one exception a user is meant to see."""

import difflib
import os
from collections.abc import Iterable


class DfkdError(Exception):
    """Something the user can mend: the message is one clear line that says what to do.

    The command line prints it without a traceback and exits with status 2.
    """


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of an error message: ``; did you mean 'x'?``, or what there is to choose from."""
    choices = sorted(known)
    matches = difflib.get_close_matches(name, choices, n=1, cutoff=0.5)
    if matches:
        return f"; did you mean {matches[0]!r}?"
    return f"; choose from {', '.join(choices)}" if choices else ""


def unwritable(error: Exception, place: object) -> DfkdError:
    """What to raise where ``place``, or a file that ``error`` names, could not be written."""
    place = os.fsdecode(getattr(error, "filename", None) or str(place))
    reason = getattr(error, "strerror", None) or str(error).partition("\n")[0][:80]
    return DfkdError(
        f"{place} cannot be written ({reason}): make room there, or choose another --out"
    )


def check_within(settings: object, interval: str, *names: str) -> None:
    """Raise unless the settings of those names lie in ``interval`` or are None.

    Args:
        interval: as mathematics writes it, such as ``[0, 1)``; NaN lies in none.

    Raises:
        DfkdError: names the first that does not.
    """
    low, high = (float(end) for end in interval[1:-1].split(","))
    for name in names:
        value = getattr(settings, name)
        if value is None:
            continue
        above = value > low or (value == low and interval[0] == "[")
        below = value < high or (value == high and interval[-1] == "]")
        if not (above and below):
            raise DfkdError(f"{name} must be in {interval}, not {value}")

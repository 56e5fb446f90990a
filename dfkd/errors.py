"""The one exception a user is meant to see."""

import difflib
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

"""What a network around teachers is compared with."""

from collections.abc import Sequence
from typing import Any

from dfkd.errors import DfkdError
from dfkd.teacher.priors.nothing import NoPrior


def prior_around(teachers: Sequence[Any], around: str) -> NoPrior | None:
    """Return the prior of a network around teachers: nothing where nothing is remembered of any.

    A pack or another network's statistics are of one network, whose layers have other names here.

    Args:
        teachers: each a ``Teacher``.
        around: what is around them, for the message.

    Returns:
        None: what the network around has of itself, which are its members' batch-norms.

    Raises:
        DfkdError: somebody gave one of them another prior.
    """
    named = [teacher.prior_note for teacher in teachers]
    other = next((name for name in named if name not in ("", NoPrior.name)), None)
    if other is not None:
        raise DfkdError(
            f"{around} compares images with batch-norms, and `prior={other[:40]}` is of one bare "
            "teacher: leave `prior` out, or give `prior=nothing`"
        )
    if not any(named):
        return None
    if any(teacher.remembers for teacher in teachers):
        raise DfkdError(f"{around}: give `prior=nothing` to all of its teachers, or to none")
    return NoPrior()

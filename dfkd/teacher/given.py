"""Whether what stands for a teacher is one, said before it is asked anything."""

from collections.abc import Sequence
from typing import Any

from torch import nn

from dfkd.errors import DfkdError
from dfkd.teacher.teacher import Teacher


def require_teacher(value: Any) -> None:
    """Raise a ``DfkdError`` that says how to make a teacher, unless ``value`` is one."""
    if isinstance(value, Teacher):
        return
    if isinstance(value, str):
        raise DfkdError(f"`teacher` is a text: call dfkd.load_teacher({value[:60]!r}) first")
    remedy = "dfkd.Teacher(network, dfkd.ImageSpec(channels, height, width)) makes one of a network"
    kind = "a network" if isinstance(value, nn.Module) else f"a {type(value).__name__}"
    raise DfkdError(f"`teacher` is {kind} and must be a dfkd.Teacher: {remedy}")


def as_teachers(value: Teacher | Sequence[Teacher]) -> list[Teacher]:
    """Return one teacher or several as a list; raise a ``DfkdError`` for anything else."""
    several = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    for one in several:
        require_teacher(one)
    return several

"""The teacher that a run works with: a copy that answers alike and costs less."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from dfkd.compilation import Compilation, Work, compile_teacher
from dfkd.errors import DfkdError
from dfkd.folding import fold
from dfkd.memory import fitting_batch, recomputing
from dfkd.teacher import Teacher


def working_teacher(
    teacher: Teacher,
    work: Work,
    *,
    compile: str = "auto",
    recompute: bool = False,
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> Compilation:
    """``teacher`` with folded norms; its pass compiled, or its blocks recomputed in backward."""
    folded = fold(teacher).teacher
    if recompute and teacher.layers:
        return Compilation(recomputing(folded), False, "its blocks are recomputed")
    return compile_teacher(folded, compile, work, autocast)


def batch_size_of(words: str, teacher: Teacher, wanted: int) -> int:
    """``--batch-size``: a number, or ``auto`` for ``wanted`` images, or as many as fit.

    Raises:
        DfkdError: neither.
    """
    if words == "auto":
        return fitting_batch(teacher, wanted)
    if words.isascii() and words.isdigit() and int(words) > 0:
        return int(words)
    raise DfkdError(f"--batch-size must be auto or a positive number, not {words!r}")

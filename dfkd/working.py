"""The teacher that a run works with: a copy that answers alike and costs less."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from dfkd import batches
from dfkd.compilation import Compilation, Work, compile_teacher
from dfkd.engine import Budget
from dfkd.errors import DfkdError
from dfkd.memory import fitting_batch, recomputing
from dfkd.recipes import Recipe
from dfkd.spec import ImageSpec
from dfkd.teacher import Teacher


def working_teacher(
    teacher: Teacher,
    work: Work,
    *,
    compile: str = "auto",
    recompute: bool = False,
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> Compilation:
    """A folded ``teacher`` with its pass compiled, or its blocks recomputed in backward."""
    if recompute and teacher.layers:
        return Compilation(recomputing(teacher), False, "its blocks are recomputed")
    return compile_teacher(teacher, compile, work, autocast)


def work_ahead(plan: Recipe, budget: Budget, spec: ImageSpec) -> Work:
    """What the teacher is in for: of a budget in minutes synthesis takes half at most."""
    shapes, traces = batches.traced(plan, spec)
    if budget.minutes is not None:
        return Work(shapes, seconds=30 * budget.minutes)
    rhythm, steps = plan.rhythm, budget.steps or 0
    updates = rhythm.warmup_updates
    if rhythm.steps_per_update:
        updates += steps // rhythm.steps_per_update
    return Work(shapes, traces=updates * traces)


def sized(plan: Recipe, words: str, teacher: Teacher, processes: int) -> Recipe:
    """``plan`` with the batches that ``--batch-size`` asks for; a ``DfkdError`` if it cannot."""
    if words == "auto" and processes > 1:
        raise DfkdError("--batch-size auto measures one process's memory: give a number")
    size = batch_size_of(words, teacher, batches.largest_batch(plan))
    return batches.with_batch_size(plan, size)


def check_shares(plan: Recipe, processes: int) -> None:
    """Raise unless every process has as many images of a batch as any other."""
    if plan.rhythm.batch_size % processes:
        raise DfkdError(
            f"{processes} processes cannot share {plan.rhythm.batch_size} images evenly: --set "
            f"rhythm.batch_size to a multiple of {processes}"
        )


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

"""What a run works with: a teacher that answers alike and costs less, and who makes the images."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from dfkd.datasets import GivenImages
from dfkd.errors import DfkdError
from dfkd.protocols import Synthesizer
from dfkd.recipes import Recipe, batches, build_synthesizer
from dfkd.synthesis.fixed_images import FixedImages
from dfkd.teacher import Teacher
from dfkd.teacher.compilation import Compilation, Workload, compile_teacher
from dfkd.teacher.recompute import fitting_batch, recomputing
from dfkd.teacher.spec import ImageSpec
from dfkd.training.budget import Budget


def accelerate(
    teacher: Teacher,
    work: Workload,
    *,
    compile: str = "auto",
    recompute: bool = False,
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> Compilation:
    """A folded ``teacher`` with its pass compiled, or its blocks recomputed in backward."""
    if recompute and teacher.layers:
        return Compilation(recomputing(teacher), False, "its blocks are recomputed")
    return compile_teacher(teacher, compile, work, autocast)


def compile_mode(asked: str, before: bool | None, processes: int) -> str:
    """``--compile``, with ``auto`` settled where nothing is to be measured for it.

    What one session measured need not be what another does, and all processes must compute alike.

    Args:
        before: whether the run that goes on was compiled; None for one that begins.
    """
    if asked != "auto" or (before is None and processes == 1):
        return asked
    return "on" if before else "off"


def estimate_workload(
    plan: Recipe, budget: Budget, spec: ImageSpec, given: bool = False
) -> Workload:
    """What the teacher is in for: of a budget in minutes synthesis takes half at most.

    Args:
        given: whether the user's own images stand in for the method's: nothing is traced then.
    """
    if given:
        return Workload(())
    shapes, traces = batches.traced(plan, spec)
    if budget.minutes is not None:
        return Workload(shapes, seconds=30 * budget.minutes)
    alternation, steps = plan.alternation, budget.steps or 0
    updates = alternation.warmup_updates
    if alternation.steps_per_update:
        updates += steps // alternation.steps_per_update
    return Workload(shapes, traces=updates * traces)


def resolve_batch_size(
    plan: Recipe, words: str | None, teacher: Teacher, processes: int, found: int | None = None
) -> Recipe:
    """``plan`` with the batches that ``--batch-size`` asks for, or its own where it is left out.

    Args:
        found: what ``auto`` came to when the run that goes on was started.

    Raises:
        DfkdError: not a batch size, or one that cannot be found out or shared.
    """
    words = str(found) if found and words == "auto" else words
    if words == "auto" and processes > 1:
        raise DfkdError("--batch-size auto measures one process's memory: give a number")
    if words is not None:
        size = batch_size_of(words, teacher, batches.largest_batch(plan))
        plan = batches.with_batch_size(plan, size)
    check_shares(plan, processes)
    return plan


def check_shares(plan: Recipe, processes: int) -> None:
    """Raise unless every process has as many images of a batch as any other."""
    if plan.alternation.batch_size % processes:
        raise DfkdError(
            f"{processes} processes cannot share {plan.alternation.batch_size} images evenly: "
            f"--set alternation.batch_size to a multiple of {processes}"
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


def build_source(
    plan: Recipe,
    teacher: Teacher,
    images: GivenImages | None,
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> Synthesizer:
    """Who makes the images: the recipe's method, or the user, whose ``images`` stand in for it."""
    if images is None:
        return build_synthesizer(plan, teacher, autocast)
    return FixedImages(teacher, images.images, images.labels, plan.seed, autocast=autocast)

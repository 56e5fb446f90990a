"""What a run works with: a teacher that answers alike and costs less, a batch size that fits."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor

from dfkd.access.teacher import meter_of
from dfkd.datasets import GivenImages
from dfkd.datasets.written.labels import LabelStore
from dfkd.errors import DfkdError
from dfkd.protocols import Synthesizer
from dfkd.recipes import Recipe, batches, build_synthesizer
from dfkd.runs.options import BatchSize
from dfkd.synthesis.budgeted import BudgetedImages
from dfkd.synthesis.fixed_images import FixedImages
from dfkd.synthesis.selection import selected
from dfkd.synthesis.stored_labels import StoredLabels
from dfkd.teacher import Teacher
from dfkd.teacher.compilation import Compilation, Workload, compile_teacher
from dfkd.teacher.recompute import fitting_batch, recomputing
from dfkd.teacher.spec import ImageSpec
from dfkd.training.budget import Alternation, Budget
from dfkd.training.memory import free_bytes

CompileMode = Literal["auto", "on", "off"]


def without_synthesis(recipe: Recipe) -> Recipe:
    """Reduce a recipe to the student's steps, for images that are there already."""
    return replace(recipe, alternation=Alternation(batch_size=recipe.alternation.batch_size))


def accelerate(
    teacher: Teacher,
    work: Workload,
    *,
    compile: CompileMode = "auto",
    recompute: bool = False,
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> Compilation:
    """Compile the pass of a folded ``teacher``, or have its blocks recomputed in backward."""
    if recompute and teacher.remembers:
        return Compilation(recomputing(teacher), False, "its blocks are recomputed")
    return compile_teacher(teacher, compile, work, autocast)


def compile_mode(mode: CompileMode, before: bool | None, processes: int = 1) -> CompileMode:
    """Resolve ``auto`` where it must not be measured: in a resumed or distributed run.

    What one session measured need not be what another does, and all processes must compute alike.

    Args:
        mode: as asked for.
        before: whether the run that goes on was compiled; None for one that begins.
        processes: how many share the run.
    """
    if mode != "auto" or (before is None and processes == 1):
        return mode
    return "on" if before else "off"


def estimate_workload(
    recipe: Recipe, budget: Budget, spec: ImageSpec, given: bool = False
) -> Workload:
    """Estimate the passes of the teacher: of a budget in minutes synthesis takes half at most.

    Args:
        recipe: of the run.
        budget: of the run.
        spec: the teacher's images.
        given: whether the user's own images stand in for the method's: nothing is traced then.
    """
    if given:
        return Workload(())
    shapes, traces = batches.traced(recipe, spec)
    if budget.minutes is not None:
        return Workload(shapes, seconds=30 * budget.minutes)
    alternation, steps = recipe.alternation, budget.steps or 0
    updates = alternation.warmup_updates or 0
    if alternation.steps_per_update:
        updates += steps // alternation.steps_per_update
    return Workload(shapes, traces=updates * traces)


def check_shares(recipe: Recipe, size: BatchSize, processes: int) -> None:
    """Raise a ``DfkdError`` unless so many processes can share the student's batch.

    Args:
        recipe: of the run.
        size: images in a student's step, or ``auto``; None: the recipe's own.
        processes: at least 1.
    """
    if size == "auto":
        if processes > 1:
            raise DfkdError("`batch_size=auto` measures one process's memory: give a number")
        return
    images = size or recipe.alternation.batch_size
    if images % processes:
        raise DfkdError(
            f"{processes} processes cannot share {images} images evenly: "
            f"`alternation.batch_size` to a multiple of {processes}"
        )


def resolve_batch_size(recipe: Recipe, size: BatchSize, teacher: Teacher) -> Recipe:
    """Set the batch sizes of a recipe; it keeps its own where ``size`` is None.

    Args:
        recipe: of the run.
        size: images in a student's step, or ``auto``.
        teacher: whose passes must fit into memory.

    Raises:
        DfkdError: one that cannot be found out.
    """
    if size is None:
        return recipe
    largest = batches.largest_batch(recipe)
    return batches.with_batch_size(recipe, resolve_size(size, teacher, largest))


def told_sizes(before: Recipe, after: Recipe, device: torch.device) -> str:
    """Say how many images ``auto`` took away for want of memory; empty where it took none."""
    most, fits = batches.largest_batch(before), batches.largest_batch(after)
    if fits >= most:
        return ""
    return f"memory: batch {most} -> {fits}, {free_bytes(device) / 1e9:.1f} GB free"


def resolve_size(size: int | Literal["auto"], teacher: Teacher, wanted: int) -> int:
    """Return ``size``, or for ``auto`` as many of the ``wanted`` images as fit into memory."""
    return fitting_batch(teacher, wanted) if size == "auto" else size


def build_source(
    recipe: Recipe, teacher: Teacher, images: GivenImages | LabelStore | None
) -> Synthesizer:
    """Build the recipe's method, or a source of given ``images`` in its place."""
    meter = meter_of(teacher)
    if images is None:
        method = build_synthesizer(recipe, teacher)
        return method if meter is None else BudgetedImages(method, teacher, meter, recipe.seed)
    if isinstance(images, LabelStore):
        stored = StoredLabels(images, recipe.seed, teacher.device)
        return selected(stored, teacher, recipe.selection)
    pixels, labels = images.images, images.labels
    if meter is not None and meter.budget is not None and len(pixels) > meter.for_training():
        pixels, labels = _some(pixels, labels, int(meter.for_training()), recipe.seed)
    given = FixedImages(teacher, pixels, labels, recipe.seed)
    return selected(given, teacher, recipe.selection)


def _some(
    pixels: Tensor, labels: Tensor | None, count: int, seed: int
) -> tuple[Tensor, Tensor | None]:
    """Draw ``count`` images at random: more are not paid for."""
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(pixels), generator=generator)[:count]
    return pixels[chosen], None if labels is None else labels[chosen]

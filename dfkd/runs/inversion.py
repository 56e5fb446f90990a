"""Inversion: pictures of what a teacher remembers of its classes."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from torch import Tensor

from dfkd.errors import DfkdError
from dfkd.losses.objective import Term
from dfkd.networks.foreign import within_memory
from dfkd.protocols import Batch, Metrics
from dfkd.runs.decisions import ask_mirror
from dfkd.runs.options import batch_size_of
from dfkd.runs.prepare import accelerate, resolve_size
from dfkd.synthesis.bank import joined
from dfkd.synthesis.methods.deep_inversion import DeepInversion
from dfkd.synthesis.methods.deep_inversion_config import (
    DeepInversionConfig,
    default_config,
    traced_shapes,
)
from dfkd.teacher import Teacher
from dfkd.teacher.compilation import Workload
from dfkd.teacher.folding import fold
from dfkd.training.augment import with_flip
from dfkd.training.budget import Budget


@dataclass(frozen=True)
class InversionResult:
    """Pictures and the account of their making.

    Attributes:
        images: N x C x H x W float in [0, 1], exact multiples of 1/255.
        targets: the N classes they were made for.
        own_top1: share that the teacher itself recognises as its target, in [0, 1].
        seconds, steps, teacher_images: wall time, optimiser steps, images shown to the teacher.
        decided: before the first step: ``compiled``, whether the teacher's pass was and why (not);
            ``mirror``, what the teacher said of mirror images; ``decisions``, the same in words.
        config: the setting as it was used.
        complete: False where ``stop`` ended it before its time.
    """

    images: Tensor
    targets: Tensor
    own_top1: float
    seconds: float
    steps: int
    teacher_images: int
    decided: dict[str, Any]
    config: DeepInversionConfig
    complete: bool


def invert(
    teacher: Teacher,
    classes: Sequence[int],
    count: int,
    *,
    steps: int | None = None,
    minutes: float | None = None,
    seed: int = 0,
    extra: Term | None = None,
    config: DeepInversionConfig | None = None,
    compile: Any = "auto",
    recompute: bool = False,
    batch_size: str | None = None,
    mirrored: bool | None = None,
) -> Tensor:
    """``count`` images of ``classes`` in turn: N x C x H x W float in [0, 1].

    The pictures alone; arguments and errors are those of ``invert_run``.
    """
    result = invert_run(
        teacher, classes, count,
        steps=steps, minutes=minutes, seed=seed, extra=extra, config=config, compile=compile,
        recompute=recompute, batch_size=batch_size, mirrored=mirrored,
    )  # fmt: skip
    return result.images


def invert_run(
    teacher: Teacher,
    classes: Sequence[int],
    count: int,
    *,
    steps: int | None = None,
    minutes: float | None = None,
    seed: int = 0,
    extra: Term | None = None,
    config: DeepInversionConfig | None = None,
    compile: Any = "auto",
    recompute: bool = False,
    batch_size: str | None = None,
    mirrored: bool | None = None,
    begun: Callable[[dict[str, Any]], None] = lambda decided: None,
    progress: Callable[[float, Metrics], None] = lambda share, metrics: None,
    stop: Callable[[], bool] = lambda: False,
) -> InversionResult:
    """Images by DeepInversion, with the account of their making.

    Args:
        teacher: must store batch-norm statistics.
        classes: class indices; image i is of ``classes[i % len(classes)]``.
        count: how many images.
        steps: optimiser steps for each batch, the setting's own number when left out.
        minutes: or wall time for all; the schedules span it.
        seed: the same seed and steps give the same images on the same machine.
        extra: a further term of the objective.
        config: ``default_config(teacher)`` when left out.
        compile: ``auto``, ``on`` or ``off``, see ``dfkd.teacher.compilation``; its time is part of
            ``minutes``.
        recompute: keep only what enters the teacher's blocks, see ``dfkd.teacher.recompute``.
        batch_size: images optimised together, or ``auto``: the setting's number, halved until
            it fits into memory; the setting's own when left out.
        mirrored: whether mirror images keep their class, where ``config`` leaves that open; left
            out, the teacher is asked (``dfkd.runs.mirror``).
        begun: called before the first step with ``decided`` of the result.
        progress: called after every step with the share of the work that is done and the losses.
        stop: asked after every step; where it says yes the images are returned as they are,
            those of batches not yet begun left out.

    Raises:
        DfkdError: no class or one out of range, ``count`` or a budget that is not positive,
            both budgets, a teacher without statistics, losses that are no numbers any more.
    """
    started = time.perf_counter()
    _check_classes(classes, count, teacher.num_classes)
    if steps is not None or minutes is not None:
        Budget(minutes, steps)  # refuses both at once and values that are not positive
    digests = teacher.digests()
    teacher.to(teacher.device)  # channels_last: the statistics are twice as fast
    folded = fold(teacher).teacher
    config, said = config or default_config(teacher), None
    if batch_size is not None:
        size = resolve_size(batch_size_of(batch_size), teacher, config.batch_size)
        config = replace(config, batch_size=size)
    if config.flip is None and mirrored is None:
        # A few pictures say little: where nobody limits them, as many as make sense are asked of.
        most = config.batch_size if batch_size else max(32, config.batch_size)
        said = ask_mirror(teacher, folded, minutes, most)
        mirrored = said.keeps
    config = with_flip(config, mirrored)
    batches = -(-count // config.batch_size)
    size = -(-count // batches)
    config = replace(config, batch_size=size, capacity=size)
    if steps is not None:
        config = with_steps(config, steps)
    seconds = None if minutes is None else 60 * minutes
    work = Workload(traced_shapes(config, teacher.spec), seconds, batches * config.total_iterations)
    compiled = accelerate(folded, work, compile=compile, recompute=recompute)
    decided = {
        "compiled": {"used": compiled.used, "reason": compiled.reason},
        "mirror": said and asdict(said),
        "decisions": [said.summary()] if said else [],
    }
    begun(decided)
    begun_with = time.perf_counter() - started  # of ``minutes`` the schedules span the rest
    synthesizer = DeepInversion(compiled.teacher, config, seed, classes=classes, extra=extra)
    made: list[Batch] = []
    taken, stopped = 0, False
    for batch in range(batches):
        share = 0.0
        while share < 1.0 and not stopped:
            now = time.perf_counter()
            with within_memory("synthesis"):
                metrics, taken = synthesizer.step(), taken + 1
            if minutes is None:
                share = synthesizer.position / config.total_iterations
            else:
                # Every batch has an equal part of the time, and the step to come must fit in.
                spent = 2 * time.perf_counter() - now - started - begun_with
                left = max(60 * minutes - begun_with, 1e-9)
                share = min(1.0, max(share, spent / left * batches - batch))
                synthesizer.position = config.position(share)
            progress((batch + share) / batches, metrics)
            stopped = stop()
        _check_losses(metrics, taken)
        made.append(synthesizer.finish())
        if stopped:
            break
    whole = joined(made)
    assert whole.prediction is not None
    assert whole.target is not None
    images, targets = whole.inputs[:count], whole.target[:count]
    decided_as = teacher.task.decide(whole.prediction)[:count]
    teacher.check_untouched(digests)
    own_top1 = (decided_as == targets).float().mean().item()
    seconds = time.perf_counter() - started
    return InversionResult(
        images, targets, own_top1, seconds, taken, synthesizer.teacher_images,
        decided, config, len(made) == batches and share >= 1.0,
    )  # fmt: skip


def with_steps(config: DeepInversionConfig, steps: int) -> DeepInversionConfig:
    """The same setting in ``steps`` iterations a batch, shared between resolutions as before."""
    scale = steps / config.total_iterations
    low = min(round(scale * config.low_resolution_iterations), steps - 1)
    return replace(
        config,
        low_resolution_iterations=low,
        iterations=steps - low,
        warmup=round(scale * config.warmup),
    )


def _check_losses(losses: Metrics, steps: int) -> None:
    """Raise where the last step's losses tell that its pictures have diverged."""
    for name, value in losses.items():
        if not math.isfinite(value):
            raise DfkdError(
                f"{name} is {float(value)} after {steps} steps: lower lr, or the loss's weights "
                "(`synthesizer.lr=...`)"
            )


def _check_classes(classes: Sequence[int], count: int, num_classes: int) -> None:
    if count < 1:
        raise DfkdError(f"count must be at least 1, not {count}")
    if not classes:
        raise DfkdError("inversion needs at least one class")
    for index in classes:
        if not 0 <= index < num_classes:
            raise DfkdError(
                f"class {index} is out of range: the teacher has classes 0 to {num_classes - 1}"
            )

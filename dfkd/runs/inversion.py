"""``dfkd.invert``: pictures of what a teacher remembers of its classes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dfkd.losses.objective import Term
from dfkd.networks.surroundings import own_surroundings
from dfkd.runs.callbacks import Callback
from dfkd.runs.deprecated import invert_call
from dfkd.runs.inversion_order import Order
from dfkd.runs.inversion_result import InversionResult
from dfkd.runs.inversion_run import Inversion
from dfkd.runs.options import Compute, Output
from dfkd.synthesis.methods.deep_inversion_config import DeepInversionConfig
from dfkd.teacher import Teacher
from dfkd.teacher.given import require_teacher


@own_surroundings()
def invert(
    teacher: Teacher,
    classes: Sequence[int],
    count: int = 16,
    *,
    steps: int | None = None,
    minutes: float | None = None,
    seed: int = 0,
    config: DeepInversionConfig | None = None,
    extra: Term | None = None,
    compute: Compute | None = None,
    output: Output | Path | str | None = None,
    callbacks: Sequence[Callback] = (),
    **old: Any,
) -> InversionResult:
    """Make pictures of classes by DeepInversion.

    Ctrl-C ends the step at work; the pictures are returned as they are then, those of batches not
    yet begun left out. A run with an ``output`` can be resumed, to the same pictures.

    Args:
        teacher: must store batch-norm statistics; bit-identical afterwards.
        classes: class indices; picture i is of ``classes[i % len(classes)]``.
        count: how many pictures.
        steps: optimiser steps for each batch, the setting's own number when left out.
        minutes: or wall time for all; the schedules span it.
        seed: the same seed and steps give the same pictures on the same machine.
        config: the method's setting; the one for images of this size when left out. Whether
            mirror images keep their class, where it leaves that open, is asked of the teacher.
        extra: a further term of the objective.
        compute: device, compilation and the like, in one process and in float32.
        output: directory for pictures, manifest, log, page and checkpoint; an ``Output`` says
            more, such as whether the run there goes on.
        callbacks: watch the run, see ``Callback``.
        old: keywords of version 0.1, which go with the next.

    Returns:
        The pictures as ``images``, N x C x H x W float in [0, 1], and the account of their making.

    Raises:
        DfkdError: no class or one out of range, a count or budget that is not positive, both
            budgets, a teacher without statistics, losses that are no numbers any more.
    """
    require_teacher(teacher)
    if old:
        config, compute = invert_call(teacher, config, compute, old)
    order = Order(classes, count, steps, minutes, seed, config, extra)
    output = output if isinstance(output, Output) else Output(output)
    return Inversion(teacher, order, compute or Compute(), output, callbacks).run()

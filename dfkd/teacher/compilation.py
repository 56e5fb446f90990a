"""The teacher's pass with all its statistics as one compiled function, where that pays.

Compilation takes seconds a layer and saves a part of every step after. ``auto`` predicts both.
The compiled pass stands behind ``Teacher.trace``: methods do not know which one they run on.
"""

import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dfkd.errors import DfkdError
from dfkd.networks.foreign import says
from dfkd.teacher.priors import StatisticsPrior
from dfkd.teacher.tapped import TappedNetwork, TappedTrace
from dfkd.teacher.teacher import Teacher
from dfkd.teacher.trace import Trace

_MODES = ("auto", "on", "off")
SECONDS_TO_START = 20.0
"""Of a process's first compilation, whatever its size; measured 20 on one core (VGG, 6 layers: 25
in all; ResNet-20, 21 layers: 36), and less on several."""
SECONDS_A_LAYER = 0.8
"""Of compilation for one shape; measured 0.6 (ResNet-20) and 0.8 (MobileNetV2) on two cores."""
SAVED = 0.1
"""Share of a folded, eager step that the compiled one spares; measured 0.03 to 0.22."""

Shape = tuple[int, ...]


class Compilation(NamedTuple):
    """``teacher`` to work with, whether its trace is compiled, and why (not)."""

    teacher: Teacher
    used: bool
    reason: str
    seconds: float = 0.0


@dataclass(frozen=True)
class Workload:
    """What a run will ask of its teacher: ``traces`` of ``shapes``, or ``seconds`` spent so."""

    shapes: tuple[Shape, ...]
    seconds: float | None = None
    traces: int = 0


def compile_teacher(
    teacher: Teacher,
    mode: str,
    work: Workload,
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> Compilation:
    """Compile a teacher's statistics for the batches of ``work``; others stay eager.

    Args:
        teacher: a folded one compiles to less.
        mode: ``on``, ``off``, or ``auto``: where it saves more time than it takes.
        work: what is to come; the cost of a number of traces is measured on one.
        autocast: the context of those passes.

    A machine without a compiler gets one warning and the eager pass.

    Raises:
        DfkdError: another mode.
    """
    if mode not in _MODES:
        raise DfkdError(f"`compile` must be auto, on or off, not {mode!r}")
    # A network may say itself why it cannot be: that is known before half a minute is spent.
    reason = teacher.held or getattr(teacher.network, "not_compiled", None)
    read = isinstance(teacher.prior, StatisticsPrior) and teacher.remembers
    if mode == "off" or not (work.shapes and read and teacher.differentiable):
        reason = "as asked" if mode == "off" else "no statistics are read"
    if reason:
        return Compilation(teacher, False, reason)
    started = time.perf_counter()
    if mode == "auto":
        seconds = work.seconds
        if seconds is None:
            eager = partial(teacher.trace, statistics=True)
            seconds = work.traces * _passes(eager, work.shapes[-1:], teacher, autocast)
        cost = SECONDS_TO_START + SECONDS_A_LAYER * len(teacher.layers) * len(work.shapes)
        if SAVED * seconds < cost:
            reason = f"it would take about {cost:.0f} s to save about {SAVED * seconds:.0f} s"
            return Compilation(teacher, False, reason, time.perf_counter() - started)
    try:
        compiled = torch.compile(TappedNetwork(teacher), fullgraph=True, dynamic=False)
        traced = TappedTrace(teacher, compiled, frozenset(work.shapes))
        _passes(traced, work.shapes, teacher, autocast)
    except Exception as error:  # a compiler's, a file system's, the network's own
        first = says(error)
        warnings.warn(f"nothing is compiled, the run goes on without ({first})", stacklevel=2)
        return Compilation(teacher, False, "it failed here", time.perf_counter() - started)
    spent = time.perf_counter() - started
    fast = teacher.like(teacher.network)
    fast.use_fast_trace(traced)
    return Compilation(fast, True, f"it took {spent:.0f} s", spent)


def _passes(
    trace: Callable[[Tensor], Trace],
    shapes: Sequence[Shape],
    teacher: Teacher,
    autocast: Callable[[], AbstractContextManager[Any]],
) -> float:
    """One forward and backward pass for each shape; seconds."""
    started = time.perf_counter()
    for shape in shapes:
        images = torch.rand(shape, device=teacher.device).requires_grad_()
        with autocast():
            statistics = trace(images).statistics
        torch.stack([s.mean.sum() + s.var.sum() for s in statistics]).sum().backward()
    return time.perf_counter() - started

"""The teacher's pass with all its statistics as one compiled function, where that pays.

Compilation takes seconds a layer and saves a part of every step after. ``auto`` predicts both.
The compiled pass stands behind ``Teacher.trace``: methods do not know which one they run on.
"""

import copy
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dfkd.errors import DfkdError
from dfkd.statistics import BatchStatistics, LayerStatistics, clean_name
from dfkd.teacher import Teacher, Trace

MODES = ("auto", "on", "off")
SECONDS_A_LAYER = 1.0
"""Of compilation, forward and backward, for one shape; on two cores."""
SAVED = 0.25
"""Share of an eager step that the compiled one spares; see ARCHITECTURE.md, "What a step costs"."""

Shape = tuple[int, ...]


class Compilation(NamedTuple):
    """``teacher`` to work with, whether its trace is compiled, and why (not)."""

    teacher: Teacher
    used: bool
    reason: str
    seconds: float = 0.0


@dataclass(frozen=True)
class Work:
    """What a run will ask of its teacher: ``traces`` of ``shapes``, or ``seconds`` spent so."""

    shapes: tuple[Shape, ...]
    seconds: float | None = None
    traces: int = 0


def compile_teacher(
    teacher: Teacher,
    mode: str,
    work: Work,
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> Compilation:
    """``teacher`` with its statistics compiled for the batches of ``work``; others stay eager.

    Args:
        mode: ``on``, ``off``, or ``auto``: where it saves more time than it takes.
        work: what is to come; the cost of a number of traces is measured on one.
        autocast: the context of those passes.

    A machine without a compiler gets one warning and the eager pass.

    Raises:
        DfkdError: another mode.
    """
    if mode not in MODES:
        raise DfkdError(f"--compile must be auto, on or off, not {mode!r}")
    if mode == "off" or not work.shapes or not teacher.layers:
        reason = "as asked" if mode == "off" else "no statistics are read"
        return Compilation(teacher, False, reason)
    started = time.perf_counter()
    if mode == "auto":
        seconds = work.seconds
        if seconds is None:
            seconds = work.traces * _passes(teacher.trace, work.shapes[-1:], teacher, autocast)
        cost = SECONDS_A_LAYER * len(teacher.layers) * len(work.shapes)
        if SAVED * seconds < cost:
            reason = f"it would take about {cost:.0f} s to save about {SAVED * seconds:.0f} s"
            return Compilation(teacher, False, reason, time.perf_counter() - started)
    traced = CompiledTrace(teacher, work.shapes)
    try:
        _passes(traced, work.shapes, teacher, autocast)
    except RuntimeError as error:  # the base of what dynamo and inductor raise
        first = str(error).strip().splitlines()[0]
        warnings.warn(f"nothing is compiled, the run goes on without ({first})", stacklevel=2)
        return Compilation(teacher, False, "it failed here", time.perf_counter() - started)
    spent = time.perf_counter() - started
    fast = Teacher(teacher.network, teacher.spec, teacher.class_names)
    fast.trace_with(traced)
    return Compilation(fast, True, f"it took {spent:.0f} s", spent)


def _passes(
    trace: Callable[..., Trace],
    shapes: Sequence[Shape],
    teacher: Teacher,
    autocast: Callable[[], AbstractContextManager[Any]],
) -> float:
    """One forward and backward pass for each shape; seconds."""
    started = time.perf_counter()
    for shape in shapes:
        images = torch.rand(shape, device=teacher.device).requires_grad_()
        with autocast():
            statistics = trace(images, statistics=True).statistics
        torch.stack([s.mean.sum() + s.var.sum() for s in statistics]).sum().backward()  # type: ignore[no-untyped-call]
    return time.perf_counter() - started


class CompiledTrace:
    """``images`` -> ``Trace`` with statistics, compiled without a graph break.

    It works on a copy of the teacher's network whose taps stay open.
    """

    def __init__(self, teacher: Teacher, shapes: Sequence[Shape]) -> None:
        self.shapes = frozenset(map(tuple, shapes))
        self._pass = _Pass(copy.deepcopy(getattr(teacher.network, "_orig_mod", teacher.network)))
        self._spec = teacher.spec
        self._stored: dict[str, Any] = dict(teacher.layers)
        self._compiled = torch.compile(self._pass, fullgraph=True, dynamic=False)

    def __call__(self, images: Tensor, statistics: bool = True) -> Trace:
        """As ``Teacher.trace(images, statistics=True)``."""
        # One layout, so that nothing is compiled twice.
        normalised = self._spec.normalize(images).contiguous(memory_format=torch.channels_last)
        logits, names, values = self._compiled(normalised)
        calls: dict[str, list[LayerStatistics]] = {name: [] for name in self._stored}
        for name, (mean, var) in zip(names, values, strict=True):
            layer, before = self._stored[name], calls[name]
            label = f"{name}@{len(before)}" if before else name
            before.append(LayerStatistics(label, mean, var, layer.running_mean, layer.running_var))
        return Trace(logits, tuple(record for records in calls.values() for record in records), {})


class _Pass(nn.Module):
    """The network with taps on every layer that carries statistics."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self._names: list[str] = []
        self._values: list[tuple[Tensor, Tensor]] = []
        for name, module in network.named_modules():
            if isinstance(getattr(module, "running_mean", None), Tensor):
                module.register_forward_pre_hook(self._tap(clean_name(name)))

    def _tap(self, name: str) -> Callable[[Any, tuple[Any, ...]], None]:
        def tap(module: Any, arguments: tuple[Any, ...]) -> None:
            scale, shift = getattr(module, "scale", None), getattr(module, "shift", None)
            self._names.append(name)
            self._values.append(BatchStatistics.apply(arguments[0], scale, shift))

        return tap

    def forward(
        self, x: Tensor
    ) -> tuple[Tensor, tuple[str, ...], tuple[tuple[Tensor, Tensor], ...]]:
        """Logits, and by the order of the calls the layers and their (mean, biased variance)."""
        logits = self.network(x)
        names, values = tuple(self._names), tuple(self._values)
        # Left as they were found: a filled list would be another program to the compiler.
        self._names.clear()
        self._values.clear()
        return logits, names, values

"""What the methods with a generator share: building it, asking about its images, keeping them.

Plain functions; each method's inner loop stands in its own file.
"""

import copy
import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from dfkd.errors import DfkdError
from dfkd.networks.foreign import TRIAL, calling
from dfkd.networks.modes import frozen
from dfkd.synthesis.bank import dequantize, quantize
from dfkd.teacher import Teacher, Trace
from dfkd.teacher.layout import fitted, layout_of
from dfkd.teacher.spec import ImageSpec
from dfkd.teacher.statistics import LayerStatistics

Autocast = Callable[[], AbstractContextManager[Any]]
Average = dict[str, tuple[Tensor, Tensor]]
"""By a layer's name, running mean and variance of *generated* images, each of shape (C,)."""


def forward_pair(
    teacher: Teacher,
    images: Tensor,
    student: nn.Module | None = None,
    *,
    autocast: Autocast = nullcontext,
    statistics: bool = False,
    features: Sequence[str] = (),
    training: bool = False,
) -> tuple[Trace, Tensor | None]:
    """The teacher's trace and the student's logits to the same images, in float32.

    The student watches (``dfkd.networks.modes``): it comes out as it went in, bit by bit, and a
    loss of its logits has a gradient for the images alone.

    Args:
        images: N x C x H x W in [0, 1], from a generator.
        training: the student's mode while it watches.
    """
    with autocast():
        trace = teacher.trace(images, statistics=statistics, features=features)
        trace = trace._replace(logits=trace.logits.float())
        if student is None:
            return trace, None
        with frozen(student, training=training):
            student_logits = student_logits_of(student, teacher.spec, images)
    return trace, student_logits


def student_logits_of(student: nn.Module, spec: ImageSpec, images: Tensor) -> Tensor:
    """A student's logits to images in [0, 1], in float32, in the mode that it is in.

    Raises:
        DfkdError: it fails; in one line.
    """
    with calling("the student", images.shape, known=TRIAL):
        logits: Tensor = student(fitted(spec.normalize(images), layout_of(student))).float()
    return logits


@torch.no_grad()
def quantize_and_label(
    teacher: Teacher, images: Tensor, autocast: Autocast
) -> tuple[Tensor, Tensor]:
    """Images as a bank keeps them (8 bits a pixel), and the teacher's logits to *those*."""
    images = dequantize(quantize(images))
    with autocast():
        logits = teacher(images).float()
    return images, logits


def keep_best(best: dict[str, Tensor], made: dict[str, Tensor]) -> dict[str, Tensor]:
    """Of two batches, tensors by name, the one whose ``"loss"`` is lower.

    Chosen tensor by tensor on their device, so that no value is read back, and copied: the best
    does not move on with what is being optimised.

    Args:
        best: of all before; empty at first.
    """
    better = made["loss"] < best.get("loss", math.inf)
    return {k: torch.where(better, v, best.get(k, v)).detach() for k, v in made.items()}


def smooth(
    statistics: tuple[LayerStatistics, ...], average: Average, momentum: float
) -> tuple[LayerStatistics, ...]:
    """(1 - m) * batch + m * average per layer (FastDFKD); a layer without average as it is."""
    averages = [average.get(layer.name, (layer.mean, layer.var)) for layer in statistics]
    return tuple(
        layer._replace(mean=layer.mean.lerp(mean, momentum), var=layer.var.lerp(var, momentum))
        for layer, (mean, var) in zip(statistics, averages, strict=True)
    )


def detached_average(statistics: tuple[LayerStatistics, ...]) -> Average:
    """What ``smooth`` gave, as the average of the next round."""
    return {layer.name: (layer.mean.detach(), layer.var.detach()) for layer in statistics}


def pack_state(method: Any, parts: Sequence[str], values: Sequence[str]) -> dict[str, Any]:
    """A method's state, as copies: training goes on, a checkpoint does not.

    Args:
        parts: names of its modules, optimisers and banks.
        values: names of its numbers and tensors. Its random generator ``_rng`` is always kept.
    """
    state = {name: getattr(method, name).state_dict() for name in parts}
    state |= {name: getattr(method, name) for name in values}
    return copy.deepcopy({**state, "rng": method._rng.get_state()})


def unpack_state(
    method: Any, state: dict[str, Any], parts: Sequence[str], values: Sequence[str]
) -> None:
    """Continue from ``pack_state``, on the method's ``device``: a checkpoint is read on the CPU."""
    state = copy.deepcopy(state)
    for name in parts:
        getattr(method, name).load_state_dict(state[name])
    for name in values:
        setattr(method, name, _moved(state[name], method.device))
    method._rng.set_state(state["rng"])


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, dict):
        return {key: _moved(each, device) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_moved(each, device) for each in value)
    return value


def check(condition: bool, what: str) -> None:
    """Refuse a configuration in one line.

    Raises:
        DfkdError: unless ``condition``; ``what`` says what must hold.
    """
    if not condition:
        raise DfkdError(what)

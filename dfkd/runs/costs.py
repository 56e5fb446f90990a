"""What the pieces of a run cost on this machine: each is timed on a few images."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import nn

from dfkd.networks.copying import copy_network
from dfkd.networks.modes import set_mode
from dfkd.tasks.answers import find_logits
from dfkd.teacher import Teacher
from dfkd.teacher.layout import fitted, layout_of
from generators.procedural import draw

_ROUNDS, _PATIENCE = 5, 0.3
"""Measurements of a piece of work, and the seconds from which on no further one is made; where two
images take so long, they tell enough of what more of them cost."""


class Cost(NamedTuple):
    """Seconds of a piece of work on n images: ``fixed`` + n ``each``."""

    fixed: float
    each: float

    def __call__(self, images: float) -> float:
        return self.fixed + images * self.each


class Costs(NamedTuple):
    """What the pieces cost: drawing, the teacher's answers, a pass of it forth and back to the
    pixels, a student's step."""

    draw: Cost
    answer: Cost
    trace: Cost
    learn: Cost


def measure_costs(
    teacher: Teacher,
    student: nn.Module | None = None,
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> Costs:
    """Time each piece on a few images; neither network changes.

    Args:
        teacher: as the run works with it.
        student: on the teacher's device; a copy is timed. Without one its step costs nothing.
        autocast: context of the forward passes, as the run has it.
    """
    trial = nn.Identity() if student is None else copy_network(student)
    set_mode(trial, True)
    layout = layout_of(trial)

    def images(count: int) -> torch.Tensor:
        return torch.rand((count, *teacher.spec.shape), device=teacher.device)

    @torch.no_grad()
    def answer(count: int) -> None:
        with autocast():
            teacher(images(count))

    def trace(count: int) -> None:
        with autocast():
            found = teacher.trace(images(count).requires_grad_(), teacher.remembers)
            loss = found.logits.float().sum()
            if teacher.remembers:
                loss = loss + teacher.prior.relative_distance(found.statistics)
        if loss.requires_grad:
            loss.backward()

    def learn(count: int) -> None:
        with autocast():
            raw = trial(fitted(teacher.spec.normalize(images(count)), layout))
        find_logits(raw).logits.float().sum().backward()

    with torch.enable_grad(), torch.random.fork_rng(devices=[]):
        drawing = _cost(lambda count: draw(count, teacher.spec.shape, device=teacher.device))
        learning = Cost(0.0, 0.0) if student is None else _cost(learn)
        if teacher.opaque:  # what is bought by the image is not asked for the clock's sake
            return Costs(drawing, Cost(0.0, 0.0), Cost(0.0, 0.0), learning)
        return Costs(drawing, _cost(answer), _cost(trace), learning)


def _cost(work: Callable[[int], object], few: int = 2, more: int = 16) -> Cost:
    """Of ``work``, from two sizes; the first call, which allocates and chooses kernels, is lost."""
    work(few)
    least = _seconds(work, few)
    if least > _PATIENCE:
        return Cost(0.0, least / few)
    each = max(0.0, (_seconds(work, more) - least) / (more - few))
    return Cost(max(0.0, least - few * each), each)


def _seconds(work: Callable[[int], object], images: int) -> float:
    """The least of a few measurements, as many as ``_PATIENCE`` has time for: machines are busy."""
    found: list[float] = []
    while len(found) < _ROUNDS and sum(found) < _PATIENCE:
        start = time.perf_counter()
        work(images)
        if torch.accelerator.is_available():
            torch.accelerator.synchronize()
        found.append(time.perf_counter() - start)
    return min(found)

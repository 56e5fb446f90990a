"""``dfkd distill --dry-run``: what would be decided, made and spent; only a copy is touched."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from torch import nn

from dfkd import recipes
from dfkd.errors import DfkdError
from dfkd.networks.copying import copy_network
from dfkd.networks.surroundings import own_surroundings
from dfkd.recipes import Recipe
from dfkd.recipes.batches import largest_batch
from dfkd.report.units import NARROW, size_of_bytes
from dfkd.runs.distillation import given_or_stored
from dfkd.runs.forecast import Forecast, forecast
from dfkd.runs.manifest import Origin
from dfkd.runs.options import Compute, Output
from dfkd.runs.run import Run
from dfkd.teacher import Teacher
from dfkd.teacher.recompute import pass_bytes
from dfkd.training.budget import Budget

_LONG = 10.0
"""Seconds of a piece of work that is not timed a second time."""


@dataclass(frozen=True)
class Plan:
    """What a run would do.

    Attributes:
        decisions: a line each, as the run would say them.
        expected: steps, images and seconds.
        memory_bytes: of the largest pass of the teacher, at its peak.
    """

    decisions: tuple[str, ...]
    expected: Forecast
    memory_bytes: int

    def lines(self) -> list[str]:
        """Return all of it, a line each."""
        memory = f"memory of the teacher's largest pass: {size_of_bytes(self.memory_bytes)}"
        return [
            line.replace(NARROW, " ") for line in (*self.decisions, self.expected.line(), memory)
        ]


@own_surroundings()
def plan(
    teacher: Teacher,
    student: nn.Module,
    recipe: str | Recipe = "default",
    *,
    minutes: float | None = None,
    steps: int | None = None,
    images: Any = None,
    compute: Compute | None = None,
    output: Output | Path | str | None = None,
) -> Plan:
    """Decide what ``dfkd.distill`` would, time its first pieces, and say what would come of it.

    Args:
        teacher: frozen; bit-identical afterwards.
        student: left as it is.
        recipe: see ``dfkd.distill``.
        minutes: the budget in wall time; 4 where no budget is given.
        steps: the budget in student steps instead.
        images: the user's own, in place of the method's.
        compute: device, precision and the like; nothing is compiled.
        output: checked as the run would, and not made.

    Returns:
        Decisions, steps, images, time and memory.

    Raises:
        DfkdError: whatever the run would refuse before its first step.
    """
    if teacher.opaque:
        raise DfkdError(
            "`dry_run` asks the teacher about held-out images, and each of its answers counts: "
            "leave it out, or try a smaller `queries`"
        )
    run = Run(
        teacher,
        copy_network(student),
        recipes.recipe(recipe) if isinstance(recipe, str) else recipe,
        Budget(4.0 if minutes is None and steps is None else minutes, steps),
        evaluation=None,
        images=given_or_stored(images, teacher.spec),
        compute=replace(compute or Compute(), compile="off"),
        output=output if isinstance(output, Output) else Output(output),
        callbacks=(),
        origin=Origin(),
    )
    begun = time.perf_counter()
    run.prepare()
    # What is asked before the first update is asked once more at the end, of the finished student.
    spent = time.perf_counter() - begun + run.decisions.validation.seconds
    working = run.compiled.teacher
    memory = pass_bytes(working) * largest_batch(run.recipe) if working.differentiable else 0
    expected = forecast(run.recipe, *_seconds(run), run.budget, spent)
    return Plan(tuple(run.facts["decisions"]), expected, memory)


def _seconds(run: Run) -> tuple[float, float]:
    """Time an update and a step, on a student that nobody will see."""
    source, learning = run.engine.synthesizer, run.distiller
    size = run.recipe.alternation.batch_size

    def update() -> None:
        source.update(learning.student)

    def step() -> None:
        learning.update(source.sample(size))

    makes = bool(run.recipe.alternation.warmup_updates or run.recipe.alternation.steps_per_update)
    made = _timed(update, 2) if makes else 0.0
    return made, _timed(step, 8)


def _timed(work: Callable[[], None], turns: int) -> float:
    """The median of some turns without the first, which finds nothing ready; of one long one."""
    seconds: list[float] = []
    for _ in range(turns + 1):
        begun = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - begun)
        if seconds[-1] > _LONG:
            return seconds[-1]
    return median(seconds[1:])

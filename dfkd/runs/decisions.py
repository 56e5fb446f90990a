"""What is measured and decided before a run's first step, so that nobody has to know it.

The teacher is shown images that no student will learn from, and asked what may be done to them;
what its passes cost says how large the pieces of work may be. Each decision is one line.
"""

import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, astuple, dataclass, replace
from typing import Any

from torch import nn

from dfkd.evaluation.heldout import Effort, HeldOut, hold_out
from dfkd.evaluation.validation import Validation
from dfkd.recipes import Recipe, batches, from_dict, to_dict
from dfkd.recipes.overlay import flat
from dfkd.runs import mirror, pace
from dfkd.runs.costs import Cost, Costs, measure
from dfkd.teacher import Teacher
from dfkd.training.budget import Budget
from dfkd.training.distributed import SINGLE_PROCESS, Runtime


@dataclass(frozen=True)
class Asked:
    """What came of it.

    Attributes:
        plan: the recipe with everything settled that it had left open.
        validation: the images that students are judged by, and how this one starts.
        effort: what those took.
        mirror: what the teacher said of mirror images, where that was asked.
        lines: the decisions, one each.
        remembered: seconds that an earlier run of this process has spent for this one.
    """

    plan: Recipe
    validation: Validation
    effort: Effort
    mirror: mirror.Mirror | None
    lines: tuple[str, ...]
    remembered: float = 0.0

    def state_dict(self) -> dict[str, Any]:
        """As plain values, for the checkpoint: a run that goes on decides nothing anew."""
        return {
            "recipe": to_dict(self.plan),
            "effort": astuple(self.effort),
            "mirror": self.mirror and asdict(self.mirror),
            "lines": list(self.lines),
        }

    def told(self) -> dict[str, Any]:
        """As manifest and result have it."""
        return {"mirror": self.mirror and asdict(self.mirror), "decisions": list(self.lines)}


def ask(
    plan: Recipe,
    budget: Budget,
    teacher: Teacher,
    working: Teacher,
    student: nn.Module,
    runtime: Runtime,
    saved: Mapping[str, Any] | None = None,
) -> Asked:
    """Settle what ``plan`` leaves open, by the teacher's answers and by what the work costs.

    A budget in steps leaves all sizes as they are: it has no clock.

    Args:
        working: a teacher that answers as ``teacher`` does and costs less.
        student: on the same device, as it starts; unchanged.
        saved: ``state_dict`` of the run that goes on.
    """
    if saved:
        effort = Effort(*saved["effort"])
        held_out, _ = _held_out(teacher, working, effort, runtime)
        said = saved["mirror"] and mirror.Mirror(**saved["mirror"])
        validation = Validation(held_out, teacher, student)
        settled = from_dict(saved["recipe"])
        return Asked(settled, validation, effort, said, tuple(saved["lines"]))
    lines = list(_networks(teacher))
    effort, settled = pace.unclocked(teacher.spec), plan
    if budget.minutes is not None:
        seconds = 60 * budget.minutes
        costs = _shared(measure(working, student, runtime.autocast), runtime)
        effort = pace.effort(costs, seconds)
        settled = pace.paced(plan, costs, seconds, runtime.world_size)
        if changes := _changes(plan, settled):
            lines.append(f"sized to the budget: {changes}")
    # Whoever says how many images the teacher is shown at once means these as well.
    most = max(2, batches.largest_batch(settled))
    effort = replace(effort, images=min(effort.images, most))
    held_out, remembered = _held_out(teacher, working, effort, runtime)
    said = None
    if mirror.unsettled(settled):
        said = mirror.ask(teacher, held_out)
        mirrored, moved = runtime.from_rank_zero(said.mirrored), runtime.from_rank_zero(said.moved)
        said = replace(said, mirrored=mirrored, moved=moved)
        settled = mirror.settled(settled, said.keeps)
        lines.append(said.told())
    validation = Validation(held_out, teacher, student)
    if settled.learner.careful is None:
        careful = runtime.any_rank(validation.knows)
        settled = replace(settled, learner=replace(settled.learner, careful=careful))
        if careful:
            lines.append(
                "trained with care: from the start the student answers as the teacher on "
                f"{validation.start.agreement:.0%} of {len(held_out)} held-out images"
            )
    return Asked(settled, validation, effort, said, tuple(lines), remembered)


def _networks(teacher: Teacher) -> Iterator[str]:
    """What is out of the ordinary about the way the teacher is run."""
    if teacher.layout and (line := teacher.layout.told("the teacher")):
        yield line
    if teacher.held:
        yield f"of the teacher: {teacher.held}"


def ask_mirror(
    teacher: Teacher, working: Teacher, minutes: float | None, most: int
) -> mirror.Mirror:
    """Whether mirror images keep their class, at the price that a budget has for it.

    Args:
        minutes: without any, what a budget in steps would have.
        most: images that the teacher is to be shown at once.
    """
    effort = pace.unclocked(teacher.spec)
    if minutes is not None:
        effort = pace.effort(measure(working), 60 * minutes)
    effort = replace(effort, images=min(effort.images, max(2, most)))
    return mirror.ask(teacher, _held_out(teacher, working, effort, SINGLE_PROCESS)[0])


_MADE: dict[tuple[Any, ...], tuple[HeldOut, float]] = {}
"""Held-out images of the teachers that this process has asked last, and the seconds they took."""


def _held_out(
    teacher: Teacher, working: Teacher, effort: Effort, runtime: Runtime
) -> tuple[HeldOut, float]:
    """They, and the seconds that were not spent because they were there."""
    key = (teacher.fingerprint(), teacher.spec, effort, teacher.device.type, runtime.precision)
    if key in _MADE:
        return _MADE[key]
    if len(_MADE) >= 4:  # the schemes of a comparison have a few teachers
        _MADE.clear()
    start = time.perf_counter()
    made = hold_out(teacher, effort, runtime.autocast, working)
    _MADE[key] = made, time.perf_counter() - start
    return made, 0.0


def _shared(costs: Costs, runtime: Runtime) -> Costs:
    """Of the first process, in all: where clocks decide, all must decide alike."""
    return Costs(*(Cost(*map(runtime.from_rank_zero, cost)) for cost in costs))


def _changes(before: Recipe, after: Recipe) -> str:
    """``draws 1024 -> 128``: what differs, by the settings' own names."""
    old, new = flat(to_dict(before)), flat(to_dict(after))
    return ", ".join(
        f"{key.rpartition('.')[2]} {old[key]} -> {new[key]}" for key in new if old[key] != new[key]
    )

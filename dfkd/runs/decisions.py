"""What is measured and decided before a run's first step, so that nobody has to know it.

The teacher is shown images that no student will learn from, and asked what may be done to them;
what its passes cost says how large the pieces of work may be (``dfkd.runs.sizes``). Each decision
is one line.
"""

import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, astuple, dataclass, replace
from typing import Any

from torch import Tensor, nn

from dfkd.access.teacher import MeteredTeacher, asking
from dfkd.datasets import evenly
from dfkd.datasets.written.labels import LabelStore
from dfkd.distillation.student_init import StudentInit
from dfkd.evaluation.heldout import HeldOut
from dfkd.evaluation.holding_out import Effort
from dfkd.evaluation.peculiarities import find_peculiarities
from dfkd.evaluation.validation import Validation
from dfkd.recipes import Recipe, from_dict, to_dict
from dfkd.runs import mirror
from dfkd.runs.asking import HELD_OUT
from dfkd.runs.held_out_images import held_out_images
from dfkd.runs.sizes import sized_to_budget
from dfkd.synthesis.methods.redraw_config import STYLES
from dfkd.teacher import Teacher
from dfkd.teacher.priors import told_of
from dfkd.training.budget import Budget
from dfkd.training.distributed import Runtime

_STORED = 512
"""Images of a written dataset by which its students are judged, at most."""


@dataclass(frozen=True)
class Decisions:
    """What was decided.

    Attributes:
        recipe: with everything filled in that it had left open.
        validation: the images that students are judged by, and how this one starts.
        effort: what those took.
        mirror: what the teacher said of mirror images, where it was asked.
        lines: the decisions, one each.
        cached_seconds: spent by an earlier run of this process on the same images.
        seconds: that all of it took, those included.
    """

    recipe: Recipe
    validation: Validation
    effort: Effort
    mirror: mirror.Mirror | None
    lines: tuple[str, ...]
    cached_seconds: float = 0.0
    seconds: float = 0.0

    def state_dict(self) -> dict[str, Any]:
        """Return plain values for the checkpoint: a resumed run decides nothing anew."""
        return {
            "recipe": to_dict(self.recipe),
            "effort": astuple(self.effort),
            "mirror": self.mirror and asdict(self.mirror),
            "lines": list(self.lines),
        }

    def as_dict(self) -> dict[str, Any]:
        """Return the decisions as manifest and result have them."""
        return {"mirror": self.mirror and asdict(self.mirror), "decisions": list(self.lines)}


def decide(
    recipe: Recipe,
    budget: Budget,
    teacher: Teacher,
    fast: Teacher,
    student: nn.Module,
    start: StudentInit,
    runtime: Runtime,
    saved: Mapping[str, Any] | None = None,
    unlabelled: Tensor | None = None,
    store: LabelStore | None = None,
) -> Decisions:
    """Fill in what ``recipe`` leaves open, by the teacher's answers and by what the work costs.

    A budget in steps leaves all sizes as they are: it has no clock.

    Args:
        recipe: as the user has it.
        budget: of the run.
        teacher: as the user gave it.
        fast: a teacher that answers as ``teacher`` does and costs less.
        student: on the same device, as it starts; unchanged.
        start: what it was given.
        runtime: decides alike in all processes.
        saved: ``state_dict`` of the run that goes on.
        unlabelled: real images, uint8 N x C x H x W, that are held out as well.
        store: a written dataset, whose teacher is not there to be asked.
    """
    if store is not None:
        return _without_teacher(recipe, teacher, student, start, store)
    if saved:
        return _as_before(saved, teacher, fast, student, start, runtime, unlabelled)
    begun, lines = time.perf_counter(), list(_peculiarities(teacher))
    recipe, effort, sized = sized_to_budget(recipe, budget, fast, student, runtime)
    lines += sized
    with asking(teacher, HELD_OUT):
        held_out, cached_seconds = held_out_images(teacher, fast, effort, runtime, unlabelled)
    lines += find_peculiarities(teacher, held_out)
    recipe, drawn = _with_style(recipe, held_out, runtime)
    lines += drawn
    answer = None
    if teacher.opaque and held_out.own_kind == "drawn" and mirror.is_open(recipe):
        recipe = mirror.apply(recipe, False)
        lines.append("no mirror images: of drawings none can tell; `learner.flip=0.5` shows them")
    if mirror.is_open(recipe):
        with asking(teacher, HELD_OUT):
            answer = mirror.try_mirroring(teacher, held_out)
        shares = runtime.from_rank_zero(answer.mirrored), runtime.from_rank_zero(answer.moved)
        answer = replace(answer, mirrored=shares[0], moved=shares[1])
        recipe = mirror.apply(recipe, answer.keeps)
        lines.append(answer.summary())
    validation = Validation(held_out, teacher, student, start.trained)
    recipe, careful = _with_care(recipe, validation, start, runtime)
    lines += careful
    spent = time.perf_counter() - begun + cached_seconds
    return Decisions(recipe, validation, effort, answer, tuple(lines), cached_seconds, spent)


def _with_care(
    recipe: Recipe, validation: Validation, start: StudentInit, runtime: Runtime
) -> tuple[Recipe, list[str]]:
    """Train a student that knows already with care, where ``recipe`` leaves it open."""
    if recipe.learner.careful is not None:
        return recipe, []
    careful = runtime.any_rank(validation.knows or start.teachers)
    recipe = replace(recipe, learner=replace(recipe.learner, careful=careful))
    weights = ", and all of its weights are the teacher's" if start.teachers else ""
    line = (
        "trained with care: from the start the student answers as the teacher on "
        f"{validation.start.agreement:.0%} of {len(validation.held_out)} held-out images{weights}"
    )
    return recipe, [line] if careful else []


def _as_before(
    saved: Mapping[str, Any],
    teacher: Teacher,
    fast: Teacher,
    student: nn.Module,
    start: StudentInit,
    runtime: Runtime,
    unlabelled: Tensor | None,
) -> Decisions:
    """The decisions of the run that goes on."""
    effort = Effort(*saved["effort"])
    with asking(teacher, HELD_OUT):
        held_out, _ = held_out_images(teacher, fast, effort, runtime, unlabelled)
    answer = saved["mirror"] and mirror.Mirror(**saved["mirror"])
    validation = Validation(held_out, teacher, student, start.trained)
    recipe = from_dict(saved["recipe"])
    return Decisions(recipe, validation, effort, answer, tuple(saved["lines"]))


def _without_teacher(
    recipe: Recipe, teacher: Teacher, student: nn.Module, start: StudentInit, store: LabelStore
) -> Decisions:
    """Judge a student by images of the set itself: there is nobody to ask about others.

    Its views are what the student is shown, mirrored or not; nothing is mirrored beyond that.
    """
    chosen = evenly(len(store), _STORED)
    rows = store.data.rows(chosen, "images", "logits")
    held_out = HeldOut(rows["images"], rows["logits"].float(), {"stored": len(chosen)})
    validation = Validation(held_out, teacher, student, start.trained)
    recipe = mirror.apply(recipe, False)
    careful = replace(recipe.learner, careful=bool(recipe.learner.careful))
    labels = f"{store.epochs} epochs of labels" if store.epochs else "a label an image"
    lines = (f"no teacher is present: {len(store):,} images with {labels} stand in for it",)
    return Decisions(replace(recipe, learner=careful), validation, Effort(0, 0, 0, 0), None, lines)


def _with_style(recipe: Recipe, held_out: HeldOut, runtime: Runtime) -> tuple[Recipe, list[str]]:
    """Draw in the style that suits the teacher best, where ``recipe`` leaves it open.

    A recipe without updates, as that of given images is, draws nothing.
    """
    draws = recipe.alternation.warmup_updates or recipe.alternation.steps_per_update
    if getattr(recipe.synthesizer, "style", "") is not None or not draws:
        return recipe, []
    names = list(STYLES)
    style = names[int(runtime.from_rank_zero(float(names.index(held_out.style))))]
    chosen = replace(recipe.synthesizer, style=style)
    reason = "the most telling to the teacher"
    if held_out.counts.get("corrected"):
        reason += ", and near to what it remembers"
    line = f"drawings: {style}, of {len(names)} styles {reason}"
    return replace(recipe, synthesizer=chosen), [line]


def _peculiarities(teacher: Teacher) -> Iterator[str]:
    """What is out of the ordinary about the way the teacher was loaded and is run."""
    yield from (f"of the teacher: {note}" for note in teacher.notes)
    if teacher.layout and (line := teacher.layout.told("the teacher")):
        yield line
    if isinstance(teacher, MeteredTeacher):
        yield from teacher.told()
    if teacher.prior_note:
        yield f"images are compared with a prior: {told_of(teacher.prior)}"
    if teacher.held:
        yield f"of the teacher: {teacher.held}"

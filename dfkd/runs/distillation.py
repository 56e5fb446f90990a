"""``dfkd.distill``: a student from a teacher, without data."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from dfkd import recipes
from dfkd.datasets import GivenImages, as_given_images, as_images
from dfkd.datasets.written import WrittenSet
from dfkd.datasets.written.labels import LabelStore
from dfkd.errors import DfkdError
from dfkd.networks.surroundings import own_surroundings
from dfkd.recipes import Recipe
from dfkd.runs.callbacks import Callback
from dfkd.runs.deprecated import Call, distill_call
from dfkd.runs.manifest import Origin
from dfkd.runs.options import Compute, Evaluation, Output
from dfkd.runs.result import Result as Result
from dfkd.runs.run import Run
from dfkd.teacher import Teacher
from dfkd.teacher.absent import AbsentTeacher
from dfkd.teacher.given import require_teacher
from dfkd.teacher.spec import ImageSpec
from dfkd.training.budget import Budget


@own_surroundings()
def distill(
    teacher: Teacher | WrittenSet,
    student: nn.Module,
    recipe: str | Recipe = "default",
    *,
    minutes: float | None = None,
    steps: int | None = None,
    evaluation: Any = None,
    images: Any = None,
    compute: Compute | None = None,
    output: Output | Path | str | None = None,
    callbacks: Sequence[Callback] = (),
    origin: Origin | None = None,
    **old: Any,
) -> Result:
    """Train ``student`` to answer as ``teacher`` does, from synthetic images alone.

    Args:
        teacher: frozen; bit-identical afterwards. A written dataset stands in for its own teacher:
            the student learns from images and labels of the set, and nobody is asked.
        student: normalised images -> N x classes logits; trained in place.
        recipe: a name of ``dfkd.list_methods()``, or settings from ``dfkd.recipe``.
        minutes: the budget in wall time; 4 where no budget is given.
        steps: the budget in student steps instead.
        evaluation: real labelled images, used after training and for nothing but figures: tensors
            (images, labels), a ``Dataset``, a ``DataLoader`` (both streamed) or what ``load_data``
            returns; an ``Evaluation`` says more, the teacher's known accuracy for one.
        images: the user's own to learn from, in place of the method's, in the same forms and kept
            in memory; a tensor of images alone has no labels.
        compute: device, precision and the like; see ``dfkd.runs.options``.
        output: directory for manifest, log, page, student and checkpoint; an ``Output`` says
            more, such as whether the run there goes on.
        callbacks: watch the run, see ``Callback``.
        origin: where the networks came from, for the manifest and for ``run:DIR``.
        old: keywords of version 0.1, which go with the next.

    Returns:
        The student and its measurements.

    Raises:
        DfkdError: networks that do not fit, no such budget, an argument that would be ignored.
    """
    call = Call(recipe, evaluation, compute, output, callbacks)
    call = distill_call(call, old) if old else call
    teacher, images = _stand_in(teacher, images, call.recipe)
    require_teacher(teacher)
    require_recipe(call.recipe)
    run = Run(
        teacher,
        student,
        recipes.recipe(call.recipe) if isinstance(call.recipe, str) else call.recipe,
        Budget(4.0 if minutes is None and steps is None else minutes, steps),
        evaluation=_evaluation(call.evaluation, teacher.spec),
        images=given_or_stored(images, teacher.spec),
        compute=call.compute or Compute(),
        output=call.output if isinstance(call.output, Output) else Output(call.output),
        callbacks=call.callbacks,
        origin=origin or Origin(),
    )
    return run.carry_out()


def _stand_in(
    teacher: Teacher | WrittenSet, images: Any, recipe: str | Recipe
) -> tuple[Teacher, Any]:
    """Take a written dataset for a teacher that is not there, and for images with its answers."""
    if images is not None and not isinstance(recipe, Recipe) and recipe != "default":
        raise DfkdError("images stand in for a method's: leave recipe out, or give its settings")
    if not isinstance(teacher, WrittenSet):
        return teacher, images
    if images is not None:
        raise DfkdError("a set brings its own images: leave `images` out")
    return absent_teacher(teacher), LabelStore(teacher)


def require_recipe(value: object) -> None:
    """Raise a ``DfkdError`` unless ``value`` is a recipe or the name of one."""
    if not isinstance(value, str | Recipe):
        raise DfkdError(
            f"`recipe` is a {type(value).__name__} and must be a name or a Recipe: "
            "dfkd.recipe(name, learner=dict(lr=0.01)) makes one"
        )


def given_or_stored(images: Any, spec: ImageSpec) -> GivenImages | LabelStore | None:
    """Return what there is to learn from in a method's place, if anything."""
    if images is None or isinstance(images, LabelStore):
        return images
    return as_given_images(images, spec)


def absent_teacher(data: WrittenSet) -> AbsentTeacher:
    """Return the teacher of a set, which is not there: only its images and classes are known."""
    return AbsentTeacher(data.manifest.image, data.manifest.class_names)


def _evaluation(value: Any, spec: ImageSpec) -> Evaluation | None:
    """Whatever form the images are in, as a group."""
    if value is None:
        return None
    group = value if isinstance(value, Evaluation) else Evaluation(value)
    data, unlabelled = group.data, group.unlabelled
    if data is not None:
        group = replace(group, data=as_images(data, spec))
    if unlabelled is not None:
        given = as_given_images(unlabelled, spec, "unlabelled")
        if given.foreign:
            raise DfkdError(
                "`unlabelled` images are the task's own, and judge students by it: foreign data "
                "goes to `images`"
            )
        group = replace(group, unlabelled=given)
    return group

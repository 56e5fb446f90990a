"""What is wrong with a run and can be seen before it begins: one line for each mistake."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import nn

from dfkd.datasets import GivenImages, check_fits, check_labels
from dfkd.datasets.written.labels import LabelStore
from dfkd.errors import DfkdError
from dfkd.loading import check_student
from dfkd.losses.objective import parse
from dfkd.recipes import Recipe
from dfkd.recipes.idle import check_idle
from dfkd.recipes.schemes import SCHEMES
from dfkd.runs.manifest import differences
from dfkd.runs.options import Evaluation
from dfkd.runs.without_teacher import check_without_teacher
from dfkd.teacher import Teacher
from dfkd.training.devices import resolve_device


def check_run(
    recipe: Recipe,
    teacher: Teacher,
    student: nn.Module,
    evaluation: Evaluation | None,
    images: GivenImages | LabelStore | None,
    device: str = "cpu",
) -> None:
    """Raise a ``DfkdError`` unless all of it goes together; see ``dfkd.distill``."""
    check_without_teacher(recipe, teacher, student)
    check_student(student, teacher, resolve_device(device))
    SCHEMES[recipe.scheme].check(recipe.scheme_config, images is not None)
    if evaluation is not None:
        check_fits(evaluation.data, teacher.spec, teacher.num_classes)
        check_labels(evaluation.data, teacher.num_classes, teacher.task.rows)
    if isinstance(images, GivenImages) and images.labels is not None:
        check_labels(images, teacher.num_classes, teacher.task.rows)


def check_given(recipe: Recipe, images: GivenImages | LabelStore | None) -> None:
    """Raise where images are given, and the recipe has settings of how others would be made.

    Args:
        recipe: as the user has it.
        images: the user's.

    Raises:
        DfkdError: names the first.
    """
    if images is not None:
        used = ("method", "learner", "scheme", "scheme_config", "init", "trunk", "seed")
        why = "the images are given, and none are made"
        check_idle(recipe, (*used, "alternation.batch_size"), why)


def check_same_run(before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise unless two identities (``dfkd.runs.manifest.identity``) are one run's."""
    found = differences(before, now)
    if found:
        raise DfkdError(
            f"`resume` wants the settings that the run was started with: {found[0]} "
            "(for another run take another `output`)"
        )


def with_epsilon(evaluation: Evaluation | None, recipe: Recipe) -> Evaluation | None:
    """Put ``evaluation`` under the attack of the recipe's scheme, where it names no other."""
    if evaluation is None or evaluation.epsilon is not None:
        return evaluation
    return replace(evaluation, epsilon=SCHEMES[recipe.scheme].epsilon(recipe.scheme_config))


def by_agreement(recipe: Recipe) -> bool:
    """Tell whether the student is trained to agree with the teacher."""
    return SCHEMES[recipe.scheme].agrees and "hard" not in parse(recipe.learner.knowledge)

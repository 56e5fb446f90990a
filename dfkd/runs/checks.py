"""What is wrong with a run and can be seen before it begins: one line for each mistake."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from dfkd.datasets import GivenImages, LabelledImages, check_fits
from dfkd.errors import DfkdError
from dfkd.evaluation.robustness import check_epsilon
from dfkd.loading import check_student
from dfkd.recipes import Recipe
from dfkd.recipes.schemes import SCHEMES
from dfkd.runs.manifest import differences
from dfkd.teacher import Teacher


def check_run(
    plan: Recipe,
    teacher: Teacher,
    student: nn.Module,
    evaluation: LabelledImages | None,
    images: GivenImages | None,
    curve: int,
    epsilon: float | None,
) -> None:
    """Raise a ``DfkdError`` unless all of it goes together; see ``dfkd.distill``."""
    check_student(student, teacher)
    SCHEMES[plan.scheme].check(plan.scheme_config, images is not None)
    check_epsilon(epsilon, evaluation is not None)
    if evaluation is not None:
        check_fits(evaluation, teacher.spec, teacher.num_classes)
    elif curve:
        raise DfkdError("a curve of the accuracy needs real labelled images: give evaluation")


def check_resume(resume: bool, out: Path | str | None) -> None:
    """Raise where a run is to go on that nobody named."""
    if resume and out is None:
        raise DfkdError("--resume continues the run in --out DIR: name it")


def check_same_run(before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise unless two identities (``dfkd.runs.manifest.identity``) are one run's."""
    found = differences(before, now)
    if found:
        raise DfkdError(
            f"--resume wants the settings that the run was started with: {found[0]} "
            "(for another run take another --out)"
        )

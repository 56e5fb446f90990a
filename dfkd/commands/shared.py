"""What several commands need: the teacher that words describe, where and what to print."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from rich.console import Console

from dfkd import arguments, rundir
from dfkd.errors import DfkdError
from dfkd.evaluation.robustness import STEPS
from dfkd.loading import LoadedModel, load_student_model, load_teacher
from dfkd.networks import initialise
from dfkd.provenance import Origin
from dfkd.recipes import Recipe
from dfkd.schemes import SCHEMES
from dfkd.teacher import Teacher


def teacher_of(uri: str, facts: arguments.ImageFacts) -> Teacher:
    """The teacher behind a MODEL URI; ``facts`` go over what its source says."""
    names: Sequence[str] | None = None
    if facts.class_names:
        try:
            names = facts.class_names.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise DfkdError(f"--class-names {facts.class_names} cannot be read ({error})") from None
    return load_teacher(uri, image=facts.image, mean=facts.mean, std=facts.std, class_names=names)


def check_teachers(plan: Recipe, further: Sequence[str]) -> None:
    """Raise unless there are further teachers where, and only where, the scheme has several."""
    if plan.scheme == "ensemble" and not further:
        raise DfkdError("--scheme ensemble wants more than one teacher: name them after --teachers")
    if further and plan.scheme != "ensemble":
        raise DfkdError("--teachers belongs to --scheme ensemble")


def arranged(
    uri: str, further: Sequence[str], facts: arguments.ImageFacts, plan: Recipe
) -> Teacher:
    """The teacher as the student will see it: several as one, or behind a front end."""
    teachers = [teacher_of(uri, facts), *(teacher_of(other, facts) for other in further)]
    return SCHEMES[plan.scheme].arrange(teachers, plan.arrangement)


def student_of(uri: str, teacher: Teacher, seed: int) -> LoadedModel:
    """The student behind a MODEL URI; what the URI gives no weights for is drawn from ``seed``."""
    torch.manual_seed(seed)
    loaded = load_student_model(uri, teacher)
    if "weights=" not in uri and not uri.startswith(("run:", "bundled:")):
        initialise(loaded.network, seed)
    return loaded


def origin_of(
    teacher: str, student: str, loaded: LoadedModel, further: Sequence[str] = ()
) -> Origin:
    """Where a run's networks came from, and the command that is being run."""
    command = rundir.command_line()
    return Origin(teacher, student, loaded.factory, loaded.keywords, command, tuple(further))


def console() -> Console:
    """Standard output, as plain as its receiver wants it."""
    return Console(highlight=False)


def tell_compiled(decision: Mapping[str, Any]) -> None:
    """Whether the teacher's pass was compiled, and why (not)."""
    print(f"teacher {'compiled' if decision['used'] else 'not compiled'}: {decision['reason']}")


def tell_attack(images: int, epsilon: float) -> str:
    """How the column PGD-20 was measured."""
    return f"PGD-{STEPS}: {images:,} images, epsilon {epsilon:.3g}"

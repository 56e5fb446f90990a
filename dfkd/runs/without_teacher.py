"""What a written dataset cannot stand in for a teacher in: one line for each, before any work."""

from torch import nn

from dfkd.errors import DfkdError
from dfkd.losses.objective import parse
from dfkd.losses.registry import LOSSES
from dfkd.recipes import Recipe
from dfkd.recipes.schemes import SCHEMES
from dfkd.teacher import Teacher

_REMEDY = "or name the teacher as TEACHER and the set as `images`"
_STORED = ("teacher.logits", "teacher.weight")


def check_without_teacher(recipe: Recipe, teacher: Teacher, student: nn.Module) -> None:
    """Raise unless stored answers are all that a run asks of a teacher that is not present.

    Args:
        recipe: of the run.
        teacher: present, in which case all goes; or not.
        student: whose weights it might bring.

    Raises:
        DfkdError: says what asks, and what to do.
    """
    if teacher.present:
        return
    inside = [name for name in parse(recipe.learner.knowledge) if _looks(name)]
    if inside:
        raise DfkdError(
            f"a set has its teacher's answers alone, and {' and '.join(inside)} of `knowledge` "
            f"looks into the teacher: take knowledge of answers, such as `knowledge=kd`, {_REMEDY}"
        )
    row = SCHEMES[recipe.scheme]
    asks = "takes several teachers, or one of another kind" if row.wrapped_type else ""
    if asks := asks or row.asks(recipe.scheme_config):
        raise DfkdError(
            f"a set stands in for one teacher that is not present, and the scheme {recipe.scheme} "
            f"{asks}: take another `scheme`, {_REMEDY}"
        )
    if recipe.init == "teacher":
        raise DfkdError(f"a set has no weights to start from: `init=random`, {_REMEDY}")


def _looks(name: str) -> bool:
    return any(path.startswith("teacher.") and path not in _STORED for path in LOSSES[name].needs)

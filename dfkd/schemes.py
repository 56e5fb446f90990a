"""The training schemes by name: one row says all that the rest of the package must know of each.

To add one, write its file in ``dfkd/distillers/`` and its row here.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from torch import nn

from dfkd.datasets import LabelledImages
from dfkd.distillation import Distillation
from dfkd.distillers.offline import Offline, OfflineConfig
from dfkd.learner_settings import LearnerConfig
from dfkd.protocols import Scheme
from dfkd.runtime import ALONE, Runtime
from dfkd.teacher import Teacher


class SchemeRow(NamedTuple):
    """A row of the table.

    Attributes:
        config: gives the settings that ``--scheme`` starts from, a frozen dataclass.
        build: (teacher, student, learner's config, seed, settings, place) -> the ``Scheme``.
        line: what it does, and its source.
        arrange: (teachers, settings) -> the one teacher that the student sees.
        measure: (finished student, teacher, labelled images, settings) -> further figures.
    """

    config: Callable[[], Any]
    build: Callable[..., Scheme]
    line: str
    arrange: Callable[[Sequence[Teacher], Any], Teacher] = lambda teachers, settings: teachers[0]
    measure: Callable[[nn.Module, Teacher, LabelledImages, Any], dict[str, Any]] | None = None


SCHEMES: dict[str, SchemeRow] = {
    "offline": SchemeRow(
        OfflineConfig, Offline, "A frozen teacher, a student that imitates it (Hinton et al., 2015)"
    ),
}


def build_distiller(
    teacher: Teacher,
    student: nn.Module,
    config: LearnerConfig,
    seed: int,
    scheme: str = "offline",
    settings: Any = None,
    place: Runtime = ALONE,
) -> Distillation:
    """The distiller of a scheme; ``settings`` are those that its row starts from if left out."""
    row = SCHEMES[scheme]
    chosen = row.config() if settings is None else settings
    return Distillation(row.build(teacher, student, config, seed, chosen, place))

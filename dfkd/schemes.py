"""The training schemes by name: one row says all that the rest of the package must know of each.

To add one, write its file in ``dfkd/distillers/`` and its row here.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from torch import nn

from dfkd.datasets import LabelledImages
from dfkd.distillation import Distillation
from dfkd.distillers.adversarial import adversarial
from dfkd.distillers.adversarial_settings import AdversarialConfig, check_images
from dfkd.distillers.born_again import BornAgain
from dfkd.distillers.cross_modal import CrossModalConfig
from dfkd.distillers.cross_modal import arrange as behind_front_end
from dfkd.distillers.early_exits import OwnTeacher
from dfkd.distillers.ensemble import EnsembleConfig
from dfkd.distillers.ensemble import arrange as as_one
from dfkd.distillers.offline import Offline, OfflineConfig
from dfkd.distillers.online import Online, OnlineConfig
from dfkd.distillers.robust import Robust, RobustConfig
from dfkd.distillers.self_settings import SelfConfig
from dfkd.evaluation.robustness import robustness
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
        forms: further values of the setting ``form`` that a comparison of schemes tries.
        alone: whether it needs nothing but one teacher, one student and synthetic images.
        measure: (finished student, teacher, labelled images, settings) -> further figures.
        check: (settings, whether the user gives images) -> raises where they do not go together.
    """

    config: Callable[[], Any]
    build: Callable[..., Scheme]
    line: str
    arrange: Callable[[Sequence[Teacher], Any], Teacher] = lambda teachers, settings: teachers[0]
    forms: tuple[str, ...] = ()
    alone: bool = True
    measure: Callable[[nn.Module, Teacher, LabelledImages, Any], dict[str, Any]] | None = None
    check: Callable[[Any, bool], None] = lambda settings, given: None


def _robustness(
    student: nn.Module, teacher: Teacher, data: LabelledImages, settings: RobustConfig
) -> dict[str, Any]:
    return robustness(student, teacher, data, settings.epsilon)


def _self(
    teacher: Teacher,
    student: nn.Module,
    config: LearnerConfig,
    seed: int,
    scheme: SelfConfig,
    place: Runtime = ALONE,
) -> Scheme:
    form = BornAgain if scheme.form == "generations" else OwnTeacher
    return form(teacher, student, config, seed, scheme, place)


SCHEMES: dict[str, SchemeRow] = {
    "offline": SchemeRow(
        OfflineConfig, Offline, "A frozen teacher, a student that imitates it (Hinton et al., 2015)"
    ),
    "online": SchemeRow(
        OnlineConfig, Online, "Students that teach each other meanwhile (DML, Zhang et al., 2018)"
    ),
    "self": SchemeRow(
        SelfConfig,
        _self,
        "Exits learn from its end (Zhang et al., 2019), or it is reborn (Furlanello et al., 2018)",
        forms=("generations",),
    ),
    "adversarial": SchemeRow(
        AdversarialConfig,
        adversarial,
        "A critic tells the student's answers from the teacher's (Xu et al., 2018)",
        forms=("features",),
        check=check_images,
    ),
    "robust": SchemeRow(
        RobustConfig,
        Robust,
        "The teacher's answers on attacked images as well (RSLAD, Zi et al., 2021)",
        forms=("ard",),
        measure=_robustness,
    ),
    "ensemble": SchemeRow(
        EnsembleConfig,
        Offline,
        "Several teachers as one, of the same or of different classes (You et al., 2017)",
        arrange=as_one,
        alone=False,
    ),
    "cross_modal": SchemeRow(
        CrossModalConfig,
        Offline,
        "A teacher of spectrograms, a student of the signals (after Mukherjee et al., 2018)",
        arrange=behind_front_end,
        alone=False,
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

"""The training schemes by name: one row says all that the rest of the package must know of each.

To add one, write its file in ``dfkd/distillation/schemes/`` and its row here.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from torch import nn

from dfkd.distillation.learner_config import LearnerConfig
from dfkd.distillation.scheme import Scheme
from dfkd.distillation.schemes.adversarial import adversarial
from dfkd.distillation.schemes.adversarial_config import (
    AdversarialConfig,
    asks_teacher,
    check_images,
)
from dfkd.distillation.schemes.born_again import BornAgain
from dfkd.distillation.schemes.cross_modal import (
    BehindFrontEnd,
    CrossModalConfig,
    put_behind_front_end,
)
from dfkd.distillation.schemes.early_exits import BeYourOwnTeacher
from dfkd.distillation.schemes.ensemble import Ensemble, EnsembleConfig, merge_teachers
from dfkd.distillation.schemes.offline import Offline, OfflineConfig
from dfkd.distillation.schemes.online import Online
from dfkd.distillation.schemes.online_config import OnlineConfig
from dfkd.distillation.schemes.robust import Robust, RobustConfig
from dfkd.distillation.schemes.self_config import SelfConfig
from dfkd.errors import DfkdError
from dfkd.teacher import Teacher
from dfkd.training.distributed import SINGLE_PROCESS, Runtime


class SchemeRow(NamedTuple):
    """A row of the table.

    Attributes:
        config: gives the settings that ``--scheme`` starts from, a frozen dataclass.
        build: (teacher, student, learner's config, seed, settings, runtime) -> the ``Scheme``.
        line: what it does, and its source.
        wrap_teacher: (teachers, settings) -> the one teacher that the student sees.
        wrapped_type: the network of such a teacher; None where one teacher stays as it is.
        forms: further values of the setting ``form`` that a comparison of schemes tries.
        forms_with_images: those that it tries where the user gives images.
        learner: by name, the learner's settings that it starts from in place of the method's.
        epsilon: settings -> of the attack under which its students are measured as well, or None.
        asks: settings -> what it asks a teacher beyond answers to the images that it is given, in
            words; "" where a written dataset can stand in for one.
        check: (settings, whether the user gives images) -> raises where they do not go together.
        hint: how to come by what ``wrapped_type`` asks for, in words.
        agrees: whether its student is to answer as the teacher does, and is judged by that.
        several_teachers: whether it takes more than one.
    """

    config: Callable[[], Any]
    build: Callable[..., Scheme]
    line: str
    wrap_teacher: Callable[[Sequence[Teacher], Any], Teacher] = lambda teachers, settings: teachers[
        0
    ]
    wrapped_type: type[nn.Module] | None = None
    forms: tuple[str, ...] = ()
    forms_with_images: tuple[str, ...] = ()
    learner: Mapping[str, Any] = MappingProxyType({})
    epsilon: Callable[[Any], float | None] = lambda settings: None
    asks: Callable[[Any], str] = lambda settings: ""
    check: Callable[[Any, bool], None] = lambda settings, given: None
    hint: str = ""
    agrees: bool = True
    several_teachers: bool = False


def _self(
    teacher: Teacher,
    student: nn.Module,
    config: LearnerConfig,
    seed: int,
    scheme: SelfConfig,
    runtime: Runtime = SINGLE_PROCESS,
) -> Scheme:
    form = BornAgain if scheme.form == "generations" else BeYourOwnTeacher
    return form(teacher, student, config, seed, scheme, runtime)


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
        forms_with_images=("images",),
        asks=asks_teacher,
        check=check_images,
    ),
    "robust": SchemeRow(
        RobustConfig,
        Robust,
        "The teacher's answers on attacked images as well (after RSLAD, Zi et al., 2021)",
        forms=("ard",),
        agrees=False,  # what it gains under attack it pays for
        epsilon=lambda settings: float(settings.epsilon),
    ),
    "ensemble": SchemeRow(
        EnsembleConfig,
        Offline,
        "Several teachers as one, of the same or of different classes (You et al., 2017)",
        wrap_teacher=merge_teachers,
        wrapped_type=Ensemble,
        hint="name further teachers with `teachers`, or merge them by dfkd.ensemble",
        several_teachers=True,
    ),
    "cross_modal": SchemeRow(
        CrossModalConfig,
        Offline,
        "A teacher of spectrograms, a student of the signals (after Mukherjee et al., 2018)",
        wrap_teacher=put_behind_front_end,
        wrapped_type=BehindFrontEnd,
        hint="call dfkd.distillation.schemes.cross_modal.put_behind_front_end on it first",
        learner={"flip": 0.0},  # a mirror image is the signal backwards
    ),
}


def build_distiller(
    teacher: Teacher,
    student: nn.Module,
    config: LearnerConfig,
    seed: int,
    scheme: str = "offline",
    settings: Any = None,
    runtime: Runtime = SINGLE_PROCESS,
) -> Scheme:
    """Build the distiller of a scheme; without ``settings`` with those that its row starts from.

    Raises:
        DfkdError: a teacher that ``wrap_teacher`` has not made; what the scheme refuses.
    """
    row = SCHEMES[scheme]
    if row.wrapped_type and not isinstance(teacher.network, row.wrapped_type):
        raise DfkdError(f"the scheme {scheme} does not take a teacher as it is: {row.hint}")
    chosen = row.config() if settings is None else settings
    return row.build(teacher, student, config, seed, chosen, runtime)

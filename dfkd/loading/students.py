"""A MODEL URI -> a student, and whether it fits a teacher."""

import torch
from torch import nn

from dfkd.errors import DfkdError
from dfkd.loading.loaded import LoadedModel
from dfkd.loading.models import load_model
from dfkd.loading.opaque import Opaque
from dfkd.loading.smaller import smaller_teacher
from dfkd.loading.uri import parse_uri
from dfkd.loading.usercode import own_keyword
from dfkd.networks.copying import check_separate, trying
from dfkd.networks.foreign import TRIAL, calling
from dfkd.networks.modes import set_mode
from dfkd.networks.readiness import check_answer, check_learnable, materialise, widen
from dfkd.networks.surroundings import check_has_weights, check_module
from dfkd.tasks.answers import find_logits
from dfkd.tasks.orders import check_order
from dfkd.teacher import Teacher
from dfkd.teacher.layout import fitted, layout_of
from dfkd.teacher.spec import ImageSpec
from dfkd.teacher.trial import answers_within_one


def load_student(uri: str, teacher: Teacher, *, trust: bool = False) -> nn.Module:
    """Load the student that ``uri`` names and check that it fits ``teacher``."""
    return load_student_model(uri, teacher, trust=trust).network


def load_student_model(
    uri: str,
    teacher: Teacher,
    *,
    trust: bool = False,
    device: torch.device | str | None = None,
) -> LoadedModel:
    """Load a student with its factory and keywords, which ``save_artefact`` needs.

    It is untrained unless the URI gives weights. A factory that names ``num_classes``,
    ``in_channels`` or ``in_chans`` is given the teacher's unless the URI sets them.

    Args:
        uri: a MODEL URI.
        teacher: whose images and classes the student must fit.
        trust: see ``load_model``.
        device: where it is tried; by default where it is.

    Raises:
        DfkdError: see ``load_model`` and ``check_student``.
    """
    channels = teacher.spec.channels
    own = {"num_classes": teacher.num_classes, "in_channels": channels, "in_chans": channels}
    parsed = parse_uri(uri)
    smaller = parsed.kind == "teacher"
    loaded = smaller_teacher(parsed, teacher) if smaller else load_model(uri, own, trust)
    if any(isinstance(part, Opaque) for part in loaded.network.modules()):
        raise DfkdError(
            f"{parsed.base} is a program, which cannot be trained: build the network in Python, "
            "with its weights: FILE.py:FACTORY?weights=FILE"
        )
    try:
        check_student(loaded.network, teacher, device)
    except DfkdError as error:
        raise DfkdError(own_keyword(str(error), parsed)) from error
    if loaded.class_names is not None:
        check_order(loaded.class_names, teacher.class_names)
    return loaded


@torch.no_grad()
def check_student(
    student: nn.Module, teacher: Teacher, device: torch.device | str | None = None
) -> None:
    """Raise unless ``student`` answers the teacher's task in both of its modes.

    Args:
        student: tried on a copy; its lazy layers find their sizes.
        teacher: whose samples it is shown.
        device: where it will run, and is tried; by default where it is.

    Raises:
        DfkdError: it fails, returns something else, cannot learn, or shares memory with the
            teacher.
    """
    check_module(student, "the student")
    check_learnable(student)
    images = teacher.spec.normalize(teacher.spec.example(TRIAL, "cpu"))
    place = next((p.device for p in student.parameters()), images.device)
    check_has_weights(student, "the student", place if device is None else device)
    materialise(student, images.to(place), "the student")
    check_separate(teacher.network, student)
    for training in (True, False):
        with trying(student) as trial:  # training mode moves buffers
            widen(trial)
            remedy = "choose another, or set its keywords"
            with calling("the student", images.shape, resize=remedy):
                trial.to(place if device is None else device)
                here = next((p.device for p in trial.parameters()), images.device)
                set_mode(trial, training)
                raw = trial(fitted(images.to(here), layout_of(trial)))
            teacher.task.check_student(raw, TRIAL, "training" if training else "eval")
            with calling("the student", images.shape):
                _check_numbers(trial, raw, teacher, here)
            if not training and find_logits(raw).logits.shape[1] == 1:
                _check_logit(trial, teacher.spec, here)


def _check_numbers(student: nn.Module, raw: object, teacher: Teacher, device: torch.device) -> None:
    """Raise where neither grey images, answered by ``raw``, nor noise are answered in numbers."""

    def noise() -> torch.Tensor:
        seeds = torch.Generator().manual_seed(0)
        images = torch.rand((TRIAL, *teacher.spec.shape), generator=seeds).to(device)
        answer = student(fitted(teacher.spec.normalize(images), layout_of(student)))
        return teacher.student_task.read(answer).logits

    check_answer(teacher.student_task.read(raw).logits, noise, "the student")


def _check_logit(student: nn.Module, spec: ImageSpec, device: torch.device) -> None:
    """Raise where the one number that a student answers with is a probability."""

    def ask(images: torch.Tensor) -> object:
        return student(fitted(spec.normalize(images), layout_of(student)))

    if answers_within_one(ask, spec, device):
        raise DfkdError(
            "all that the student says lies in [0, 1]: does it end in a sigmoid? Losses want "
            "logits: leave it away, and put it behind the student when it is trained"
        )

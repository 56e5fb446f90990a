"""Teachers and students from MODEL URIs, safely.

teacher = load_teacher("torchvision:mobilenet_v2?weights=mobilenet_v2.pth")
student = load_student("dfkd.networks:resnet?depth=8", teacher)
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dfkd.access.opening import open_local, open_web
from dfkd.errors import DfkdError
from dfkd.loading.archives import is_safetensors
from dfkd.loading.artefact import read_artefact, save_artefact
from dfkd.loading.loaded import LoadedModel, weights_file
from dfkd.loading.only_classes import keep_classes
from dfkd.loading.opaque import Opaque
from dfkd.loading.smaller import smaller_teacher
from dfkd.loading.sources import build
from dfkd.loading.timm_models import size_hint
from dfkd.loading.torchvision_models import published_weights
from dfkd.loading.uri import WEB_KINDS, ModelURI, parse_uri
from dfkd.loading.usercode import own_keyword
from dfkd.loading.weights import load_weights, read_weights
from dfkd.networks.copying import check_separate, trying
from dfkd.networks.foreign import TRIAL, calling
from dfkd.networks.layers import unwrap
from dfkd.networks.modes import set_mode
from dfkd.networks.readiness import check_answer, check_learnable, materialise, widen
from dfkd.networks.surroundings import check_has_weights, check_module
from dfkd.tasks.answers import find_logits
from dfkd.tasks.orders import check_order
from dfkd.teacher import Teacher
from dfkd.teacher.folding import fold
from dfkd.teacher.layout import fitted, layout_of
from dfkd.teacher.priors import named_prior
from dfkd.teacher.spec import ImageSpec, parse_shape
from dfkd.teacher.trial import answers_within_one

__all__ = [
    "LoadedModel",
    "ModelURI",
    "check_student",
    "load_model",
    "load_student",
    "load_student_model",
    "load_teacher",
    "load_weights",
    "parse_uri",
    "read_weights",
    "save_artefact",
]


def load_model(
    uri: str, defaults: Mapping[str, Any] | None = None, trust: bool = False
) -> LoadedModel:
    """Load the network that ``uri`` names, with its weights where the URI gives any.

    Random weights come from torch's global generator: seed it before.

    Args:
        uri: a MODEL URI, see ``dfkd.loading.uri``.
        defaults: keywords for a factory that names them and that the URI leaves out.
        trust: run whatever the file of a ``run:DIR`` names as what builds its network, as
            ``run:DIR?trust=True`` does. Without it only architectures of dfkd, torchvision and timm
            are built.

    Raises:
        DfkdError: whatever is wrong with the URI, the factory or the weights.
    """
    parsed = parse_uri(uri)
    loaded = build(parsed, defaults or {}, trust)
    if parsed.weights is None or published_weights(parsed) is not None:
        return loaded
    path, part = weights_file(parsed)
    # Told by the teacher, not by the user: such a student may have a head of its own.
    classes = 0 if "num_classes" in parsed.keywords else (defaults or {}).get("num_classes", 0)
    notes = load_weights(loaded.network, path, parsed.base, part, classes)
    loaded = replace(loaded, notes=(*loaded.notes, *notes))
    artefact = read_artefact(path) if is_safetensors(path) else None
    if artefact is None:
        return loaded
    # Weights that dfkd wrote know their images better than the architecture's source does.
    return replace(
        loaded,
        spec=artefact.spec or loaded.spec,
        class_names=artefact.class_names or loaded.class_names,
        task=artefact.task or loaded.task,
    )


def load_teacher(
    uri: str,
    *,
    image: str | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    class_names: Sequence[str] | None = None,
    only_classes: str | Sequence[int | str] | None = None,
    prior: str | None = None,
    task: str | None = None,
    trust: bool = False,
    access: str | None = None,
    queries: int | None = None,
    ledger: Path | str | None = None,
) -> Teacher:
    """Load the teacher that ``uri`` names, frozen.

    Args:
        uri: a MODEL URI.
        image: ``"CxHxW"``; left out, the source's.
        mean: one number a channel, in units of [0, 1] intensity; left out, the source's.
        std: one positive number a channel; left out, the source's.
        class_names: one a class; left out, the source's.
        only_classes: of the model's classes those that the teacher is to know, by name or index,
            such as ``"3,17,42"``; left out, all.
        prior: what images are compared with: NAME or NAME:ARGUMENT, a name of
            ``dfkd.teacher.priors.PRIORS``; left out, its batch-norms' statistics, if any.
        task: what its output means, ``classification`` or ``multilabel`` (labels that are on or off
            each by itself); left out, the source's, else classification.
        trust: see ``load_model``.
        access: ``logits``, ``probs`` or ``top1``: no more than that is seen of its answers. One at
            ``http://HOST:PORT`` shows what it shows.
        queries: images that a run may ask about where only answers are seen; left out, any number.
        ledger: file that keeps answers and account, so that nothing is paid twice; left out, in
            memory.

    Raises:
        DfkdError: see ``load_model``, ``Teacher`` and ``choose_classes``; image facts that nobody
            gives; nobody who answers at ``http://HOST:PORT``.
    """
    parsed = parse_uri(uri)
    if parsed.kind in WEB_KINDS:
        if parsed.weights is not None:
            raise DfkdError(f"{parsed.base[:80]} has its weights: leave `weights` out")
        return open_web(
            parsed.base, parsed.keywords, access=access, queries=queries, ledger=ledger,
            image=image, mean=mean, std=std, class_names=class_names,
        )  # fmt: skip
    if access is None and (queries, ledger) != (None, None):
        raise DfkdError(
            "`queries` and `ledger` count answers: say which are seen by `access=probs`"
        )
    loaded = load_model(uri, trust=trust)
    spec = _image_spec(uri, loaded.spec, image, mean, std)
    # Loaded first: what is wrong with it is said before the teacher is touched.
    remembered = prior and named_prior(prior, unwrap(loaded.network), spec, _folded)
    try:
        teacher = Teacher(
            loaded.network,
            spec,
            class_names,
            task=task or loaded.task,
            prior=remembered or None,
        )
    except DfkdError as error:
        other = loaded.spec is not None and spec.shape[1:] != loaded.spec.shape[1:]
        hint = size_hint(parsed, spec.shape[1:]) if other else ""
        raise DfkdError(f"{str(error).partition(';')[0]}; {hint}") if hint else error from None
    teacher.source = loaded.factory, loaded.keywords
    teacher.notes = loaded.notes
    if not loaded.normalised and mean is None and std is None:
        teacher.notes += (
            f"{uri.partition('?')[0]} does not say by what its images are normalised: they are "
            "shown as they are, in [0, 1], unless you set `mean` and `std`",
        )
    known = loaded.class_names
    # A source's names are of its published classes; a network with others keeps numbers.
    if class_names is None and known is not None and len(known) == teacher.num_classes:
        teacher.task.names = known  # whoever takes classes by name checks them
    if only_classes is not None:
        teacher = keep_classes(teacher, only_classes, remembered or None)
    return teacher if access is None else open_local(teacher, access, queries, ledger)


def _folded(uri: str) -> Teacher:
    """A prior's network, as fast as it can be."""
    return fold(load_teacher(uri)).teacher


def _image_spec(
    uri: str,
    known: ImageSpec | None,
    image: str | None,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
) -> ImageSpec:
    """What is given, else what the source says; 0 and 1 where mean and std are nowhere."""
    if image is not None:
        shape = parse_shape(image)
    elif known is not None:
        shape = known.shape
    else:
        raise DfkdError(
            f"{uri.partition('?')[0]} does not say what images it takes; give `image=CxHxW` "
            "(such as 3x32x32), and `mean` and `std` where it wants normalised images"
        )
    source = known if known is not None and known.channels == shape[0] else ImageSpec(*shape)
    return ImageSpec(
        *shape,
        source.mean if mean is None else tuple(mean),
        source.std if std is None else tuple(std),
        source.crop if known is not None and known.shape == shape else 1.0,
    )


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
    if isinstance(loaded.network, Opaque):
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

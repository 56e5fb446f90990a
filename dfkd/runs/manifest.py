"""Where a run came from: its networks, its recipe, and what real data had to do with it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from torch import nn

from dfkd.datasets import GivenImages
from dfkd.datasets.written.labels import LabelStore
from dfkd.protocols import Source
from dfkd.recipes import Recipe, to_dict
from dfkd.recipes.overlay import flat
from dfkd.runs import run_records
from dfkd.runs.options import Evaluation
from dfkd.tasks import task_name
from dfkd.teacher import Teacher
from dfkd.teacher.priors import name_of, told_of
from dfkd.teacher.spec import facts_of
from dfkd.training.budget import Budget
from dfkd.training.devices import hardware
from dfkd.training.distributed import Runtime


@dataclass(frozen=True)
class Origin:
    """Where the networks came from, for the manifest and for ``run:DIR``.

    ``extra_teachers`` are the URIs of the teachers beside the first, in their order; ``notes`` say
    what was decided in loading the student.
    """

    teacher: str = "a module"
    student: str = "a module"
    factory: str | None = None
    keywords: Mapping[str, Any] = field(default_factory=dict)
    command: Sequence[str] | None = None
    extra_teachers: Sequence[str] = ()
    notes: Sequence[str] = ()

    @property
    def source(self) -> Source:
        """What builds the student again."""
        return self.factory, self.keywords


def real_data(
    evaluation: Evaluation | None,
    images: GivenImages | LabelStore | None,
    unlabelled: GivenImages | None = None,
) -> dict[str, Any]:
    """Return whether real data was used, and for what, as the manifest has it."""
    purposes = []
    if isinstance(images, LabelStore):
        if images.data.manifest.real_data_used:
            purposes.append(f"{len(images)} images of {images.name}, of real ones, for training")
    elif images is not None and not images.foreign:
        labels = "without labels" if images.labels is None else "with its labels"
        purposes.append(f"{len(images)} images of {images.name}, {labels}, for training")
    if unlabelled is not None:
        asked = f"{len(unlabelled)} images of {unlabelled.name}, without labels"
        purposes.append(f"{asked}, to ask the teacher about and to judge students by")
    if evaluation is not None and purposes:
        purposes.append(f"{evaluation.data.name} for measuring afterwards")
    elif evaluation is not None:
        points, data = evaluation.curve, evaluation.data.name
        others = f" and of {points - 1} kept on the way" if points > 1 else ""
        measured = f"accuracy of the finished student{others} on {data}, after the run"
        purposes += [measured, "no training, no choice"]
    return {"used": bool(purposes), "purpose": "; ".join(purposes) or "none"}


def foreign_data(images: GivenImages | LabelStore | None) -> dict[str, Any]:
    """Return whether images were learnt from that are neither real ones of the task nor made."""
    used = isinstance(images, GivenImages) and images.foreign
    if not used or images is None:
        return {"used": False, "purpose": "none"}
    what = f"{len(images)} images of {images.name}, foreign to the task and without labels"
    return {"used": True, "purpose": f"{what}, for training"}


def readings(*given: Any) -> dict[str, list[str]]:
    """Return what was decided on the way from the user's files to images, by their URIs."""
    found = ((one.name, getattr(one, "reading", None)) for one in given if one is not None)
    return {name: reading.lines() for name, reading in found if reading and reading.lines()}


def identity(
    recipe: Recipe,
    teacher: Teacher,
    teacher_hash: str,
    student: nn.Module,
    images: GivenImages | LabelStore | None,
    unlabelled: GivenImages | None = None,
) -> dict[str, Any]:
    """Return what a resumed run must have in common with the earlier one: plain values by name.

    That is its recipe, seed and start included, and its networks: the teacher by its hash and the
    images that it is shown, the student by its parameters' shapes. The user's images go by their
    name: the checkpoint has them. All else may change meanwhile: the budget, devices, processes and
    precision, compilation and recomputation, and what is measured afterwards.

    Args:
        recipe: with the batch sizes that were settled on.
        teacher: gives the image space.
        teacher_hash: of its weights.
        student: gives the shapes of its parameters.
        images: the user's, where they replace synthesis.
        unlabelled: the user's, by which students are judged.
    """
    # What brings other settings along comes first: it is what a refusal should name.
    given = images.identity if isinstance(images, LabelStore) else images and images.name
    own = {"images": given, "unlabelled": unlabelled and unlabelled.name}
    first = {**own, "scheme": recipe.scheme, "method": recipe.method}
    shapes = {name: "x".join(map(str, p.shape)) for name, p in student.named_parameters()}
    taught: dict[str, Any] = {"teacher": teacher_hash[:16], "image": facts_of(teacher.spec)}
    if teacher.prior_note:
        taught["prior"] = teacher.prior_note
    if teacher.task.rows > 1:  # earlier checkpoints know of no other task
        taught["task"] = task_name(teacher.task)
    return flat({**first, **taught, **to_dict(recipe), "student": shapes})


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """List what was set otherwise, in the order of ``before``.

    >>> differences({"minutes": 2.0, "seeds": [0, 1]}, {"minutes": 3.0, "seeds": [0, 1]})
    ['minutes 2.0, now 3.0']
    """
    keys = dict.fromkeys([*before, *now])
    return [
        f"{key} {_words(before.get(key))}, now {_words(now.get(key))}"
        for key in keys
        if before.get(key) != now.get(key)
    ]


def _words(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def manifest(
    recipe: Recipe,
    budget: Budget,
    runtime: Runtime,
    teacher: Teacher,
    origin: Origin,
    hash_before: str,
    real: Mapping[str, Any],
    foreign: Mapping[str, Any],
) -> dict[str, Any]:
    """Collect where the run came from: all that another needs to repeat it."""
    return {
        **run_records.provenance(origin.command, hardware(runtime.device)),
        "teacher": origin.teacher,
        "further_teachers": list(origin.extra_teachers),
        "student": origin.student,
        "prior": prior_record(teacher),
        "recipe": to_dict(recipe),
        "budget": asdict(budget),
        "precision": runtime.precision,
        "processes": runtime.world_size,
        "seed": recipe.seed,
        "class_names": list(teacher.class_names),
        "task": task_name(teacher.task),
        "only_classes": teacher.subset and list(teacher.subset.indices),
        "teacher_hash_before": hash_before,
        "teacher_hash_after": teacher.fingerprint(),
        "real_data": dict(real),
        "foreign_data": dict(foreign),
    }


def prior_record(teacher: Teacher) -> dict[str, str]:
    """Return what images were compared with: its name, and what it is in words."""
    return {"name": name_of(teacher.prior), "line": told_of(teacher.prior)}


def inversion_manifest(
    recipe: Mapping[str, Any], seed: int, teacher: Teacher, origin: Origin, hash_before: str
) -> dict[str, Any]:
    """Collect where pictures came from: all that another needs to make them again."""
    return {
        **run_records.provenance(origin.command, hardware(teacher.device)),
        "teacher": origin.teacher,
        "prior": prior_record(teacher),
        "recipe": recipe,
        "seed": seed,
        "class_names": list(teacher.class_names),
        "task": task_name(teacher.task),
        "only_classes": teacher.subset and list(teacher.subset.indices),
        "teacher_hash_before": hash_before,
        "teacher_hash_after": teacher.fingerprint(),
        "real_data": real_data(None, None),
    }

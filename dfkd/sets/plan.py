"""The plan of a set: its manifest before the first image, written once by whoever comes first."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from dfkd.access.teacher import accounted
from dfkd.datasets.written import ClassEntry, SetManifest, TeacherEntry
from dfkd.datasets.written.manifest import MANIFEST, read_manifest
from dfkd.errors import DfkdError
from dfkd.recipes import build_synthesizer
from dfkd.recipes.methods import METHODS
from dfkd.recipes.named import with_round
from dfkd.recipes.overlay import merge
from dfkd.runs.inversion_order import with_steps
from dfkd.runs.mirror import ask_mirror
from dfkd.runs.run_entries import DirectoryLayout
from dfkd.sets.makers import LEARNING_STEPS
from dfkd.sets.order import SetOrder, plain_values, shard_entries
from dfkd.synthesis.methods.deep_inversion_config import DeepInversionConfig
from dfkd.tasks.labels import folded
from dfkd.tasks.synsets import synsets_of
from dfkd.tasks.words import shown
from dfkd.teacher import Teacher
from dfkd.teacher.folding import fold
from dfkd.training.augment import with_flip
from dfkd.training.files import write_first

WORK = "work"
"""Directory of claims while a set is being made; gone when it is closed."""


def _is_set(path: Path) -> bool:
    try:
        read_manifest(path)
    except DfkdError:
        return False
    return True


SET = DirectoryLayout(
    r"manifest\.json|labels\.json|card\.(md|png)|show\.html",
    {
        "shards": DirectoryLayout(r"\d{5}\.safetensors"),
        "labels": DirectoryLayout(r"\d{5}\.safetensors"),
        WORK: DirectoryLayout(r"[0-9a-f.]+\.(claim|stale|now)"),
    },
    _is_set,
    ("manifest.json",),
)
"""A set's directory: what ``synthesize`` and ``dfkd dataset`` write."""


@dataclass(frozen=True)
class Maker:
    """A teacher to make images from, and where it came from."""

    teacher: Teacher
    source: str = "a module"


def check_makers(makers: Sequence[Maker]) -> None:
    """Raise unless all teachers have the same images and classes."""
    if not makers:
        raise DfkdError("a set needs a teacher")
    first = makers[0].teacher
    if any(maker.teacher.task.rows > 1 for maker in makers):
        raise DfkdError(
            "a written set holds one class an image, and this teacher's labels hold side by side: "
            "distil it with `method`, which needs no set"
        )
    for other in makers[1:]:
        if other.teacher.spec != first.spec or other.teacher.class_names != first.class_names:
            raise DfkdError(
                f"{shown(other.source, 60)} has other images or classes than "
                f"{shown(makers[0].source, 60)}: teachers in turn must agree on both"
            )


def settle_plan(directory: Path, order: SetOrder, makers: Sequence[Maker]) -> SetManifest:
    """Return the plan in ``directory``; where there is none, decide what is open and write it.

    Raises:
        DfkdError: an order that the teachers cannot fill, or another set's plan.
        OSError: it cannot be written.
    """
    plan = outline(order, makers)
    if (directory / MANIFEST).exists():
        return check_same(directory, plan)
    for maker in makers:  # what a method cannot ask of a teacher is told before a plan lies there
        build_synthesizer(with_round(order.recipe), maker.teacher)
    settings, lines = _complete(order, makers[0].teacher)
    lines = [*(note for maker in makers for note in maker.teacher.notes), *lines]
    settled = plan.recipe | {"settings": plain_values(asdict(settings))}
    return _lay_down(directory, replace(plan, recipe=settled, decisions=tuple(lines)))


def entry_of(maker: Maker) -> TeacherEntry:
    """Describe a teacher as a set's manifest does."""
    subset = maker.teacher.subset
    return TeacherEntry(
        maker.source, maker.teacher.fingerprint(), None if subset is None else subset.indices
    )


def outline(order: SetOrder, makers: Sequence[Maker]) -> SetManifest:
    """Cut the set into shards; nothing is asked yet.

    Raises:
        DfkdError: an order that the teachers cannot fill.
    """
    check_makers(makers)
    teacher = makers[0].teacher
    counts = order.class_counts(teacher)
    priors = [m.teacher.prior_note for m in makers]
    seen = [account["access"] if (account := accounted(m.teacher)) else "" for m in makers]
    named = zip(teacher.class_names, synsets_of(teacher.class_names, folded), counts, strict=True)
    return SetManifest(
        image=teacher.spec,
        classes=tuple(ClassEntry(*each) for each in named),
        teachers=tuple(entry_of(m) for m in makers),
        recipe={
            "method": order.recipe.method,
            "steps": learning_steps(order, any(seen)),
            "mixtures": order.mixtures,
            "asked": order.identity(),
            **({"prior": priors} if any(priors) else {}),
            **({"access": seen} if any(seen) else {}),
        },
        seed=order.seed,
        shards=tuple(shard_entries(order, counts, len(makers))),
        versions={"dfkd": version("dfkd"), "torch": torch.__version__},
    )


def learning_steps(order: SetOrder, opaque: bool) -> int | None:
    """Return the steps of the student that a method learns against; each asks the teacher.

    Where the images do not depend on the student one step is enough to begin with them.

    Args:
        order: of the set.
        opaque: whether only the teachers' answers are seen: nothing drawn is corrected then.

    Returns:
        None: pictures need no student.
    """
    if order.pictures:
        return None
    row = METHODS.get(order.recipe.method)
    alone = row is not None and (row.alone or (opaque and bool(row.drawn)))
    return order.steps or (1 if alone else LEARNING_STEPS)


def _complete(order: SetOrder, teacher: Teacher) -> tuple[Any, list[str]]:
    """The method's settings with nothing left open, and what was decided, in words."""
    settings, lines = order.recipe.synthesizer, []
    if isinstance(settings, DeepInversionConfig) and order.steps:
        settings = with_steps(settings, order.steps)
    if getattr(settings, "flip", 0.0) is None:
        answer = ask_mirror(teacher, fold(teacher).teacher, None, max(32, settings.batch_size))
        settings = with_flip(settings, answer.keeps)
        lines.append(answer.summary())
    return settings, lines


def settings_of(manifest: SetManifest, order: SetOrder) -> Any:
    """Return the settings that a plan has settled on, as the method's own dataclass."""
    return merge(order.recipe.synthesizer, manifest.recipe["settings"])


def _lay_down(directory: Path, plan: SetManifest) -> SetManifest:
    """Write a plan; of several processes the first one's counts. Returns that."""
    directory.mkdir(parents=True, exist_ok=True)
    write_first(directory / MANIFEST, plan.to_text())
    return check_same(directory, plan)


def check_same(directory: Path, plan: SetManifest) -> SetManifest:
    """Return the plan in ``directory``; raise where it is of another set than ``plan``."""
    found = read_manifest(directory)
    if told := found.differences(plan):
        raise DfkdError(
            f"{directory} holds another set ({shown('; '.join(told), 120)}): choose another "
            "`output`, or give what it was begun with"
        )
    return found

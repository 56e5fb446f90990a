"""``dfkd.label_set``: ask the teacher about many views of every image, and keep what it says."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch import Tensor

from dfkd.datasets.written import WrittenSet
from dfkd.datasets.written.labels import (
    LABELS,
    MOST_EPOCHS,
    LabelManifest,
    answers_as_rows,
    epoch_name,
    read_label_manifest,
    write_epoch,
    write_label_manifest,
)
from dfkd.datasets.written.shards import digest
from dfkd.datasets.written.views import ViewConfig, draw_views, show_views
from dfkd.errors import DfkdError, unwritable
from dfkd.networks.foreign import within_memory
from dfkd.runs.callbacks import Callback
from dfkd.sets.claims import Claims, Halted, share_work, tidy
from dfkd.sets.plan import WORK
from dfkd.tasks.words import shown
from dfkd.teacher import Teacher
from dfkd.training.augment import FLIP
from dfkd.training.interruption import interruption

_BATCH = 256
_FULL = 1000
"""Classes from which on labels keep their largest answers alone, where nobody says how many."""
_TOP = 50


def views_for(data: WrittenSet) -> ViewConfig:
    """Return the views of a set where nobody says: mirror images where its teacher allowed them."""
    mirrored = data.manifest.recipe.get("settings", {}).get("flip") or 0.0
    return ViewConfig(flip=FLIP if mirrored else 0.0)


def label_set(
    data: WrittenSet,
    teacher: Teacher,
    *,
    epochs: int = 20,
    top_k: int | None = None,
    views: ViewConfig | None = None,
    seed: int = 0,
    callbacks: Sequence[Callback] = (),
) -> bool:
    """Write the teacher's answers to ``epochs`` views of every image beside the set.

    Several processes may call it at once, and it goes on where it was stopped.

    Args:
        data: the set.
        teacher: whose set it is.
        epochs: views of each image; a student goes through them again and again.
        top_k: how many answers to keep of each view, the largest; 0: all. All are kept of fewer
            than 1,000 classes when left out.
        views: what they may do to an image; cut, lit and mixed when left out.
        seed: of the views.
        callbacks: watch it; progress is the share of the epochs that are there.

    Returns:
        Whether all of it is there: Ctrl-C leaves the rest to the next call.

    Raises:
        DfkdError: another teacher's set, other labels there already, or no room.
    """
    plan = _plan(data, teacher, epochs, top_k, views or views_for(data), seed)
    directory = data.directory
    try:
        found = read_label_manifest(directory)
        if found is not None and replace(found, epochs=()) != replace(plan, epochs=()):
            raise DfkdError(
                f"{directory} has other labels already: remove labels.json and labels/, or ask for "
                f"{_told(found)}"
            )
        if found is not None:
            _drop_damaged(directory, found)
            if found.complete and len(found.epochs) == epochs and not _missing(directory, found):
                return True
        write_label_manifest(directory, plan)
        with interruption() as interrupted:
            if not _answer_all(data, teacher, plan, interrupted, callbacks):
                return False
        _close(directory, plan)
    except OSError as error:
        raise unwritable(error, directory) from error
    return True


def _plan(
    data: WrittenSet, teacher: Teacher, epochs: int, top_k: int | None, views: ViewConfig, seed: int
) -> LabelManifest:
    if not 1 <= epochs <= MOST_EPOCHS:
        raise DfkdError(f"`epochs` must be in [1, {MOST_EPOCHS}], not {epochs}")
    if not 0 <= seed < 2**63:
        raise DfkdError(f"`seed` must be in [0, 2**63), not {seed}")
    check_own(data, teacher)
    data.check_bytes()
    classes = teacher.num_classes
    if top_k is None:
        top_k = _TOP if classes >= _FULL else 0
    if not 0 <= top_k < classes:
        raise DfkdError(f"`top_k` must be in [0, {classes}), the number of classes, not {top_k}")
    return LabelManifest(views, seed, top_k, teacher.fingerprint(), len(data), (None,) * epochs)


def check_own(data: WrittenSet, teacher: Teacher) -> None:
    """Raise unless a set was made from this teacher."""
    if teacher.fingerprint() not in [one.hash for one in data.manifest.teachers]:
        raise DfkdError(
            f"{data.directory} was made from another teacher (other weights, by their hash): give "
            f"the one of {shown(data.manifest.teachers[0].source, 60)}"
        )


def _answer_all(
    data: WrittenSet, teacher: Teacher, plan: LabelManifest, interrupted: Sequence[bool],
    callbacks: Sequence[Callback],
) -> bool:  # fmt: skip
    """Answer what nobody else answers, until every epoch is there; False at an interruption."""
    images, count = data.column("images"), len(plan.epochs)

    def missing() -> list[int]:
        return _missing(data.directory, plan)

    def make(epoch: int) -> None:
        views, logits = draw_views(len(data), plan.views, plan.seed, epoch), []
        for part in torch.arange(len(data)).split(_BATCH):
            if interrupted[0]:
                raise Halted
            logits.append(_answers(teacher, show_views(images.__getitem__, views, part)))
        answers = answers_as_rows(torch.cat(logits), plan.top_k)
        write_epoch(data.directory / epoch_name(epoch), views, answers)
        done = count - len(missing())
        for callback in callbacks:
            callback.on_log(done / count, done, {}, ())

    return share_work(Claims(data.directory / WORK), missing, make, interrupted)[1]


def _drop_damaged(directory: Path, found: LabelManifest) -> None:
    """Remove the epochs that are not what ``labels.json`` says: they are made again."""
    for epoch, known in enumerate(found.epochs):
        path = directory / epoch_name(epoch)
        if path.is_symlink() or (path.is_file() and known and digest(path) != known):
            path.unlink()


def _missing(directory: Path, plan: LabelManifest) -> list[int]:
    return [e for e in range(len(plan.epochs)) if not (directory / epoch_name(e)).exists()]


@torch.no_grad()
def _answers(teacher: Teacher, images: Tensor) -> Tensor:
    with within_memory("the teacher's answers"):
        return teacher(images.to(teacher.device)).float().cpu()


def _close(directory: Path, plan: LabelManifest) -> None:
    sums = tuple(digest(directory / epoch_name(epoch)) for epoch in range(len(plan.epochs)))
    try:
        write_label_manifest(directory, replace(plan, epochs=sums))
    except FileNotFoundError:  # another process closed them meanwhile, and tidied up
        if read_label_manifest(directory) != replace(plan, epochs=sums):
            raise
    tidy(Claims(directory / WORK), directory, f"{LABELS}.*")
    tidy(Claims(directory / WORK), directory / "labels")


def _told(found: LabelManifest) -> str:
    views = " ".join(f"{name} {value:g}" for name, value in asdict(found.views).items())
    return f"the same (top_k {found.top_k}, seed {found.seed}, {views})"

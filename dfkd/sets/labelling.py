"""``dfkd.label_set``: ask the teacher about many views of every image, and keep what it says."""

from collections.abc import Sequence

import torch
from torch import Tensor

from dfkd.datasets.written import WrittenSet
from dfkd.datasets.written.answers import LOGIT_BITS, answers_as_rows
from dfkd.datasets.written.drawn_views import draw_views
from dfkd.datasets.written.epochs import write_epoch
from dfkd.datasets.written.label_manifest import DRAWN, MOST_EPOCHS, LabelManifest, epoch_name
from dfkd.datasets.written.views import ViewConfig, show_views
from dfkd.errors import DfkdError, unwritable
from dfkd.networks.foreign import within_memory
from dfkd.runs.callbacks import Callback
from dfkd.sets.claims import Halted, share_work
from dfkd.sets.label_work import LabelWork
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
    bits: int = 8,
    views: ViewConfig | None = None,
    seed: int = 0,
    callbacks: Sequence[Callback] = (),
) -> bool:
    """Write the teacher's answers to ``epochs`` views of every image beside the set.

    Several processes may call it at once, and it goes on where it was stopped. More epochs than
    are there are added to them.

    Args:
        data: the set.
        teacher: whose set it is.
        epochs: views of each image; a student goes through them again and again.
        top_k: how many answers to keep of each view, the largest; 0: all. All are kept of fewer
            than 1,000 classes when left out.
        bits: of each answer: 4, 8, or 16 for logits in half precision; fewer keep the
            distribution that they give alone.
        views: what they may do to an image; cut, lit and mixed when left out.
        seed: of the views.
        callbacks: watch it; progress is the share of the epochs that are there.

    Returns:
        Whether all of it is there: Ctrl-C leaves the rest to the next call.

    Raises:
        DfkdError: another teacher's set, other labels there already, more of them than are asked
            for, or no room.
    """
    plan = _plan(data, teacher, epochs, top_k, bits, views or views_for(data), seed)
    work = LabelWork(data.directory, len(data.manifest.classes))
    try:
        if work.begin(plan).complete:
            return True
        with interruption() as interrupted:
            if not _answer_all(data, teacher, work, interrupted, callbacks):
                return False
        work.close()
    except OSError as error:
        raise unwritable(error, data.directory) from error
    return True


def _plan(
    data: WrittenSet, teacher: Teacher, epochs: int, top_k: int | None, bits: int,
    views: ViewConfig, seed: int,
) -> LabelManifest:  # fmt: skip
    if not 1 <= epochs <= MOST_EPOCHS:
        raise DfkdError(f"`epochs` must be in [1, {MOST_EPOCHS}], not {epochs}")
    if not 0 <= seed < 2**63:
        raise DfkdError(f"`seed` must be in [0, 2**63), not {seed}")
    if bits not in LOGIT_BITS:
        raise DfkdError(
            f"`bits` must be {', '.join(map(str, LOGIT_BITS[:-1]))} or {LOGIT_BITS[-1]}"
        )
    check_own(data, teacher)
    data.check_bytes()
    classes = teacher.num_classes
    if top_k is None:
        top_k = _TOP if classes >= _FULL else 0
    if not 0 <= top_k < classes:
        raise DfkdError(f"`top_k` must be in [0, {classes}), the number of classes, not {top_k}")
    own, none = teacher.fingerprint(), (None,) * epochs
    return LabelManifest(views, seed, top_k, own, len(data), none, bits, DRAWN)


def check_own(data: WrittenSet, teacher: Teacher) -> None:
    """Raise unless a set was made from this teacher."""
    if teacher.fingerprint() not in [one.hash for one in data.manifest.teachers]:
        raise DfkdError(
            f"{data.directory} was made from another teacher (other weights, by their hash): give "
            f"the one of {shown(data.manifest.teachers[0].source, 60)}"
        )


def _answer_all(
    data: WrittenSet, teacher: Teacher, work: LabelWork, interrupted: Sequence[bool],
    callbacks: Sequence[Callback],
) -> bool:  # fmt: skip
    """Answer what nobody else answers, until every epoch is there; False at an interruption."""
    images = data.column("images")

    def make(epoch: int) -> None:
        plan = work.plan()
        views, logits = draw_views(len(data), plan.views, plan.seed, epoch), []
        for part in torch.arange(len(data)).split(_BATCH):
            if interrupted[0]:
                raise Halted
            logits.append(_answers(teacher, show_views(images.__getitem__, views, part)))
        answers = answers_as_rows(torch.cat(logits), plan.top_k, plan.bits)
        write_epoch(data.directory / epoch_name(epoch), answers)
        count = len(plan.epochs)
        done = count - len(work.missing())
        for callback in callbacks:
            callback.on_log(done / count, done, {}, ())

    return share_work(work.claims, work.missing, make, interrupted)[1]


@torch.no_grad()
def _answers(teacher: Teacher, images: Tensor) -> Tensor:
    with within_memory("the teacher's answers"):
        return teacher(images.to(teacher.device)).float().cpu()

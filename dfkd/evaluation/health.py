"""How the images of a run and its student are, beside how well the student does."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dfkd.evaluation.accuracy import compute_logits
from dfkd.losses.statistics import layer_statistics, scale_free_distance
from dfkd.networks.copying import trying
from dfkd.networks.modes import set_mode
from dfkd.teacher import Teacher


@dataclass(frozen=True)
class Health:
    """What a sample of the images, and both networks' answers to it, look like.

    Attributes:
        images: how many.
        saturated: share of values that are exactly 0 or 1, of those that differ between images.
        duplicates: share of images that another one equals, to half a step of 8 bits on average.
        confidence: the teacher's mean highest probability at temperature 1.
        teacher_classes: how many classes it finds: e to the entropy of its decisions.
        student_classes: how many the student finds.
        agreement: share on which the student in eval mode decides as its teacher.
        agreement_training: the same with the batch's own statistics in its norms.
        gaps: by layer, how far the images' statistics lie from the remembered ones, in nats a
            channel (``scale_free_distance``); empty for a teacher that remembers none.
    """

    images: int
    saturated: float
    duplicates: float
    confidence: float
    teacher_classes: float
    student_classes: float
    agreement: float
    agreement_training: float
    gaps: dict[str, float]


@torch.no_grad()
def measure_health(teacher: Teacher, student: nn.Module, images: Tensor) -> Health:
    """Look at ``images`` and at what both networks say of them; nothing changes.

    Args:
        teacher: frozen.
        student: copied for the pass in training mode.
        images: N x C x H x W in [0, 1], two at least.
    """
    trace = teacher.trace(images, statistics=teacher.remembers)
    wanted, task = trace.logits.argmax(1), teacher.student_task
    with trying(student) as trial:
        said = []
        for training in (False, True):
            set_mode(trial, training)
            raw = compute_logits(trial, teacher.spec.normalize(images))
            said.append(task.read(raw))
    answers = [answer.logits.argmax(1) for answer in said]
    return Health(
        images=len(images),
        saturated=_saturated(images),
        duplicates=_duplicates(images),
        confidence=float(trace.logits.softmax(1).amax(1).mean()),
        teacher_classes=effective(task.counts(trace.prediction).tolist()),
        student_classes=effective(task.counts(said[0]).tolist()),
        agreement=float((answers[0] == wanted).float().mean()),
        agreement_training=float((answers[1] == wanted).float().mean()),
        gaps=_gaps(trace.statistics),
    )


def effective_share(counts: Sequence[int]) -> float:
    """Return ``effective`` over the number of classes, in (0, 1].

    >>> effective_share([5, 5, 0, 0])
    0.5
    """
    return effective(counts) / len(counts)


def effective(counts: Sequence[int]) -> float:
    """Return e to the entropy of ``counts``: K where K are alike, 1 where one has all.

    >>> effective([5, 5, 5, 5]), effective([7, 0])
    (4.0, 1.0)
    """
    shares = [count / sum(counts) for count in counts if count]
    return round(math.exp(-sum(share * math.log(share) for share in shares)), 9)


def _saturated(images: Tensor) -> float:
    """A ground that all images share says nothing: only where they differ is looked."""
    differs = (images - images[:1]).abs().amax(0) > 0
    values = images[:, differs]
    return float(((values <= 0) | (values >= 1)).float().mean()) if values.numel() else 1.0


def _duplicates(images: Tensor) -> float:
    flat = images.flatten(1).float()
    distances = torch.cdist(flat, flat, p=1) / flat.shape[1]
    distances.fill_diagonal_(1.0)
    return float((distances.amin(1) < 0.5 / 255).float().mean())


def _gaps(record: Any) -> dict[str, float]:
    return {one.name: float(scale_free_distance((one,))) for one in layer_statistics(record)}

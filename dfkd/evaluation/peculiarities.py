"""What is out of the ordinary about a teacher's answers, said before a run and not found after it.

Each check looks at the answers to images that no student learns from. Most say one line, with what
is done about it; where nothing could be learned the check refuses the teacher.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from dfkd.errors import DfkdError
from dfkd.evaluation.accuracy import predictions
from dfkd.evaluation.heldout import HELD_OUT_BATCH, HeldOut
from dfkd.losses.statistics import layer_statistics
from dfkd.tasks import Classification, MultiLabel
from dfkd.tasks.words import shown
from dfkd.teacher import Teacher

Check = Callable[[Teacher, HeldOut], str]
"""Returns a line, or "" where there is nothing to say; raises ``DfkdError`` to refuse."""

_SOME = 32
"""Images that are shown anew."""
_LARGE, _OFTEN = 3.0, 0.25
"""A logit that is sure of its label, and the share of images that shows a habit."""
_FAR = 5.0
"""Times by which values may differ from those that a layer remembers. Of drawings, which are no
data, they were .5 to 2.3 times as large with four teachers; 8.6 with ImageNet's mean and std left
out, and a 27th with values that were 255 times too large."""


def find_peculiarities(teacher: Teacher, held_out: HeldOut) -> tuple[str, ...]:
    """Look for what is out of the ordinary, a line each.

    Args:
        teacher: frozen.
        held_out: images and the teacher's answers to them.

    Raises:
        DfkdError: its answers teach nothing.
    """
    lines = (check(teacher, held_out) for check in CHECKS.values())
    return tuple(line for line in lines if line)


def _no_numbers(teacher: Teacher, held_out: HeldOut) -> str:
    wrong = ~held_out.logits.isfinite().all(1)
    if bool(wrong.any()):
        raise DfkdError(
            f"the teacher answers {int(wrong.sum())} of {len(held_out)} images with NaN or "
            "infinity, which nobody can learn: look for a division by 0, a log of 0 or masked "
            "logits in its forward"
        )
    return ""


def _unchanging(teacher: Teacher, held_out: HeldOut) -> str:
    spread = held_out.logits.std(0).max()
    if float(spread) <= 1e-6 * float(held_out.logits.abs().max()):
        raise DfkdError(
            f"the teacher answers all {len(held_out)} images alike: there is nothing to learn "
            "from it; are its weights missing?"
        )
    return ""


def _independent_labels(teacher: Teacher, held_out: HeldOut) -> str:
    if held_out.rows > 1 or held_out.logits.shape[1] <= 2:
        return ""
    low, high = float(held_out.logits.min()), float(held_out.logits.max())
    # From one end to the other: the logits of a network without training may lie there as well.
    if 0 <= low < 0.1 and 0.9 < high <= 1:
        raise DfkdError(
            "the teacher's answers all lie in [0, 1] and do not sum to 1, as sigmoids' of labels "
            "that exclude nothing: if they are that, give `task=multilabel`; otherwise return "
            "logits, of classes that exclude each other"
        )
    return ""


def _wrapped(teacher: Teacher, held_out: HeldOut) -> str:
    taken = getattr(teacher.task, "taken", "")
    return f"of what the teacher returns {taken} is taken for its logits" if taken else ""


def _some_classes(teacher: Teacher, held_out: HeldOut) -> str:
    if teacher.subset is None:
        return ""
    return f"of the teacher, {teacher.subset.described} are left; it is asked about no other"


def _one_output(teacher: Teacher, held_out: HeldOut) -> str:
    task: Any = teacher.task
    if not isinstance(task, Classification) or task.outputs > 1:
        return ""
    end = "a sigmoid, which is undone to a logit z" if task.probabilities else "one logit z"
    return (
        f"the teacher has one output and ends in {end}: it is read as two classes, "
        f"{shown(task.names[0])!r} with the logit 0 and {shown(task.names[1])!r} with z"
    )


def _probabilities(teacher: Teacher, held_out: HeldOut) -> str:
    task: Any = teacher.task
    if isinstance(task, MultiLabel) and task.probabilities:
        return "the teacher ends in sigmoids: they are undone to logits"
    if not isinstance(task, Classification) or task.outputs == 1:
        return ""
    if task.probabilities:
        return "the teacher ends in a softmax: the log of its probabilities is taken for logits"
    if float(held_out.logits.logsumexp(1).abs().max()) < 1e-3:
        return "the teacher ends in a log-softmax: its log-probabilities are taken for logits"
    return ""


def _unsteady(teacher: Teacher, held_out: HeldOut) -> str:
    changed = _changed(teacher, held_out.images[:_SOME], held_out.logits_at(slice(_SOME)))
    if not changed:
        return ""
    return (
        f"the teacher answers the same image differently from call to call ({changed:.0%} of "
        "classes change): the student learns the mean; switch off what it draws to learn faster"
    )


def unsteady(teacher: Teacher) -> str:
    """Say in a line that a network answers noise otherwise when it is asked again, or nothing."""
    seeds = torch.Generator().manual_seed(0)
    noise = torch.rand((_SOME, *teacher.spec.shape), generator=seeds)
    before = predictions(teacher, teacher.spec, noise)
    if not (changed := _changed(teacher, noise, before)):
        return ""
    return (
        f"it answers the same image differently from call to call ({changed:.0%} of classes of "
        "noise change): its figures, and agreement with it, depend on chance"
    )


def _changed(teacher: Teacher, images: Tensor, before: Tensor) -> float:
    """The share of images of which another class is said in a second call; 0 if all is rounding."""
    again = predictions(teacher, teacher.spec, images, batch_size=HELD_OUT_BATCH)
    # Rounding differs with the batch's size; what a network draws differs by far more.
    if float((again - before).abs().mean()) < 1e-2 * float(before.std()):
        return 0.0
    return max(1e-9, float((again.argmax(1) != before.argmax(1)).float().mean()))


def _without_gradient(teacher: Teacher, held_out: HeldOut) -> str:
    if teacher.opaque:  # that is said already
        return ""
    images = held_out.images[:2].to(teacher.device).float() / 255
    with torch.enable_grad():
        answered = teacher.carries(teacher(images.requires_grad_()))
    if answered:
        return ""
    return (
        "the teacher's answers carry no gradient to the image: no image is corrected towards a "
        "class; take out no_grad(), detach() or quantised layers, or use `method=drawings`"
    )


@torch.no_grad()
def remembered_width(teacher: Teacher, images: Tensor) -> tuple[str, float] | None:
    """Compare the values that the first layer with statistics remembers with those of images.

    Args:
        teacher: frozen.
        images: uint8 N x C x H x W, that nobody has fitted to what the layer remembers.

    Returns:
        The layer's name, and how many times as wide the remembered values are; None without one.
    """
    if not teacher.layers:
        return None
    traced = teacher.trace(images.to(teacher.device).float() / 255, statistics=True)
    records = layer_statistics(traced.statistics)
    if not records:
        return None
    return records[0].name, _ratio(records[0].running_var, records[0].var)


def _other_range(teacher: Teacher, held_out: HeldOut) -> str:
    # Drawings: the corrected images have been fitted to what the layer remembers.
    found = remembered_width(teacher, held_out.images[held_out.places("drawn")][:HELD_OUT_BATCH])
    if found is None or 1 / _FAR < found[1] < _FAR:
        return ""
    name, ratio = found
    return (
        f"the teacher's layer {name} remembers values {ratio:.3g} times those of images "
        "in [0, 1]: does it take 0 to 255, or normalise inside? Set `mean` and `std` to what "
        "its images were normalised by"
    )


def _ratio(remembered: Tensor, found: Tensor) -> float:
    alive = (remembered > 1e-12) & (found > 1e-12)
    return float((remembered[alive] / found[alive]).sqrt().median()) if bool(alive.any()) else 1.0


def _labels_beside(teacher: Teacher, held_out: HeldOut) -> str:
    """Large logits beside each other, as classes that exclude each other do not have them."""
    logits = held_out.logits
    if held_out.rows > 1 or logits.shape[1] < 3 or not isinstance(teacher.task, Classification):
        return ""
    if teacher.task.probabilities:
        return ""
    several = float(((logits > _LARGE).sum(1) > 1).float().mean())
    none = float((logits.amax(1) < -_LARGE).float().mean())
    if several < _OFTEN or (logits < -_LARGE).float().mean() < _OFTEN or several + none < 0.5:
        return ""
    return (
        f"several logits are above {_LARGE:g} at once in {several:.0%} of images and others far "
        "below 0: are they labels that hold side by side? Then give `task=multilabel`; they are "
        "taken for classes that exclude each other"
    )


CHECKS: dict[str, Check] = {
    "no numbers": _no_numbers,
    "unchanging": _unchanging,
    "wrapped": _wrapped,
    "one output": _one_output,
    "some classes": _some_classes,
    "independent labels": _independent_labels,
    "labels beside each other": _labels_beside,
    "probabilities": _probabilities,
    "unsteady": _unsteady,
    "without gradient": _without_gradient,
    "other range": _other_range,
}

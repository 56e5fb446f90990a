"""The columns of a shard from what came in."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from dfkd.errors import DfkdError
from dfkd.sets.imports.incoming import IncomingSample
from dfkd.tasks.words import shown
from dfkd.teacher import Teacher

_ASKED = 128
"""Images that a teacher is asked about at once."""
_NUMBERS = re.compile(r"confidence|loss_[a-z0-9_]{1,40}")
_INTEGERS = ("seed", "iterations")
_MOST_NUMBERS = 32
_SUM = 0.02
"""By how much the sum of probabilities in half precision may miss 1."""


def number_names(facts: Mapping[Any, Any]) -> list[str]:
    """List which of an image's facts are numbers that a shard keeps."""
    return sorted(name for name in map(str, facts) if _NUMBERS.fullmatch(name))[:_MOST_NUMBERS]


def incoming_rows(
    part: Sequence[IncomingSample], labels: Tensor, logits: Tensor, names: Sequence[str]
) -> dict[str, Tensor]:
    """Return the columns of a shard.

    Args:
        part: its images.
        labels: the model's class of each, N.
        logits: a teacher's to the images as they are, N x classes.
        names: numbers that came with the images and stay as they are.
    """
    largest = torch.finfo(torch.half).max
    measured = {
        "confidence": logits.softmax(1).gather(1, labels[:, None])[:, 0],
        "loss_cross_entropy": -logits.log_softmax(1).gather(1, labels[:, None])[:, 0],
    }
    whole = {n: torch.tensor([_whole(one.facts.get(n)) for one in part]) for n in _INTEGERS}
    carried = {n: torch.tensor([_real(one.facts.get(n)) for one in part]) for n in names}
    own = {
        "images": torch.stack([one.image for one in part]),
        "labels": labels,
        "logits": logits.clamp(-largest, largest).half(),
    }
    return measured | whole | carried | own


def asked_logits(teacher: Teacher, images: Tensor) -> Tensor:
    """Ask a teacher about images as they are stored; returns N x classes on the CPU.

    Args:
        teacher: asked.
        images: uint8, N x C x H x W.
    """
    with torch.no_grad():
        parts = (
            teacher.predict(teacher.spec.decode(one.to(teacher.device))).logits.float().cpu()
            for one in torch.split(images, _ASKED)
        )
        return torch.cat(list(parts))


def carried_logits(part: Sequence[IncomingSample], classes: int) -> Tensor:
    """Return the answers that came with the images, N x classes.

    Raises:
        DfkdError: an image without, or with those of another number of classes.
    """
    found = [one.logits for one in part if one.logits is not None and len(one.logits) == classes]
    if len(found) < len(part):
        first = next(o for o in part if o.logits is None or len(o.logits) != classes)
        raise DfkdError(
            f"{shown(first.name, 100)} has no teacher's answers: name the `teacher` to ask"
        )
    return torch.stack(found)


def carried_targets(part: Sequence[IncomingSample], columns: Sequence[int], classes: int) -> Tensor:
    """Return what images were made for, N x classes, half precision.

    Args:
        part: the images.
        columns: the model's class of each of the source's.
        classes: of the model.

    Raises:
        DfkdError: an image without, or with what is no distribution over the source's classes.
    """
    found = torch.zeros(len(part), classes)
    for place, one in enumerate(part):
        own = one.targets
        if own is None or len(own) != len(columns):
            raise DfkdError(
                f"{shown(one.name, 100)} has no targets, one for each of {len(columns):,} classes, "
                "and images before it have"
            )
        if not bool(((own >= 0) & (own <= 1)).all()) or abs(float(own.sum()) - 1) > _SUM:
            raise DfkdError(f"{shown(one.name, 100)} has targets that are no probabilities")
        found[place, list(columns)] = own
    return found.half()


def _whole(value: Any) -> int:
    fits = isinstance(value, int) and -(1 << 63) <= value < 1 << 63
    return int(value) if fits else 0


def _real(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return float("nan")

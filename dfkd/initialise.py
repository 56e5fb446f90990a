"""Where a student starts: from random weights, or from those of its teacher that fit."""

from typing import NamedTuple

import torch
from torch import nn

from dfkd.errors import DfkdError
from dfkd.statistics import clean_name


class Start(NamedTuple):
    """What a student was given: ``copied`` tensor names, and their share of its parameters."""

    mode: str
    copied: tuple[str, ...]
    share: float


def matching_names(teacher: nn.Module, student: nn.Module) -> tuple[str, ...]:
    """State entries of one name and one shape in both networks, wrapper prefixes aside."""
    shapes = {clean_name(name): value.shape for name, value in teacher.state_dict().items()}
    return tuple(
        name
        for name, value in student.state_dict().items()
        if value.is_floating_point() and shapes.get(clean_name(name)) == value.shape
    )


@torch.no_grad()
def start_student(student: nn.Module, teacher: nn.Module, mode: str) -> Start:
    """Copy into ``student`` what ``mode`` says: ``random`` nothing, ``teacher`` all that fits.

    Layers fit by name and shape: of a shallower network of the same widths these
    are the stem, the first block of each stage and the classifier (the way DistilBERT
    starts). ``auto`` copies where that covers at least half of the student's parameters.

    Raises:
        DfkdError: an unknown mode, or ``teacher`` where nothing fits.
    """
    if mode not in ("auto", "teacher", "random"):
        raise DfkdError(f"--init must be auto, teacher or random, not {mode!r}")
    names = matching_names(teacher, student)
    sizes = {name: parameter.numel() for name, parameter in student.named_parameters()}
    share = sum(sizes.get(name, 0) for name in names) / max(1, sum(sizes.values()))
    if mode == "teacher" and not names:
        raise DfkdError("no layer of the student fits the teacher's; use --init random")
    if mode == "random" or (mode == "auto" and share < 0.5):
        return Start("random", (), 0.0)
    source = {clean_name(name): value for name, value in teacher.state_dict().items()}
    target = student.state_dict()
    for name in names:
        target[name].copy_(source[clean_name(name)])
    return Start("teacher", names, share)

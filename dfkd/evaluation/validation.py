"""Is the student better than it was at the start? Judged on images that it never learnt from."""

import time
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from dfkd.evaluation.chance import at_chance, constant_share
from dfkd.evaluation.heldout import HeldOut
from dfkd.networks.copying import copy_network
from dfkd.networks.modes import set_mode
from dfkd.teacher import Teacher

_KNOWS = 0.9
"""Agreement with the teacher from which on a student that starts knows: what training could add is
little, and what it could destroy is all."""


class Standing(NamedTuple):
    """How a student stands to its teacher on the held-out images.

    Attributes:
        agreement: share on which both decide alike, in [0, 1].
        divergence: mean KL(teacher, student) at temperature 1, in nats.
        guessing: whether a constant answer would agree as often.
    """

    agreement: float
    divergence: float
    guessing: bool


class Validation:
    """Keeps the student as it starts, and tells at the end which of the two is to be kept.

    Args:
        held_out: the images that decide, with the teacher's logits.
        teacher: of the student; gives the images' normalisation.
        student: as it starts; copied.

    Attributes:
        start: how it stands then.
        seconds: what finding that out took.
    """

    def __init__(self, held_out: HeldOut, teacher: Teacher, student: nn.Module) -> None:
        self.held_out, self._teacher = held_out, teacher
        self._student = copy_network(student)
        set_mode(self._student, False)
        begun = time.perf_counter()
        self.start = self.standing(student)
        self.seconds = time.perf_counter() - begun  # and as many at the end

    @property
    def knows(self) -> bool:
        """Whether the student answers as its teacher does from the start."""
        return self.start.agreement >= _KNOWS

    def standing(self, student: nn.Module) -> Standing:
        """Measure how a student of this teacher stands to it on the held-out images."""
        held_out = self.held_out
        return _standing(held_out.answers(student, self._teacher), held_out.logits)

    def judged(self, finished: nn.Module, by_agreement: bool = True) -> "Verdict":
        """Choose the better of the two: it agrees more with the teacher, or as often and is nearer.

        One that only guessed at the start is nothing to return to.

        Args:
            finished: the student as it ends.
            by_agreement: otherwise the finished one is kept: it was trained for something else.
        """
        end = self.standing(finished)
        rank = [(one.agreement, -one.divergence) for one in (self.start, end)]
        returned = by_agreement and not self.start.guessing and rank[0] > rank[1]
        student = self._student if returned else finished
        return Verdict(student, self.start, end, returned, len(self.held_out))


class Verdict(NamedTuple):
    """The ``student`` to keep; ``returned``: it is the one of the start."""

    student: nn.Module
    start: Standing
    end: Standing
    returned: bool
    images: int

    @property
    def kept(self) -> Standing:
        """The standing of the student to keep."""
        return self.start if self.returned else self.end


def _standing(logits: Tensor, wanted: Tensor) -> Standing:
    right = wanted.argmax(1)
    hits = int((logits.argmax(1) == right).sum())
    divergence = F.kl_div(
        logits.log_softmax(1), wanted.log_softmax(1), reduction="batchmean", log_target=True
    )
    guessing = at_chance(hits, len(right), constant_share(right))
    return Standing(hits / len(right), float(divergence), guessing)

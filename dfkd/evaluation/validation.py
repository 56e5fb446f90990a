"""Is the student better than it was at the start? Judged on images that it never learnt from."""

import math
import time
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from dfkd.evaluation.chance import at_chance, constant_share
from dfkd.evaluation.heldout import HeldOut
from dfkd.networks.copying import copy_network
from dfkd.networks.modes import set_mode
from dfkd.protocols import Source
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

    @property
    def rank(self) -> tuple[float, float]:
        """What standings are compared by: agreement, then nearness."""
        return self.agreement, -self.divergence


class Validation:
    """Keeps the student as it starts, and tells at the end which of the two is to be kept.

    Args:
        held_out: images with the teacher's logits; those of the kinds of ``JUDGING`` decide.
        teacher: of the student; gives the images' normalisation.
        student: as it starts; copied.
        trained: whether it starts with weights that somebody trained: these are something to
            return to even where it seems to guess, for its data may be unlike the held-out images.

    Attributes:
        start: how it stands then.
        seconds: what the student's answers took.
    """

    def __init__(
        self, held_out: HeldOut, teacher: Teacher, student: nn.Module, trained: bool = False
    ) -> None:
        self.held_out, self._teacher = held_out.judging(), teacher
        self._student, self._trained = copy_network(student), trained
        set_mode(self._student, False)
        begun = time.perf_counter()
        answers = self.held_out.answers(student, teacher)
        # And as many at the end; what the first comparison imports is paid once.
        self.seconds = time.perf_counter() - begun
        self.start = _standing(answers, self.held_out.logits, self.held_out.rows)

    @property
    def knows(self) -> bool:
        """Whether the student answers as its teacher does from the start."""
        return self.start.agreement >= _KNOWS

    def standing(self, student: nn.Module) -> Standing:
        """Measure how a student of this teacher stands to it on the held-out images."""
        held_out = self.held_out
        rows = held_out.rows
        return _standing(held_out.answers(student, self._teacher), held_out.logits, rows)

    def judged(
        self,
        finished: nn.Module,
        by_agreement: bool = True,
        before: "Candidate | None" = None,
    ) -> "Verdict":
        """Choose the best of the students that a run has had.

        The one that it began with is kept where it agrees more with the teacher than the finished
        one, or as often and is nearer; one that was drawn and only guessed is nothing to return
        to. One of the way has to agree clearly more: what a few images may be by chance is no
        reason.

        Args:
            finished: the student as it ends.
            by_agreement: otherwise the finished one is kept: it was trained for something else.
            before: the best on the way, if any was judged there.
        """
        end = self.standing(finished)
        kept = Candidate(finished, end, 1.0, None)
        if by_agreement and before and clearly_better(before.standing, end, len(self.held_out)):
            kept = before
        known = self._trained or not self.start.guessing
        if by_agreement and known and self.start.rank > kept.standing.rank:
            kept = Candidate(self._student, self.start, 0.0, None)
        return Verdict(kept, self.start, end, len(self.held_out))


class Candidate(NamedTuple):
    """A student that may be kept.

    Attributes:
        student: the network.
        standing: how it stands to its teacher.
        share: of the budget at which it was that; 0 at the start, 1 at the end.
        source: what builds its network; None: what built the user's student.
    """

    student: nn.Module
    standing: Standing
    share: float
    source: Source | None


class Verdict(NamedTuple):
    """Which student is ``kept``, how those of start and end stand, and on how many images."""

    kept: Candidate
    start: Standing
    end: Standing
    images: int

    @property
    def student(self) -> nn.Module:
        """The network to keep."""
        return self.kept.student

    @property
    def returned(self) -> bool:
        """Whether it is the one that the run began with."""
        return self.kept.share == 0.0


def clearly_better(one: Standing, other: Standing, images: int) -> bool:
    """Tell whether ``one`` agrees more often than chance explains: by two standard errors.

    Args:
        one, other: standings on the same images.
        images: how many.
    """
    variances = (standing.agreement * (1 - standing.agreement) for standing in (one, other))
    return one.agreement - other.agreement > 2 * math.sqrt(sum(variances) / images)


def _standing(logits: Tensor, wanted: Tensor, rows: int) -> Standing:
    right = wanted.argmax(1)
    hits = int((logits.argmax(1) == right).sum())
    divergence = F.kl_div(
        logits.log_softmax(1), wanted.log_softmax(1), reduction="batchmean", log_target=True
    )
    guessing = at_chance(hits, len(right), constant_share(right, rows))
    return Standing(hits / len(right), float(divergence), guessing)

"""How accurate will the student be? Predicted from held-out images, without a label."""

import math
from typing import NamedTuple

from dfkd.errors import DfkdError
from dfkd.evaluation.fidelity import Fidelity
from dfkd.evaluation.heldout import HeldOut

SLOPE, OFFSET, DEVIATION, FITTED = 1.399, 0.993, 0.904, 188
"""Of the line that was fitted, on a scale of logits; how far off it was; on how many students."""
COVERAGE = 0.9
"""Share of students whose accuracy lies within the interval that is predicted for them."""
_LEAST = 0.005
"""Shares nearer to 0 or 1 than this are taken for this: a logit of none is infinite."""


class ExpectedAccuracy(NamedTuple):
    """A prediction of a student's accuracy.

    Attributes:
        low, high: the interval that it lies in with a probability of ``COVERAGE``.
        expected: its middle.
        teacher: the teacher's accuracy that all of it rests upon.
    """

    low: float
    expected: float
    high: float
    teacher: float

    def line(self) -> str:
        """Return it in a line."""
        return (
            f"expected accuracy {self.expected:.1%}, between {self.low:.1%} and {self.high:.1%} "
            f"in {COVERAGE:.0%} of all cases, if the teacher has {self.teacher:.1%}"
        )


def expected_of(teacher_accuracy: float, fidelity: Fidelity, held_out: HeldOut) -> ExpectedAccuracy:
    """Predict a student's accuracy from real images where there are some, else from synthetic ones.

    Args:
        teacher_accuracy: on its owner's data, in (0, 1].
        fidelity: of the student.
        held_out: the images that it was measured on.
    """
    if "unlabelled" in held_out.counts:
        images = held_out.counts["unlabelled"]
        return expect_from_unlabelled(teacher_accuracy, fidelity.kinds["unlabelled"], images)
    agreement = sum(fidelity.kinds.values()) / len(fidelity.kinds)
    return expect_accuracy(teacher_accuracy, agreement)


def expect_accuracy(teacher_accuracy: float, agreement: float) -> ExpectedAccuracy:
    """Predict a student's accuracy from its agreement with the teacher on held-out images.

    The share of the teacher's accuracy that a student keeps is taken to rise with its agreement
    along a line, both as logits: logit(kept) = OFFSET + SLOPE * logit(agreement). The line and its
    scatter are those of students that were measured on real images (assets/RESULTS.md,
    "Validation without data"); the interval is Student's t for a new one. It holds for
    classifiers of images like those, and for nothing that was trained to fool the held-out ones.

    Args:
        teacher_accuracy: on its owner's data, in (0, 1].
        agreement: on held-out images of the synthetic kinds, in [0, 1].

    Raises:
        DfkdError: a share outside its range.
    """
    _check(teacher_accuracy, agreement)
    from scipy.stats import t  # takes half a second: once, at a run's end

    middle = OFFSET + SLOPE * logit(agreement)
    reach = DEVIATION * float(t.ppf((1 + COVERAGE) / 2, FITTED - 2)) * math.sqrt(1 + 1 / FITTED)
    low, expected, high = (teacher_accuracy * _share(middle + by) for by in (-reach, 0.0, reach))
    return ExpectedAccuracy(low, expected, high, teacher_accuracy)


def expect_from_unlabelled(
    teacher_accuracy: float, agreement: float, images: int
) -> ExpectedAccuracy:
    """Predict it from the agreement on real images, which only chance keeps from being the truth.

    Wilson's interval (JASA 1927) of the agreement, times the teacher's accuracy: a student is taken
    to be as often right where it agrees as its teacher is on all images, and wrong elsewhere.

    Args:
        teacher_accuracy: on its owner's data, in (0, 1].
        agreement: on real images, in [0, 1].
        images: how many.
    """
    _check(teacher_accuracy, agreement)
    from scipy.stats import binomtest

    interval = binomtest(round(agreement * images), images).proportion_ci(COVERAGE, "wilson")
    shares = (interval.low, agreement, interval.high)
    low, expected, high = (teacher_accuracy * float(share) for share in shares)
    return ExpectedAccuracy(low, expected, high, teacher_accuracy)


def _check(teacher_accuracy: float, agreement: float) -> None:
    if not 0 < teacher_accuracy <= 1 or not 0 <= agreement <= 1:
        raise DfkdError("the teacher's accuracy is a share above 0, an agreement one from 0")


def logit(share: float) -> float:
    """Return log(share / (1 - share)) of a share in [0, 1], of 0 and 1 a finite one."""
    inside = min(max(share, _LEAST), 1 - _LEAST)
    return math.log(inside / (1 - inside))


def _share(value: float) -> float:
    return 1 / (1 + math.exp(-value))

"""What a restricted teacher answers: whether it is sound, and what a network would have said."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args

import numpy as np
import torch
from torch import Tensor

from dfkd.errors import DfkdError, nearest

Access = Literal["logits", "probs", "top1"]
"""What is seen of an answer: all logits, all probabilities, or the decision alone."""
ACCESS_KINDS: tuple[str, ...] = get_args(Access)

SMOOTHING = 0.1
"""Of a decision that is all that is seen: the probability that is left to what was not decided."""
FLOOR = 1e-6
"""Smallest probability that is told from 0: an API rounds, and the logarithm of 0 says nothing."""
_SUM = 0.02
"""How far from 1 probabilities may sum: a server that rounds to two digits stays below."""


def check_access(access: str) -> None:
    """Raise a ``DfkdError`` unless ``access`` is one of ``ACCESS_KINDS``."""
    if access not in ACCESS_KINDS:
        raise DfkdError(
            f"`access` is {', '.join(ACCESS_KINDS)}, not {access!r}{nearest(access, ACCESS_KINDS)}"
        )


class AnswerForm(Protocol):
    """What the answers of one task look like at one access.

    Attributes:
        length: numbers that an image is answered with.
    """

    @property
    def length(self) -> int:
        """See above."""

    def restricted(self, rows: Tensor) -> Any:
        """Reduce a teacher's rows of logits to what is let through, as a numpy array."""

    def fault(self, values: Any, count: int) -> str:
        """Say what is wrong with an answer; empty where it is sound.

        Args:
            values: an array, of whatever shape and type a server sent.
            count: N images were asked about.
        """

    def as_logits(self, values: Any, smoothing: float = SMOOTHING) -> Tensor:
        """Turn N x length sound answers into what a network would have said: its task reads it.

        Args:
            values: N x length.
            smoothing: of a decision alone, in (0, 0.5): likelier than all else it stays.
        """

    def told(self, smoothing: float) -> str:
        """Say in words what is seen, and what it is taken for."""


@dataclass(frozen=True)
class ClassAnswers:
    """One class an image.

    Attributes:
        access: what is seen, of ``ACCESS_KINDS``.
        classes: that there are.
    """

    access: str
    classes: int

    @property
    def length(self) -> int:
        """One a class, or the class."""
        return 1 if self.access == "top1" else self.classes

    def restricted(self, rows: Tensor) -> Any:
        """Reduce N x classes logits; see ``AnswerForm``."""
        values = rows.detach().float().cpu()
        if self.access == "top1":
            return values.argmax(1).numpy()
        return (values.softmax(1) if self.access == "probs" else values).numpy()

    def fault(self, values: Any, count: int) -> str:
        """Say what is wrong with N classes, or N x classes numbers; see ``AnswerForm``."""
        alone = self.access == "top1"
        wrong = _not_numbers(values, self.access, (count,) if alone else (count, self.classes))
        if wrong or not values.size:
            return wrong
        if alone:
            low, high = int(values.min()), int(values.max())
            outside = low < 0 or high >= self.classes
            return f"class {low if low < 0 else high} of {self.classes}" if outside else ""
        if self.access == "probs":
            sums = values.sum(1, dtype=np.float64)
            if values.min() < 0:
                return f"a probability of {values.min():.3g}"
            if np.abs(sums - 1).max() > _SUM:
                return f"probabilities that sum to {sums[np.abs(sums - 1).argmax()]:.3g}"
        return ""

    def as_logits(self, values: Any, smoothing: float = SMOOTHING) -> Tensor:
        """Return N x classes logits, whose mean is 0 where they were probabilities.

        A softmax forgets a constant a row; without one the logits of a class and of probabilities
        can be compared as those of a network are (Truong et al., CVPR 2021).

        >>> ClassAnswers("probs", 2).as_logits(np.array([[0.5, 0.5]])).tolist()
        [[0.0, 0.0]]
        """
        found = torch.from_numpy(np.asarray(values, np.float32))
        if self.access == "logits":
            return found
        if self.access == "top1":
            rows = torch.full((len(found), self.classes), smoothing / (self.classes - 1))
            found = rows.scatter_(1, found.long().view(-1, 1), 1 - smoothing)
        logits = found.clamp_min(FLOOR).log()
        return logits - logits.mean(1, keepdim=True)

    def told(self, smoothing: float) -> str:
        """See ``AnswerForm``."""
        return {
            "logits": "all logits are seen",
            "probs": "probabilities are seen; their logs, less the mean, are taken for logits",
            "top1": f"the class alone is seen, and taken for a probability of {1 - smoothing:g}",
        }[self.access]


@dataclass(frozen=True)
class LabelAnswers:
    """Several labels an image, each on or off by itself.

    Attributes:
        access: what is seen, of ``ACCESS_KINDS``; ``top1`` is 0 or 1 a label.
        labels: that there are.
    """

    access: str
    labels: int

    @property
    def length(self) -> int:
        """One a label."""
        return self.labels

    def restricted(self, rows: Tensor) -> Any:
        """Reduce rows of two logits a label (off, on); see ``AnswerForm``."""
        pairs = rows.detach().float().cpu()
        logits = (pairs[:, 1] - pairs[:, 0]).view(-1, self.labels)
        if self.access == "top1":
            return (logits > 0).long().numpy()
        return (logits.sigmoid() if self.access == "probs" else logits).numpy()

    def fault(self, values: Any, count: int) -> str:
        """Say what is wrong with N x labels numbers; see ``AnswerForm``."""
        wrong = _not_numbers(values, self.access, (count, self.labels))
        if wrong or not values.size or self.access == "logits":
            return wrong
        low, high = values.min(), values.max()
        if low < 0 or high > 1:
            return f"{self.access} of {low if low < 0 else high:.3g}, not within 0 and 1"
        return ""

    def as_logits(self, values: Any, smoothing: float = SMOOTHING) -> Tensor:
        """Return N x labels logits.

        >>> LabelAnswers("top1", 2).as_logits(np.array([[1, 0]]), 0.5).tolist()
        [[0.0, 0.0]]
        """
        found = torch.from_numpy(np.asarray(values, np.float32))
        if self.access == "logits":
            return found
        if self.access == "top1":
            found = smoothing + (1 - 2 * smoothing) * found
        return torch.logit(found, eps=FLOOR)

    def told(self, smoothing: float) -> str:
        """See ``AnswerForm``."""
        return {
            "logits": "all logits are seen",
            "probs": "a probability a label is seen",
            "top1": "of each label is seen whether it is on, which is taken for a probability of "
            f"{1 - smoothing:g}",
        }[self.access]


ANSWER_FORMS: Mapping[str, Callable[[str, int], AnswerForm]] = {
    "classification": ClassAnswers,
    "multilabel": LabelAnswers,
}
"""By task: the form of answers at an access, of so many classes."""


def _not_numbers(values: Any, access: str, shape: tuple[int, ...]) -> str:
    """Say what is wrong with an array before its values are looked at; empty where nothing is."""
    if values.shape != shape:
        return f"{access} of shape {values.shape} in place of {shape}"
    if values.dtype.kind not in ("iu" if access == "top1" else "fiu"):
        return f"{access} of type {values.dtype}"
    if values.size and not np.isfinite(values).all():
        return f"{access} that are no numbers (NaN or infinity)"
    return ""

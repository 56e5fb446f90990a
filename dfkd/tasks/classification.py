"""One class a sample."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from dfkd.errors import DfkdError
from dfkd.losses.response import cross_entropy
from dfkd.tasks.answers import find_logits
from dfkd.tasks.prediction import Prediction
from dfkd.tasks.task import Task


class Classification(Task):
    """N x classes logits, one row a sample: the first of the tasks (``dfkd.tasks.task.Task``).

    Args:
        num_classes: at least two.
        names: one a class; ``"0"``, ``"1"``, ... when left out.
        probabilities: the network ends in a softmax, or in a sigmoid where it has one output; its
            answers are taken back to logits, of a softmax up to a constant a sample.
        outputs: numbers that it answers a sample with: one a class, or 1 where two classes share
            one; ``num_classes`` when left out.
        taken: where its logits were in what it returned (``dfkd.tasks.answers``), for a reader.

    Raises:
        DfkdError: one class, or names that are miscounted or not told apart.
    """

    def __init__(
        self,
        num_classes: int,
        names: Sequence[str] | None = None,
        probabilities: bool = False,
        outputs: int | None = None,
        taken: str = "",
    ) -> None:
        if num_classes < 2:
            raise DfkdError("distillation needs at least two classes")
        self.num_classes, self.probabilities = num_classes, probabilities
        self.outputs, self.taken = outputs or num_classes, taken
        if self.outputs not in (num_classes, 1) or (self.outputs == 1 and num_classes > 2):
            raise DfkdError(f"{num_classes} classes cannot be told from {self.outputs} outputs")
        self.names = check_names(names, num_classes)

    def read(self, raw: Any) -> Prediction:
        """Take N x classes logits, or one logit for two classes, wherever a network has them.

        Raises:
            DfkdError: anything else.
        """
        found = find_logits(raw).logits
        if found.ndim != 2 or found.shape[1] not in self.widths:
            shape = tuple(found.shape)
            raise DfkdError(f"the network must return N x {self.num_classes} logits, not {shape}")
        return Prediction(self._logits(found))

    @property
    def widths(self) -> tuple[int, ...]:
        """How many numbers a network may answer a sample with."""
        return (2, 1) if self.num_classes == 2 else (self.num_classes,)

    def _logits(self, found: Tensor) -> Tensor:
        """N x classes logits of N x outputs numbers."""
        if found.shape[1] == 1:
            return both_classes(undone_sigmoid(found) if self.probabilities else found)
        if self.probabilities:
            return found.float().clamp_min(torch.finfo(torch.float32).tiny).log()
        return found

    @property
    def of_students(self) -> "Classification":
        """The same classes as students answer them: in logits."""
        return Classification(self.num_classes, self.names) if self.probabilities else self

    def check_student(self, raw: Any, count: int, mode: str) -> None:
        """Raise unless a student returned ``count`` x classes logits; see ``Task``."""
        found = find_logits(raw).logits
        if found.ndim != 2 or len(found) != count:
            raise DfkdError(
                f"the student must return N x {self.num_classes} logits in {mode} mode, not "
                f"{tuple(found.shape)}"
            )
        if found.shape[1] not in self.widths:
            raise DfkdError(
                f"the student has {found.shape[1]} classes and the teacher "
                f"{self.num_classes}; set the student's ?num_classes={self.num_classes}"
            )
        if are_probabilities(found):
            raise DfkdError(
                "the student ends in a softmax, and losses want logits: leave it away, and put it "
                "behind the student when it is trained"
            )

    def sample_targets(
        self, count: int, rng: Generator, device: torch.device, *, balanced: bool = False
    ) -> Tensor:
        """Draw ``count`` class indices, all as likely; see ``Task``."""
        if balanced:
            order = torch.randperm(self.num_classes, generator=rng)
            return order[torch.arange(count) % len(order)].to(device)
        return torch.randint(self.num_classes, (count,), generator=rng, device=rng.device).to(
            device
        )

    def decide(self, prediction: Prediction) -> Tensor:
        """Return the class of the highest logit, N indices."""
        return prediction.logits.argmax(1)

    def supervised(self, prediction: Prediction, target: Tensor) -> Tensor:
        """Compute the cross-entropy; ``target`` holds N indices or N x classes probabilities."""
        return cross_entropy(prediction.logits, target)

    def costs(self, prediction: Prediction, target: Tensor) -> Tensor:
        """Compute the cross-entropy of each sample, N values."""
        return F.cross_entropy(prediction.logits, target, reduction="none")

    def described(self, prediction: Prediction) -> list[str]:
        """Name the class of each sample."""
        return [self.names[index] for index in self.decide(prediction).tolist()]

    def counts(self, prediction: Prediction) -> Tensor:
        """Count the decisions by class."""
        decisions = self.decide(prediction)
        # Not bincount: its length depends on the values, so that a GPU would have to wait.
        counts = decisions.new_zeros(self.num_classes)
        return counts.index_add_(0, decisions, torch.ones_like(decisions))

    def agreement(self, one: Prediction, other: Prediction) -> Tensor:
        """Return the share of samples on which two answers decide alike."""
        return (self.decide(one) == self.decide(other)).float().mean()

    def metric(self) -> Any:
        """Build a multiclass accuracy."""
        from torchmetrics.classification import MulticlassAccuracy

        return MulticlassAccuracy(self.num_classes, average="micro")


def check_names(names: Sequence[str] | None, count: int) -> tuple[str, ...]:
    """Return a name a class, numbers where there are none; raise unless each has its own."""
    found = tuple(names or map(str, range(count)))
    if len(found) != count:
        raise DfkdError(f"{len(found)} class names for {count} classes")
    if twice := [name for name, n in Counter(found).items() if n > 1]:
        raise DfkdError(f"several classes are called {twice[0][:40]!r}: name them apart")
    return found


def classification_of(
    raw: object,
    shape: Sequence[int],
    names: Sequence[str] | None,
    within_one: Callable[[], bool] = lambda: False,
) -> Classification:
    """Find the classes in the answers to two samples.

    Args:
        raw: what the network returned.
        shape: of a sample, for the message.
        names: of the classes, where they are known.
        within_one: whether all that the network ever says lies in [0, 1]; asked of a network with
            one output, whose logits may do so by chance.

    Raises:
        DfkdError: the answers are no N x classes logits.
    """
    answer = find_logits(raw)
    found = answer.logits
    if found.ndim != 2 or found.shape[0] != 2 or not found.shape[1]:
        sample = "x".join(map(str, shape))
        raise DfkdError(
            f"the network must return N x classes logits for {sample} images, not "
            f"{tuple(found.shape)}"
        )
    if found.shape[1] == 1:
        return Classification(2, names, within_one(), 1, answer.taken)
    classes = found.shape[1]
    return Classification(classes, names, are_probabilities(found), taken=answer.taken)


def are_probabilities(raw: Tensor) -> bool:
    """Tell whether rows are probabilities of classes: none is negative, and each sums to 1.

    Args:
        raw: N x classes; on the meta device, which has no values, they are taken for logits.
    """
    if raw.is_meta or not raw.is_floating_point() or raw.shape[1] < 2:
        return False
    rows = raw.detach().float()
    sums = rows.sum(1)
    return bool((rows >= 0).all()) and torch.allclose(sums, torch.ones_like(sums), atol=1e-3)


def undone_sigmoid(probabilities: Tensor) -> Tensor:
    """Return the logits of probabilities in [0, 1], in float32 and finite."""
    return torch.logit(probabilities.float(), eps=torch.finfo(torch.float32).eps)


def both_rows(weight: Tensor) -> Tensor:
    """Return a row a class of a classifier's weight, also where two classes share one row.

    Half of it each, with opposite signs: what tells the two apart is the same.
    """
    return torch.cat([-weight, weight]) / 2 if len(weight) == 1 else weight


def both_classes(logits: Tensor) -> Tensor:
    """Return two logits a sample, of which the first is 0, for N x 1; N x C as they are.

    >>> both_classes(torch.tensor([[2.0]]))
    tensor([[0., 2.]])
    """
    return F.pad(logits, (1, 0)) if logits.ndim == 2 and logits.shape[1] == 1 else logits

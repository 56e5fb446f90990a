"""One class a sample."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from torch import Generator, Tensor

from dfkd.errors import DfkdError
from dfkd.losses.response import cross_entropy
from dfkd.tasks.prediction import Prediction


class Classification:
    """N x classes logits, one row a sample: the first of the tasks (``dfkd.tasks.task.Task``).

    Args:
        num_classes: at least two.
        names: one a class; ``"0"``, ``"1"``, ... when left out.
        probabilities: the network ends in a softmax; its answers' log is taken for logits, which
            they are up to a constant a sample.

    Raises:
        DfkdError: one class, or names that are miscounted or not told apart.
    """

    def __init__(
        self, num_classes: int, names: Sequence[str] | None = None, probabilities: bool = False
    ) -> None:
        if num_classes < 2:
            raise DfkdError("the network has one output; distillation needs at least two classes")
        self.num_classes, self.probabilities = num_classes, probabilities
        self.names = tuple(names or map(str, range(num_classes)))
        if len(self.names) != num_classes:
            raise DfkdError(f"{len(self.names)} class names for {num_classes} classes")
        if twice := [name for name, n in Counter(self.names).items() if n > 1]:
            raise DfkdError(f"several classes are called {twice[0][:40]!r}: name them apart")

    def read(self, raw: Any) -> Prediction:
        """Take N x classes logits.

        Raises:
            DfkdError: anything else.
        """
        if not isinstance(raw, Tensor) or raw.ndim != 2 or raw.shape[1] != self.num_classes:
            found = tuple(raw.shape) if isinstance(raw, Tensor) else type(raw).__name__
            raise DfkdError(f"the network must return N x {self.num_classes} logits, not {found}")
        if self.probabilities:
            raw = raw.float().clamp_min(torch.finfo(torch.float32).tiny).log()
        return Prediction(raw)

    def check_student(self, raw: Any, count: int, mode: str) -> None:
        """Raise unless a student returned ``count`` x classes logits; see ``Task``."""
        if not isinstance(raw, Tensor) or raw.ndim != 2 or len(raw) != count:
            found = tuple(raw.shape) if isinstance(raw, Tensor) else type(raw).__name__
            raise DfkdError(
                f"the student must return N x {self.num_classes} logits in {mode} mode, not {found}"
            )
        if raw.shape[1] != self.num_classes:
            raise DfkdError(
                f"the student has {raw.shape[1]} classes and the teacher "
                f"{self.num_classes}; set the student's ?num_classes={self.num_classes}"
            )
        if are_probabilities(raw):
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


def classification_of(
    raw: object, shape: Sequence[int], names: Sequence[str] | None
) -> Classification:
    """Find the classes in the answers to two samples.

    Args:
        raw: what the network returned.
        shape: of a sample, for the message.
        names: of the classes, where they are known.

    Raises:
        DfkdError: the answers are no N x classes logits.
    """
    if not isinstance(raw, Tensor) or raw.ndim != 2 or raw.shape[0] != 2:
        found = tuple(raw.shape) if isinstance(raw, Tensor) else type(raw).__name__
        sample = "x".join(map(str, shape))
        raise DfkdError(
            f"the network must return N x classes logits for {sample} images, not {found}"
        )
    return Classification(raw.shape[1], names, are_probabilities(raw))


def are_probabilities(raw: Tensor) -> bool:
    """Tell whether rows are probabilities of classes: none is negative, and each sums to 1.

    Args:
        raw: N x classes; on the meta device, which has no values, they are taken for logits.
    """
    if raw.is_meta or not raw.is_floating_point():
        return False
    rows = raw.detach().float()
    sums = rows.sum(1)
    return bool((rows >= 0).all()) and torch.allclose(sums, torch.ones_like(sums), atol=1e-3)

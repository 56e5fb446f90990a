"""What an output means: the one place that knows of classes, boxes or tokens."""

from typing import Any, Protocol

import torch
from torch import Generator, Tensor

from dfkd.tasks.prediction import Prediction


class Task(Protocol):
    """The meaning of a network's output.

    A class that names this one as its base has a row a sample and a target a class, as the
    defaults below say.

    Attributes:
        num_classes: what is counted, and named.
        names: one a class.
        width: K, logits a row.
        rows: rows a sample.
        targets: what a sample can be made for, counted from 0.
        widths: how many numbers a network may answer a sample with, the usual first.
    """

    num_classes: int
    names: tuple[str, ...]

    @property
    def width(self) -> int:
        """See above."""
        return self.num_classes

    @property
    def rows(self) -> int:
        """See above."""
        return 1

    @property
    def targets(self) -> int:
        """See above."""
        return self.num_classes

    @property
    def widths(self) -> tuple[int, ...]:
        """See above."""
        return (self.num_classes,)

    @property
    def of_students(self) -> "Task":
        """The task as students answer it, who give logits whatever the teacher ends in."""
        return self

    def read(self, raw: Any) -> Prediction:
        """Read what a network returned; raise a ``DfkdError`` where it is no such answer."""

    def check_student(self, raw: Any, count: int, mode: str) -> None:
        """Check what a student returned before it is trained.

        Args:
            raw: its output.
            count: of the samples it was shown.
            mode: ``training`` or ``eval``, for the message.

        Raises:
            DfkdError: it is no such answer; says what to change.
        """

    def sample_targets(
        self, count: int, rng: Generator, device: torch.device, *, balanced: bool = False
    ) -> Tensor:
        """Draw what ``count`` samples are to be made for.

        Args:
            count: of samples.
            rng: decides.
            device: of the result.
            balanced: every class as often as any other, in a drawn order.
        """

    def decide(self, prediction: Prediction) -> Tensor:
        """Return the target that an answer comes to: what it would be if it were right."""

    def supervised(self, prediction: Prediction, target: Tensor) -> Tensor:
        """Compute the loss of an answer against a target, a scalar."""

    def labels(self, prediction: Prediction, target: Tensor | None) -> Tensor:
        """Return the class of each row: of the target where there is one, else as answered."""
        return self.decide(prediction) if target is None else target

    def costs(self, prediction: Prediction, target: Tensor) -> Tensor:
        """Compute the loss of each sample's answer against its target, N values."""
        return self.supervised(prediction, target).expand(len(target))

    def aim(self, index: int) -> int:
        """Return the target of samples that are to show a class."""
        return index

    def shown(self, target: Tensor) -> Tensor:
        """Return the class that samples for a target show; ``aim``, undone."""
        return target

    def described(self, prediction: Prediction) -> list[str]:
        """Say what each sample was taken for, in a word or two."""
        return list(map(str, self.decide(prediction).tolist()))

    def counts(self, prediction: Prediction) -> Tensor:
        """Count the decisions by class, K int64 numbers: even is healthy, one is collapse."""

    def agreement(self, one: Prediction, other: Prediction) -> Tensor:
        """Return the share in [0, 1] of decisions that two answers have in common."""

    def metric(self) -> Any:
        """Build what measures answers against real targets: a ``torchmetrics.Metric``."""

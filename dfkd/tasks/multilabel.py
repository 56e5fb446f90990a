"""Several labels a sample, each on or off by itself: attributes, findings, tags."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from dfkd.errors import DfkdError
from dfkd.tasks.answers import find_logits
from dfkd.tasks.classification import check_names, undone_sigmoid
from dfkd.tasks.prediction import Prediction
from dfkd.tasks.task import Task
from dfkd.tasks.words import first_few


class MultiLabel(Task):
    """N x labels logits, read as a row of two classes a label: 0 for off, the logit for on.

    The softmax of such a row is the label's sigmoid, so that every loss of rows of logits is one
    of labels as it stands. Samples are made for one label on or off, whatever the others are:
    target 2l is label l off, 2l + 1 is label l on.

    Args:
        num_labels: at least two.
        names: one a label; ``"0"``, ``"1"``, ... when left out.
        probabilities: the network ends in sigmoids, which are undone.
        taken: where its logits were in what it returned (``dfkd.tasks.answers``), for a reader.

    Raises:
        DfkdError: one label, or names that are miscounted or not told apart.
    """

    width = 2

    def __init__(
        self,
        num_labels: int,
        names: Sequence[str] | None = None,
        probabilities: bool = False,
        taken: str = "",
    ) -> None:
        if num_labels < 2:
            raise DfkdError(
                "`task=multilabel` wants two labels at least: one output is two classes, which "
                "need no task"
            )
        self.num_classes, self.probabilities, self.taken = num_labels, probabilities, taken
        self.names = check_names(names, num_labels)

    @property
    def widths(self) -> tuple[int, ...]:
        """One number a label."""
        return (self.num_classes,)

    @property
    def rows(self) -> int:
        """One a label."""
        return self.num_classes

    @property
    def targets(self) -> int:
        """Every label off, and every label on."""
        return 2 * self.num_classes

    @property
    def of_students(self) -> "MultiLabel":
        """The same labels as students answer them: in logits."""
        return MultiLabel(self.num_classes, self.names) if self.probabilities else self

    def read(self, raw: Any) -> Prediction:
        """Take N x labels logits; raise a ``DfkdError`` otherwise."""
        found = find_logits(raw).logits
        if found.ndim != 2 or found.shape[1] != self.num_classes:
            raise DfkdError(
                f"the network must return N x {self.num_classes} logits, not {tuple(found.shape)}"
            )
        logits = undone_sigmoid(found) if self.probabilities else found
        on = logits.reshape(-1, 1)
        return Prediction(torch.cat([torch.zeros_like(on), on], 1))

    def check_student(self, raw: Any, count: int, mode: str) -> None:
        """Raise unless a student returned ``count`` x labels logits; see ``Task``."""
        found = find_logits(raw).logits
        if tuple(found.shape) != (count, self.num_classes):
            raise DfkdError(
                f"the student must return N x {self.num_classes} logits in {mode} mode, one a "
                f"label of the teacher, not {tuple(found.shape)}; set its "
                f"?num_classes={self.num_classes}"
            )

    def sample_targets(
        self, count: int, rng: Generator, device: torch.device, *, balanced: bool = False
    ) -> Tensor:
        """Draw ``count`` labels and whether they are on, all as likely; see ``Task``."""
        if balanced:
            order = torch.randperm(self.targets, generator=rng)
            return order[torch.arange(count) % len(order)].to(device)
        return torch.randint(self.targets, (count,), generator=rng, device=rng.device).to(device)

    def decide(self, prediction: Prediction) -> Tensor:
        """File each sample under its rarest label, on or off, of those answered together."""
        on = self._on(prediction)
        counts = torch.stack([(~on).sum(0), on.sum(0)])  # 2 x labels
        labels = torch.arange(self.num_classes, device=on.device)
        rarest = counts[on.long(), labels].argmin(1)
        return 2 * rarest + on.gather(1, rarest[:, None])[:, 0].long()

    def labels(self, prediction: Prediction, target: Tensor | None) -> Tensor:
        """Return what each row is to be, 0 or 1: its target where it has one, else as answered.

        Args:
            prediction: of N samples.
            target: N targets; or N times labels of 0 and 1, which are taken as they are.
        """
        answered = prediction.logits.argmax(1)
        if target is None or len(target) == len(answered):
            return answered if target is None else target
        places = torch.arange(len(target), device=target.device) * self.num_classes + target // 2
        return answered.scatter(0, places, target % 2)

    def costs(self, prediction: Prediction, target: Tensor) -> Tensor:
        """Compute the cross-entropy of the label that each sample was made for, N values."""
        logits = prediction.logits
        if len(target) == len(logits):
            every = F.cross_entropy(logits, target.long(), reduction="none")
            return every.view(-1, self.num_classes).mean(1)
        rows = logits.view(len(target), self.num_classes, 2)
        own = rows[torch.arange(len(target), device=target.device), target // 2]
        return F.cross_entropy(own, target % 2, reduction="none")

    def supervised(self, prediction: Prediction, target: Tensor) -> Tensor:
        """Compute the mean of ``costs``: of all other labels nothing is asked."""
        return self.costs(prediction, target).mean()

    def counts(self, prediction: Prediction) -> Tensor:
        """Count how often each label is on."""
        return self._on(prediction).sum(0)

    def agreement(self, one: Prediction, other: Prediction) -> Tensor:
        """Return the share of labels on which two answers decide alike."""
        return (one.logits.argmax(1) == other.logits.argmax(1)).float().mean()

    def aim(self, index: int) -> int:
        """Return the target of samples that are to show a label."""
        return 2 * index + 1

    def shown(self, target: Tensor) -> Tensor:
        """Return the label that samples for a target are made for, on or off."""
        return target // 2

    def described(self, prediction: Prediction) -> list[str]:
        """Name the labels that are on, for each sample."""
        return [
            first_few((self.names[place] for place in row.nonzero()[:, 0].tolist()), 3) or "none"
            for row in self._on(prediction).cpu()
        ]

    def metric(self) -> Any:
        """Build a mean average precision over labels."""
        from torchmetrics.classification import MultilabelAveragePrecision

        return MultilabelAveragePrecision(self.num_classes, average="macro")

    def _on(self, prediction: Prediction) -> Tensor:
        return prediction.logits.argmax(1).view(-1, self.num_classes).bool()


def multilabel_of(
    raw: object,
    shape: Sequence[int],
    names: Sequence[str] | None,
    within_one: Callable[[], bool] = lambda: False,
) -> MultiLabel:
    """Find the labels in the answers to two samples; see ``classification_of``."""
    answer = find_logits(raw)
    found = tuple(answer.logits.shape)
    if len(found) != 2 or found[0] != 2:
        sample = "x".join(map(str, shape))
        raise DfkdError(
            f"the network must return N x labels logits for {sample} images, not {found}"
        )
    return MultiLabel(found[1], names, within_one(), answer.taken)

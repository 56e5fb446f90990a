"""What came out of one forward pass of teacher and student: all that a loss can take."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from torch import Tensor

from dfkd.tasks import Prediction


class Outputs(NamedTuple):
    """What one network gave for a batch; what no loss needs is left empty.

    Attributes:
        prediction: its answer, in float32.
        statistics: the record of the teacher's prior.
        features: one tensor a compared depth, large maps first: N x C x H x W, or N x C.
        margins: of each of the features, the mean of what its last batch-norm gives below zero,
            a channel each; None for features without such a norm.
        gradients: of the logit of the teacher's decision, by each of the features.
        last_map: what the linear classifier averages, N x C x H x W.
        head: that classifier's weight, classes x C.
        embedding: what the classifier reads, N x D.
        layers: the outputs of layers that a method names itself.
    """

    prediction: Prediction
    statistics: Any = ()
    features: tuple[Tensor, ...] = ()
    margins: tuple[Tensor | None, ...] = ()
    gradients: tuple[Tensor, ...] = ()
    last_map: Tensor | None = None
    head: Tensor | None = None
    embedding: Tensor | None = None
    layers: Mapping[str, Tensor] = MappingProxyType({})

    @property
    def logits(self) -> Tensor:
        """The prediction's rows of logits."""
        return self.prediction.logits

    @property
    def weight(self) -> Tensor | None:
        """Which of the rows count, and how much."""
        return self.prediction.weight


class PairOutputs(NamedTuple):
    """What teacher and student gave for the same samples.

    Attributes:
        inputs: the samples, outside the networks' own space.
        teacher: its side; part of no graph while a student learns.
        student: the other side; None where no student is asked.
        targets: what the samples were made for, where they were.
        task, prior: the teacher's own.
        temperature: of soft targets.
        normalized: the samples as the networks take them, where a loss needs them so.
    """

    inputs: Tensor
    teacher: Outputs
    student: Outputs | None = None
    targets: Any = None
    task: Any = None
    prior: Any = None
    temperature: float = 1.0
    normalized: Tensor | None = None

    @property
    def decisions(self) -> Any:
        """The class of each row of the teacher's answers."""
        return self.task.labels(self.teacher.prediction, None)

    @property
    def labels(self) -> Any:
        """The class of each row that the samples were made for, else the teacher's decision."""
        return self.task.labels(self.teacher.prediction, self.targets)

    @property
    def aims(self) -> Any:
        """What the samples were made for, else what the teacher's answers come to."""
        return self.decisions if self.targets is None else self.targets

    @property
    def answered(self) -> Outputs:
        """The student's side, where there is one."""
        assert self.student is not None
        return self.student

    def of_all(self, gather: Callable[[Tensor], Tensor], *, features: bool) -> "PairOutputs":
        """Return what relations compare, for the samples of all processes.

        Args:
            gather: rows of one process -> those of all (``Runtime.all_gather_with_grad``).
            features: whether a relation takes features at all; they are many numbers.
        """
        last = slice(-1, None) if features else slice(0)

        def whole(side: Outputs) -> Outputs:
            embedding = None if side.embedding is None else gather(side.embedding)
            features = tuple(map(gather, side.features[last]))
            prediction = side.prediction.mapped(gather)
            return side._replace(prediction=prediction, features=features, embedding=embedding)

        return self._replace(teacher=whole(self.teacher), student=whole(self.answered))

"""What a teacher shows of a batch."""

from typing import Any, NamedTuple, Protocol

from torch import Tensor

from dfkd.tasks import Prediction


class Trace(NamedTuple):
    """What a teacher shows of a batch: a plain value, no hook left behind.

    Attributes:
        prediction: its answer, read by its task.
        statistics: what its prior recorded; of batch-norms one entry a layer, in their order.
        features: the outputs of the layers asked for, by name.
    """

    prediction: Prediction
    statistics: Any
    features: dict[str, Tensor]

    @property
    def logits(self) -> Tensor:
        """The prediction's rows of logits; N x classes where a sample is a row."""
        return self.prediction.logits


class FastTrace(Protocol):
    """Another way to the same ``Trace``, for the batches that it ``accepts``."""

    def accepts(self, images: Tensor) -> bool:
        """Tell whether it was made for such a batch."""

    def __call__(self, images: Tensor) -> Trace:
        """Logits and statistics."""

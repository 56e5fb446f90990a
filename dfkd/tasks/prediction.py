"""What a network answers, whatever the task: rows of logits, and what goes with each row."""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor


class Prediction(NamedTuple):
    """An answer to N samples as M rows: samples, anchors, tokens or pixels; M is a multiple of N.

    Attributes:
        logits: M x K.
        weight: M, which rows count and how much; None: all alike.
        values: M x D, what is regressed beside the classes; None: nothing.
    """

    logits: Tensor
    weight: Tensor | None = None
    values: Tensor | None = None

    def detached(self) -> "Prediction":
        """Return the same values as part of no graph."""
        return self.mapped(Tensor.detach)

    def float(self) -> "Prediction":
        """Return the same values in float32."""
        return self.mapped(Tensor.float)

    def of_samples(self, index: Tensor | slice, count: int) -> "Prediction":
        """Return the rows of some samples.

        Args:
            index: which of them, as a tensor is indexed.
            count: N, how many samples the answer is to.
        """
        return self.mapped(lambda part: rows_of(part, index, count))

    def mapped(self, function: Callable[[Tensor], Tensor]) -> "Prediction":
        """Apply ``function`` to every part that is there."""
        weight, values = (None if part is None else function(part) for part in self[1:])
        return Prediction(function(self.logits), weight, values)


def rows_of(values: Tensor, index: Tensor | slice, count: int) -> Tensor:
    """Return the rows of some samples, those of one sample side by side.

    Args:
        values: M x ..., M/N rows a sample.
        index: which of the samples, as a tensor is indexed.
        count: N.
    """
    if len(values) == count:
        return values[index]
    return values.view(count, len(values) // count, *values.shape[1:])[index].flatten(0, 1)

"""Answers of several rows a sample: put side by side to be stored, and taken apart again."""

from collections.abc import Sequence

import torch
from torch import Tensor

from dfkd.errors import DfkdError
from dfkd.protocols import Batch
from dfkd.tasks import Prediction

DIMENSIONS = {"logits": 2, "weight": 1, "values": 2}  # of a prediction's parts


def joined(batches: Sequence[Batch]) -> Batch:
    """Put batches with answers and targets into one.

    Args:
        batches: from banks of one teacher.
    """
    predictions = [batch.prediction for batch in batches if batch.prediction is not None]
    parts = zip(*predictions, strict=True)
    logits, weight, values = (None if part[0] is None else torch.cat(part) for part in parts)
    assert logits is not None
    prediction = Prediction(logits, weight, values)
    target = torch.cat([batch.target for batch in batches if batch.target is not None])
    return Batch(torch.cat([batch.inputs for batch in batches]), prediction, target)


def by_sample(name: str, values: Tensor, count: int) -> Tensor:
    """Return N x ... values, the rows of a sample side by side where it has several.

    Args:
        name: of what is stored.
        values: a row each, or several rows a sample.
        count: of the samples.

    Raises:
        DfkdError: so many rows are not those of so many samples.
    """
    if name == "inputs" or len(values) == count:
        return values
    if len(values) % count:
        raise DfkdError(f"the bank wants {name} of {count} samples, not {len(values)}")
    return values.view(count, -1, *values.shape[1:])


def rows_again(values: Tensor | None, dimensions: int) -> Tensor | None:
    """Return M x ... values of N samples with M/N rows each; undo ``by_sample``.

    Args:
        values: of N samples, or None.
        dimensions: that they have where a sample is a row.
    """
    return values.flatten(0, 1) if values is not None and values.ndim > dimensions else values

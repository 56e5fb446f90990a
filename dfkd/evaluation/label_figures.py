"""Labels that hold side by side, each by itself: how often networks are right, how they rank."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dfkd.datasets import ImageData
from dfkd.evaluation.accuracy import predictions
from dfkd.tasks import Task
from dfkd.teacher.spec import ImageSpec


@dataclass(frozen=True)
class LabelFigures:
    """One label of one network.

    Attributes:
        name: of the label.
        share: of images that have it, in [0, 1].
        accuracy: share of images on which the network is right about it.
        average_precision: how well its answers rank the images; None where no image has the label.
    """

    name: str
    share: float
    accuracy: float
    average_precision: float | None


def measure_labels(
    network: nn.Module, task: Task, spec: ImageSpec, data: ImageData
) -> list[LabelFigures]:
    """Measure each label of a network.

    Args:
        network: expects images normalised by ``spec``.
        task: reads its answers; of labels (``dfkd.tasks.MultiLabel``).
        spec: of the images.
        data: images with N x labels of 0 and 1; read once.
    """
    from torchmetrics.functional.classification import binary_average_precision

    margins, truths = [], []
    for images, labels in data.batches():
        rows = predictions(network, spec, images, task=task)
        margins.append((rows[:, 1] - rows[:, 0]).view(len(labels), -1))
        truths.append(labels)
    scores, truth = torch.cat(margins), torch.cat(truths)
    right = ((scores > 0) == truth.bool()).float().mean(0)

    def ranked(index: int) -> float | None:
        own: Tensor = truth[:, index]
        if not bool(own.any()):
            return None
        return float(binary_average_precision(scores[:, index].sigmoid(), own))

    return [
        LabelFigures(name, float(truth[:, i].float().mean()), float(right[i]), ranked(i))
        for i, name in enumerate(task.names)
    ]


def mean_precision(figures: Sequence[LabelFigures]) -> float | None:
    """Return the mean average precision of the labels that some image has; None without any."""
    known = [one.average_precision for one in figures if one.average_precision is not None]
    return sum(known) / len(known) if known else None


def label_report(
    models: Sequence[tuple[str, nn.Module, ImageSpec]], tasks: Sequence[Any], data: ImageData
) -> dict[str, Any]:
    """Return ``mean_average_precision`` by network, and ``labels``, a row a label and network."""
    found = {
        name: measure_labels(network, task, spec, data)
        for (name, network, spec), task in zip(models, tasks, strict=True)
    }
    return {
        "mean_average_precision": {name: mean_precision(rows) for name, rows in found.items()},
        "labels": [
            {"network": name, **asdict(row)} for name, rows in found.items() for row in rows
        ],
    }

"""Networks side by side on one data set."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from dfkd.access.teacher import MeteredAnswers
from dfkd.datasets import ImageData, check_fits
from dfkd.errors import DfkdError
from dfkd.evaluation.accuracy import shares
from dfkd.evaluation.cost import file_size, flops, latencies
from dfkd.networks import count_parameters
from dfkd.tasks import Task
from dfkd.teacher.spec import ImageSpec


@dataclass(frozen=True)
class Measurement:
    """One network on one data set.

    Attributes:
        name: of the network.
        accuracy: share of the images that it gets right, in [0, 1].
        agreement: share of the images on which it answers as the first network does.
        parameters: how many it has; None where it is not seen, as in the next.
        file_bytes: of its weights as safetensors.
        latency_ms_1: milliseconds of a pass on one image.
        latency_ms_32: milliseconds of a pass on 32 images.
        flops: operations on one image; see ``dfkd.evaluation.cost.flops``.
    """

    name: str
    accuracy: float
    agreement: float
    parameters: int | None
    file_bytes: int | None
    latency_ms_1: float
    latency_ms_32: float
    flops: int


def measure_networks(
    models: Sequence[tuple[str, nn.Module, ImageSpec]],
    data: ImageData,
    columns: Sequence[Sequence[int] | None] = (),
    tasks: Sequence[Task | None] = (),
) -> list[Measurement]:
    """Measure every network of ``(name, network, spec)`` on ``data``, in their order.

    Args:
        models: names, networks and what each takes.
        data: read once; all networks answer a batch before the next one is read.
        columns: of each network, its outputs in the order that the labels count in, as
            ``dfkd.tasks.orders`` finds it by name; None, or all left out: they are.
        tasks: what the answers of each network mean; None, or all left out: classes.

    Raises:
        DfkdError: no model, or data that does not fit one of them.
    """
    if not models:
        raise DfkdError("nothing to compare: name at least one MODEL")
    for _, _, spec in models:
        check_fits(data, spec)
    right = shares(models, data, columns or [None] * len(models), tasks or [None] * len(models))
    single, batched = (_latencies(models, size) for size in (1, 32))
    return [
        Measurement(
            name,
            *right[index],
            None if isinstance(network, MeteredAnswers) else count_parameters(network),
            None if isinstance(network, MeteredAnswers) else file_size(network),
            single[index],
            batched[index],
            0 if isinstance(network, MeteredAnswers) else flops(network, spec),
        )
        for index, (name, network, spec) in enumerate(models)
    ]


def _latencies(models: Sequence[tuple[str, nn.Module, ImageSpec]], batch: int) -> list[float]:
    """As ``latencies``; NaN where answers cost something: nothing is asked for the clock's sake."""
    own = [
        (network, spec) for _, network, spec in models if not isinstance(network, MeteredAnswers)
    ]
    times = iter(latencies(own, batch) if own else ())
    return [math.nan if isinstance(one, MeteredAnswers) else next(times) for _, one, _ in models]

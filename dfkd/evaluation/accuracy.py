"""What networks answer, how often they are right, and how often they agree."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dfkd.datasets import ImageData, check_fits
from dfkd.errors import DfkdError
from dfkd.networks.foreign import calling
from dfkd.networks.modes import eval_mode
from dfkd.tasks import Task
from dfkd.tasks.answers import find_logits
from dfkd.tasks.classification import both_classes
from dfkd.teacher import Teacher
from dfkd.teacher.layout import fitted, layout_of
from dfkd.teacher.spec import ImageSpec


@torch.no_grad()
def predictions(
    model: nn.Module | Teacher,
    spec: ImageSpec,
    images: Tensor,
    batch_size: int = 256,
    device: torch.device | str | None = None,
    task: Task | None = None,
) -> Tensor:
    """Compute a network's logits in eval mode: M x K, float32 on the CPU.

    Args:
        model: a network that expects images normalised by ``spec``, or a ``Teacher``.
        spec: shape and normalisation of the images.
        images: N x C x H x W, uint8 or float in [0, 1].
        batch_size: images shown at once.
        device: where the model is; by default where its first parameter lies.
        task: what the answers of a network mean; classes, when left out. A teacher has its own.
    """
    network = model.network if isinstance(model, Teacher) else model
    place = device_of(network) if device is None else torch.device(device)
    with eval_mode(network):
        logits = [
            compute_logits(network, spec.normalize(in_unit_range(chunk.to(place)))).float().cpu()
            for chunk in torch.split(images, batch_size)
        ]
    read = model.task if isinstance(model, Teacher) else task
    found = torch.cat(logits)
    return both_classes(found) if read is None else read.read(found).logits


def in_unit_range(images: Tensor) -> Tensor:
    """Return images as float in [0, 1], from such or from bytes."""
    return images.float() / 255 if images.dtype == torch.uint8 else images.float()


def compute_logits(network: nn.Module, images: Tensor) -> Tensor:
    """Compute what a network says of normalised images; in halves where all are too many.

    A network may have a largest batch, a device its memory: neither changes an answer.

    Returns:
        Its answers as ``find_logits`` finds them, N x classes as a rule.

    Raises:
        DfkdError: it fails on a single one; in one line.
    """
    try:
        with calling("the network", images.shape, resize="set `image`"):
            return find_logits(network(fitted(images, layout_of(network)))).logits
    except DfkdError as error:
        if len(images) == 1 or error.final:
            raise
        return torch.cat([compute_logits(network, half) for half in images.chunk(2)])


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Return the share of images whose largest logit is the label's; N x classes, N -> [0, 1]."""
    if int(labels.max()) >= logits.shape[1]:
        raise DfkdError(f"label {int(labels.max())} in the data, and {logits.shape[1]} classes")
    return float((logits.argmax(1) == labels).float().mean())


def agreement(logits: Tensor, others: Tensor) -> float:
    """Return the share of images on which two networks answer alike; N x classes each."""
    return float((logits.argmax(1) == others.argmax(1)).float().mean())


def streamed_accuracy(
    network: nn.Module | Teacher, spec: ImageSpec, data: ImageData, task: Task | None = None
) -> float:
    """Return the share of ``data`` that a network gets right; read once, batch by batch."""
    model = network.network if isinstance(network, Teacher) else network
    read = network.task if isinstance(network, Teacher) else task
    return shares([("", model, spec)], data, [None], [read])[0][0]


def shares(
    models: Sequence[tuple[str, nn.Module, ImageSpec]],
    data: ImageData,
    columns: Sequence[Sequence[int] | None],
    tasks: Sequence[Task | None],
) -> list[tuple[float, float]]:
    """Return every network's accuracy and agreement with the first, reading ``data`` once.

    Args:
        models: names, networks and what each takes.
        data: labelled images.
        columns, tasks: of each network, as ``measure_networks`` has them.
    """
    right, alike, total = [0] * len(models), [0] * len(models), 0
    for images, labels in data.batches():
        total += labels.numel()
        decisions: list[Tensor] = []
        for index, ((_, network, spec), own) in enumerate(zip(models, columns, strict=True)):
            logits = predictions(network, spec, images, task=tasks[index])
            logits = logits[:, slice(None) if own is None else [*own]]
            if int(labels.max()) >= logits.shape[1]:
                check_fits(data, spec, logits.shape[1])
            decisions.append(logits.argmax(1))
            right[index] += int((decisions[index] == labels.flatten()).sum())
            alike[index] += int((decisions[index] == decisions[0]).sum())
    # In float32, as torchmetrics divides.
    return [
        (float(torch.tensor(a) / total), float(torch.tensor(b) / total))
        for a, b in zip(right, alike, strict=True)
    ]


def device_of(network: nn.Module) -> torch.device:
    """Return where a network's first parameter or buffer lies; the CPU where it has none."""
    tensors = (*network.parameters(), *network.buffers())
    return tensors[0].device if tensors else torch.device("cpu")

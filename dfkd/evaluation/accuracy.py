"""Numbers that put networks side by side: accuracy, agreement, size, latency."""

import time
import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import median

import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from torchmetrics.functional.classification import multiclass_accuracy

from dfkd.datasets import ImageData, check_fits
from dfkd.errors import DfkdError
from dfkd.loading.artefact import plain_state
from dfkd.networks import count_parameters
from dfkd.networks.foreign import calling
from dfkd.networks.modes import eval_mode
from dfkd.teacher import Teacher
from dfkd.teacher.layout import fitted, layout_of
from dfkd.teacher.spec import ImageSpec

PATIENCE = 3.0
"""Seconds that timing one network at one batch size may take, once three rounds are done."""


@dataclass(frozen=True)
class Measurement:
    """One network on one data set. ``agreement`` is the share of images on which it answers
    as the first network does; latencies are milliseconds a batch; ``flops`` see there."""

    name: str
    accuracy: float
    agreement: float
    parameters: int
    file_bytes: int
    latency_ms_1: float
    latency_ms_32: float
    flops: int


@torch.no_grad()
def predictions(
    model: nn.Module | Teacher,
    spec: ImageSpec,
    images: Tensor,
    batch_size: int = 256,
    device: torch.device | str | None = None,
) -> Tensor:
    """Compute a network's logits in eval mode: N x classes, float32 on the CPU.

    Args:
        model: a network that expects images normalised by ``spec``, or a ``Teacher``.
        spec: shape and normalisation of the images.
        images: N x C x H x W, uint8 or float in [0, 1].
        batch_size: images shown at once.
        device: where the model is; by default where its first parameter lies.
    """
    network = model.network if isinstance(model, Teacher) else model
    place = _device(network) if device is None else torch.device(device)
    with eval_mode(network):
        logits = [
            ask(network, spec.normalize(in_unit_range(chunk.to(place)))).float().cpu()
            for chunk in torch.split(images, batch_size)
        ]
    return torch.cat(logits)


def in_unit_range(images: Tensor) -> Tensor:
    """Return images as float in [0, 1], from such or from bytes."""
    return images.float() / 255 if images.dtype == torch.uint8 else images.float()


def ask(network: nn.Module, images: Tensor) -> Tensor:
    """Compute the logits of normalised images, N x classes; in halves where all are too many.

    A network may have a largest batch, a device its memory: neither changes an answer.

    Raises:
        DfkdError: it fails on a single one; in one line.
    """
    try:
        with calling("the network", images.shape, resize="set `image`"):
            logits: Tensor = network(fitted(images, layout_of(network)))
    except DfkdError:
        if len(images) == 1:
            raise
        return torch.cat([ask(network, half) for half in images.chunk(2)])
    return logits


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Share of images whose largest logit is the label's; N x classes, N -> [0, 1]."""
    if int(labels.max()) >= logits.shape[1]:
        raise DfkdError(f"label {int(labels.max())} in the data, and {logits.shape[1]} classes")
    score = multiclass_accuracy(logits, labels, num_classes=logits.shape[1], average="micro")
    return float(score)


def agreement(logits: Tensor, others: Tensor) -> float:
    """Share of images on which two networks answer alike; N x classes each -> [0, 1]."""
    classes = max(logits.shape[1], others.shape[1])
    score = multiclass_accuracy(
        logits.argmax(1), others.argmax(1), num_classes=classes, average="micro"
    )
    return float(score)


def file_size(network: nn.Module) -> int:
    """Return the bytes of the network's safetensors file, without metadata."""
    return len(save(plain_state(network)))


@torch.no_grad()
def flops(network: nn.Module, spec: ImageSpec) -> int:
    """Count operations on one image: convolutions, products, attention; a multiply-add is two."""
    # What oneDNN and cuDNN make one kernel of (an LSTM's layers) no counter can look into.
    backends = torch.backends.mkldnn, torch.backends.cudnn
    image = spec.normalize(torch.full((1, *spec.shape), 0.5)).to(_device(network))
    with ExitStack() as stack:
        stack.enter_context(eval_mode(network))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")  # oneDNN's, of a format that no GPU here has
        for backend in backends:
            stack.enter_context(backend.flags(enabled=False))
        counter = stack.enter_context(FlopCounterMode(display=False))
        ask(network, image)
    return int(counter.get_total_flops())


def latency(network: nn.Module, spec: ImageSpec, batch_size: int, rounds: int = 15) -> float:
    """Median milliseconds of a forward pass on ``batch_size`` images, after warming up."""
    return latencies([(network, spec)], batch_size, rounds)[0]


@torch.inference_mode()
def latencies(
    models: Sequence[tuple[nn.Module, ImageSpec]], batch_size: int, rounds: int = 15
) -> list[float]:
    """Measure as ``latency`` several networks in turn: a busy moment then slows all of them.

    Fewer rounds, but at least three, where they would take longer than ``PATIENCE``.
    """
    inputs = []
    for network, spec in models:
        generator = torch.Generator().manual_seed(0)
        images = torch.rand(batch_size, *spec.shape, generator=generator)
        inputs.append((network, spec.normalize(images).to(_device(network))))
    times: list[list[float]] = [[] for _ in models]
    with eval_mode(*(network for network, _ in models)):
        start = time.perf_counter()
        for _ in range(2):
            for network, images in inputs:
                _milliseconds(network, images)
        for done in range(rounds):
            if done >= 3 and time.perf_counter() - start > PATIENCE * len(models):
                break
            for series, (network, images) in zip(times, inputs, strict=True):
                series.append(_milliseconds(network, images))
    return [median(series) for series in times]


def _milliseconds(network: nn.Module, images: Tensor) -> float:
    start = time.perf_counter()
    ask(network, images)
    if images.device.type == "cuda":
        torch.cuda.synchronize(images.device)
    elif images.device.type == "mps":
        torch.mps.synchronize()
    return 1000 * (time.perf_counter() - start)


def _device(network: nn.Module) -> torch.device:
    tensors = (*network.parameters(), *network.buffers())
    return tensors[0].device if tensors else torch.device("cpu")


def compare(
    models: Sequence[tuple[str, nn.Module, ImageSpec]],
    data: ImageData,
    columns: Sequence[Sequence[int] | None] = (),
) -> list[Measurement]:
    """Measure every network of ``(name, network, spec)`` on ``data``, in their order.

    Args:
        models: names, networks and what each takes.
        data: read once; all networks answer a batch before the next one is read.
        columns: of each network, its outputs in the order that the labels count in, as
            ``dfkd.tasks.orders`` finds it by name; None, or all left out: they are.

    Raises:
        DfkdError: no model, or data that does not fit one of them.
    """
    if not models:
        raise DfkdError("nothing to compare: name at least one MODEL")
    for _, _, spec in models:
        check_fits(data, spec)
    shares = _shares(models, data, columns or [None] * len(models))
    timed = [(network, spec) for _, network, spec in models]
    single, batched = latencies(timed, 1), latencies(timed, 32)
    return [
        Measurement(
            name,
            *shares[index],
            count_parameters(network),
            file_size(network),
            single[index],
            batched[index],
            flops(network, spec),
        )
        for index, (name, network, _) in enumerate(models)
    ]


def streamed_accuracy(network: nn.Module | Teacher, spec: ImageSpec, data: ImageData) -> float:
    """Share of ``data`` that a network gets right, in [0, 1]; read once, batch by batch."""
    model = network.network if isinstance(network, Teacher) else network
    return _shares([("", model, spec)], data, [None])[0][0]


def _shares(
    models: Sequence[tuple[str, nn.Module, ImageSpec]],
    data: ImageData,
    columns: Sequence[Sequence[int] | None],
) -> list[tuple[float, float]]:
    """Accuracy and agreement with the first of every network, from one reading of ``data``."""
    right, alike, total = [0] * len(models), [0] * len(models), 0
    for images, labels in data.batches():
        total += len(labels)
        decisions: list[Tensor] = []
        for index, ((_, network, spec), own) in enumerate(zip(models, columns, strict=True)):
            logits = predictions(network, spec, images)[:, slice(None) if own is None else [*own]]
            if int(labels.max()) >= logits.shape[1]:
                check_fits(data, spec, logits.shape[1])
            decisions.append(logits.argmax(1))
            right[index] += int((decisions[index] == labels).sum())
            alike[index] += int((decisions[index] == decisions[0]).sum())
    # In float32, as torchmetrics divides.
    return [
        (float(torch.tensor(a) / total), float(torch.tensor(b) / total))
        for a, b in zip(right, alike, strict=True)
    ]

"""What a network takes: bytes, operations, time."""

import time
import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from statistics import median

import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from dfkd.evaluation.accuracy import compute_logits, device_of
from dfkd.loading.artefact import plain_state
from dfkd.networks.modes import eval_mode
from dfkd.teacher.spec import ImageSpec

PATIENCE = 3.0
"""Seconds that timing one network at one batch size may take, once three rounds are done."""


def file_size(network: nn.Module) -> int:
    """Return the bytes of the network's safetensors file, without metadata."""
    return len(save(plain_state(network)))


@torch.no_grad()
def flops(network: nn.Module, spec: ImageSpec) -> int:
    """Count operations on one image: convolutions, products, attention; a multiply-add is two."""
    # What oneDNN and cuDNN make one kernel of (an LSTM's layers) no counter can look into.
    backends = torch.backends.mkldnn, torch.backends.cudnn
    image = spec.normalize(torch.full((1, *spec.shape), 0.5)).to(device_of(network))
    with ExitStack() as stack:
        stack.enter_context(eval_mode(network))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")  # oneDNN's, of a format that no GPU here has
        for backend in backends:
            stack.enter_context(backend.flags(enabled=False))
        counter = stack.enter_context(FlopCounterMode(display=False))
        compute_logits(network, image)
    return int(counter.get_total_flops())


def latency(network: nn.Module, spec: ImageSpec, batch_size: int, rounds: int = 15) -> float:
    """Return the median milliseconds of a forward pass on ``batch_size`` images, once warm."""
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
        inputs.append((network, spec.normalize(images).to(device_of(network))))
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
    compute_logits(network, images)
    if images.device.type == "cuda":
        torch.cuda.synchronize(images.device)
    elif images.device.type == "mps":
        torch.mps.synchronize()
    return 1000 * (time.perf_counter() - start)

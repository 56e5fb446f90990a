"""What a synthesis step costs: variants interleaved in one process, medians and spread.

A busy machine slows all variants alike, so ratios mean something where times do not.
"""

import platform
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch

from dfkd.losses.statistics import norm_distance
from dfkd.teacher import Teacher


def bench_step(teacher: Teacher, batch_size: int, rounds: int) -> dict[str, Any]:
    """Forward and backward to the pixels, bare and with all statistics, in milliseconds."""
    images = torch.rand(batch_size, *teacher.spec.shape, device=teacher.device)
    images = images.contiguous(memory_format=torch.channels_last)
    teacher.to(teacher.device)

    def bare() -> None:
        pixels = images.clone(memory_format=torch.preserve_format).requires_grad_()
        teacher(pixels).logsumexp(1).mean().backward()  # type: ignore[no-untyped-call]

    def with_statistics() -> None:
        pixels = images.clone(memory_format=torch.preserve_format).requires_grad_()
        trace = teacher.trace(pixels, statistics=True)
        loss = trace.logits.logsumexp(1).mean() + norm_distance(trace.statistics)
        loss.backward()  # type: ignore[no-untyped-call]

    variants = {"bare network": bare, "with statistics": with_statistics}
    times = interleave(variants, rounds)
    base = median(times["bare network"])
    return {
        "what": "step",
        "batch_size": batch_size,
        "image": teacher.spec.shape,
        "dtype": "float32",
        "memory_format": "channels_last",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "device": str(teacher.device),
        "variants": [
            {
                "name": name,
                "median_ms": median(series),
                "low_ms": min(series),
                "high_ms": max(series),
                "ratio": median(series) / base,
            }
            for name, series in times.items()
        ],
    }


def interleave(variants: dict[str, Callable[[], None]], rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each variant, ``rounds`` times in turn after two warm-up turns."""
    times: dict[str, list[float]] = {name: [] for name in variants}
    for turn in range(rounds + 2):
        for name, work in variants.items():
            start = time.perf_counter()
            work()
            if turn >= 2:
                times[name].append(1000 * (time.perf_counter() - start))
    return times

"""Time variants in turn, in one process: a busy machine slows all alike, ratios stay."""

import platform
import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import Any

import torch


def interleave(
    variants: Mapping[str, Callable[[], object]], rounds: int, synchronize: Callable[[], None]
) -> dict[str, list[float]]:
    """Time the variants in turn, ``rounds`` times after two warm-up turns, in milliseconds."""
    times: dict[str, list[float]] = {name: [] for name in variants}
    for turn in range(rounds + 2):
        for name, work in variants.items():
            start = time.perf_counter()
            work()
            synchronize()
            if turn >= 2:
                times[name].append(1000 * (time.perf_counter() - start))
    return times


def synchronizer(device: torch.device) -> Callable[[], None]:
    """Return a function that waits for the kernels of ``device``; it does nothing on a CPU."""
    return torch.cuda.synchronize if device.type == "cuda" else lambda: None


def summarize(times: Mapping[str, list[float]]) -> list[dict[str, Any]]:
    """Summarise each variant: median, extremes, and ratio to the first, in milliseconds."""
    base = median(next(iter(times.values())))
    return [
        {
            "name": name,
            "median_ms": median(series),
            "low_ms": min(series),
            "high_ms": max(series),
            "ratio": median(series) / base,
        }
        for name, series in times.items()
    ]


def circumstances(device: torch.device) -> dict[str, Any]:
    """Return what a timing depends on: threads, versions and device."""
    return {
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "device": str(device),
    }


def timing_report(
    what: str,
    batch_size: int,
    image: tuple[int, ...],
    device: torch.device,
    times: Mapping[str, list[float]],
    **facts: Any,
) -> dict[str, Any]:
    """Put the timings of a bench beside what they depend on, as ``dfkd bench`` writes them.

    Args:
        what: was timed.
        batch_size: of each variant.
        image: the shape of one.
        device: where.
        times: as ``interleave`` gives them.
        **facts: of this bench alone.
    """
    return {
        "what": what,
        "batch_size": batch_size,
        "image": image,
        "dtype": "float32",
        **facts,
        **circumstances(device),
        "variants": summarize(times),
    }

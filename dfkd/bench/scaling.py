"""How a synthesis step's cost grows with batch, resolution, classes and depth."""

from typing import Any

import torch

from dfkd.bench.timing import circumstances, interleave, summarize, synchronizer
from dfkd.losses.statistics import norm_distance
from dfkd.networks import initialise, resnet
from dfkd.teacher import Teacher
from dfkd.teacher.folding import fold
from dfkd.teacher.spec import ImageSpec

_BASE = {"batch": 32, "side": 32, "classes": 10, "depth": 20}
_SWEEPS = {
    "batch": (32, 64, 128, 256),
    "side": (32, 48, 64, 96),
    "classes": (10, 100, 1000),
    "depth": (8, 20, 32, 56),
}
"""Values of one of the four while the others stay at ``_BASE``; a ResNet of the bundled kind."""


def bench_scaling(rounds: int, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Time a step to the pixels with all statistics: folded, float32, channels_last."""
    rows: list[dict[str, Any]] = []
    for name, values in _SWEEPS.items():
        variants = {f"{name} {value}": _step({**_BASE, name: value}, device) for value in values}
        times = interleave(variants, rounds, synchronizer(torch.device(device)))
        for value, row in zip(values, summarize(times), strict=True):
            pixels = (value / values[0]) ** {"batch": 1, "side": 2}.get(name, 0)
            rows.append({**row, "per_pixel": row["ratio"] / pixels})
    return {
        "what": "scaling",
        "base": _BASE,
        "dtype": "float32",
        **circumstances(torch.device(device)),
        "variants": rows,
    }


def _step(at: dict[str, int], device: torch.device | str) -> Any:
    spec = ImageSpec(3, at["side"], at["side"])
    network = initialise(resnet(at["depth"], 3, at["classes"]), 0).to(device)
    teacher = fold(Teacher(network, spec).to(device)).teacher
    images = torch.rand(at["batch"], *spec.shape, device=device)
    images = images.contiguous(memory_format=torch.channels_last)

    def step() -> None:
        pixels = images.clone(memory_format=torch.preserve_format).requires_grad_()
        trace = teacher.trace(pixels, statistics=True)
        loss = trace.logits.logsumexp(1).mean() + norm_distance(trace.statistics)
        loss.backward()

    return step

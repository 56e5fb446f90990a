"""What a synthesis step costs: forward and backward to the pixels, with and without statistics."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from dfkd.bench.published import hooked_statistics, norm_loss
from dfkd.bench.timing import circumstances, interleave, summary, synchronizer
from dfkd.compilation import Work, compile_teacher
from dfkd.folding import fold
from dfkd.losses.statistics import norm_distance
from dfkd.memory import recomputing, step_bytes
from dfkd.teacher import Teacher


def bench_step(
    teacher: Teacher, batch_size: int, rounds: int, compiled: bool = True
) -> dict[str, Any]:
    """The bare network, ours in its variants, and the published way, in milliseconds.

    Ours and the bare network are fed channels_last images; the published way
    contiguous ones, as published codes do.
    """
    teacher.to(teacher.device)
    contiguous = torch.rand(batch_size, *teacher.spec.shape, device=teacher.device)
    images = contiguous.contiguous(memory_format=torch.channels_last)
    layers = list(teacher.layers.values())

    def bare() -> None:
        pixels = images.clone(memory_format=torch.preserve_format).requires_grad_()
        teacher(pixels).logsumexp(1).mean().backward()  # type: ignore[no-untyped-call]

    folded = fold(teacher).teacher

    def ours(asked: Teacher) -> None:
        pixels = images.clone(memory_format=torch.preserve_format).requires_grad_()
        trace = asked.trace(pixels, statistics=True)
        loss = trace.logits.logsumexp(1).mean() + norm_distance(trace.statistics)
        loss.backward()  # type: ignore[no-untyped-call]

    def published() -> None:
        pixels = contiguous.clone().requires_grad_()
        normalised = teacher.spec.normalize(pixels)
        logits, calls = hooked_statistics(teacher.network, layers, normalised)
        loss = logits.logsumexp(1).mean() + norm_loss(calls)
        loss.backward()  # type: ignore[no-untyped-call]

    variants: dict[str, Callable[[], None]] = {
        "bare network": bare,
        "with statistics": lambda: ours(teacher),
        "the same, folded": lambda: ours(folded),
    }
    work = Work((tuple(images.shape),))
    for name, asked in (("compiled", teacher), ("folded and compiled", folded)):
        quick = compile_teacher(asked, "on" if compiled else "off", work)
        if quick.used:
            variants[f"the same, {name}"] = partial(ours, quick.teacher)
    thrifty = recomputing(folded)
    variants["the same, folded and recomputed"] = partial(ours, thrifty)
    variants["published way"] = published
    times = interleave(variants, rounds, synchronizer(teacher.device))
    return {
        "what": "step",
        "batch_size": batch_size,
        "image": teacher.spec.shape,
        "dtype": "float32",
        "bytes_an_image": {
            "with statistics": step_bytes(teacher),
            "folded": step_bytes(folded),
            "folded and recomputed": step_bytes(thrifty),
        },
        "memory_format": "channels_last (the published way: contiguous)",
        **circumstances(teacher.device),
        "variants": summary(times),
    }

"""What a synthesis step costs: forward and backward to the pixels, with and without statistics."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from dfkd.bench.reference import hooked_statistics, norm_loss
from dfkd.bench.timing import interleave, synchronizer, timing_report
from dfkd.losses.statistics import norm_distance
from dfkd.teacher import Teacher
from dfkd.teacher.compilation import Workload, compile_teacher
from dfkd.teacher.folding import fold
from dfkd.teacher.recompute import pass_bytes, recomputing


def bench_step(
    teacher: Teacher, batch_size: int, rounds: int, compiled: bool = True
) -> dict[str, Any]:
    """Time the bare network, dfkd's variants and the published way, in milliseconds.

    Ours and the bare network are fed channels_last images; the published way
    contiguous ones, as published codes do. Memory is the peak of tensors, an image.
    """
    teacher.to(teacher.device)
    images = torch.rand(batch_size, *teacher.spec.shape, device=teacher.device)
    folded = fold(teacher).teacher
    thrifty = recomputing(folded)
    wide = images.contiguous(memory_format=torch.channels_last)
    variants: dict[str, Callable[[], None]] = {
        "bare network": partial(_bare, teacher, wide),
        "with statistics": partial(_ours, teacher, wide),
        "the same, folded": partial(_ours, folded, wide),
    }
    work = Workload((tuple(images.shape),))
    for name, asked in (("compiled", teacher), ("folded and compiled", folded)):
        quick = compile_teacher(asked, "on" if compiled else "off", work)
        if quick.used:
            variants[f"the same, {name}"] = partial(_ours, quick.teacher, wide)
    variants["the same, folded and recomputed"] = partial(_ours, thrifty, wide)
    variants["the objective alone"] = _objective(teacher, wide[:2])
    variants["published way"] = partial(_published, teacher, images)
    times = interleave(variants, rounds, synchronizer(teacher.device))
    return timing_report(
        "step",
        batch_size,
        teacher.spec.shape,
        teacher.device,
        times,
        memory_format="channels_last (the published way: contiguous)",
        bytes_an_image={
            "with statistics": pass_bytes(teacher),
            "folded": pass_bytes(folded),
            "folded and recomputed": pass_bytes(thrifty),
        },
    )


def _pixels(images: Tensor) -> Tensor:
    return images.clone(memory_format=torch.preserve_format).requires_grad_()


def _bare(teacher: Teacher, images: Tensor) -> None:
    teacher(_pixels(images)).logsumexp(1).mean().backward()


def _ours(teacher: Teacher, images: Tensor) -> None:
    trace = teacher.trace(_pixels(images), statistics=True)
    loss = trace.logits.logsumexp(1).mean() + norm_distance(trace.statistics)
    loss.backward()


def _published(teacher: Teacher, images: Tensor) -> None:
    normalised = teacher.spec.normalize(_pixels(images))
    layers = list(teacher.layers.values())
    logits, calls = hooked_statistics(teacher.network, layers, normalised)
    loss = logits.logsumexp(1).mean() + norm_loss(calls)
    loss.backward()


def _objective(teacher: Teacher, images: Tensor) -> Callable[[], None]:
    """The distance and its gradient, given the statistics: it does not depend on the batch."""
    statistics = [
        layer._replace(
            mean=layer.mean.detach().requires_grad_(), var=layer.var.detach().requires_grad_()
        )
        for layer in teacher.trace(images, statistics=True).statistics
    ]

    def step() -> None:
        norm_distance(statistics).backward()

    return step

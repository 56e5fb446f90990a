"""What a step to the pixels of a transformer's images costs, with all patches and with few."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn

from dfkd.bench.timing import interleave, synchronizer, timing_report
from dfkd.networks.layers import unwrap
from dfkd.synthesis.methods.smi import Smi, SmiConfig
from dfkd.teacher import Teacher
from dfkd.teacher.priors import PatchPrior

_ENDLESS = 1_000_000
"""Iterations of a batch that no bench comes to the end of."""


def bench_patches(teacher: Teacher, batch_size: int, rounds: int) -> dict[str, Any]:
    """Time the bare network, forward and backward to the pixels, and whole steps of ``smi``.

    Raises:
        DfkdError: the teacher is no transformer whose patches can be left out.
    """
    teacher.to(teacher.device)
    images = torch.rand(batch_size, *teacher.spec.shape, device=teacher.device)
    prior = PatchPrior(unwrap(teacher.network), teacher.spec)
    looked_into = Teacher(teacher.network, teacher.spec, task=teacher.task, prior=prior)
    usual = SmiConfig(batch_size=batch_size, capacity=batch_size, iterations=_ENDLESS)

    def smi(drops: int) -> Callable[[], object]:
        # All in the second of the two turns that are not timed.
        config = SmiConfig(**{**vars(usual), "drops": (0.0,) * drops})
        return partial(Smi(teacher, config, 0).update, nn.Identity())

    def bare() -> None:
        teacher(images.clone().requires_grad_()).logsumexp(1).mean().backward()

    def compared() -> None:
        trace = looked_into.trace(images.clone().requires_grad_(), statistics=True)
        distance = looked_into.prior.relative_distance(trace.statistics)
        (trace.logits.logsumexp(1).mean() + distance).backward()

    variants: dict[str, Callable[[], object]] = {
        "bare network": bare,
        "with the patch prior": compared,
    }
    for drops in range(len(usual.drops) + 1):
        variants[f"smi, patches left out {drops} times"] = smi(drops)
    times = interleave(variants, rounds, synchronizer(teacher.device))
    return timing_report("patches", batch_size, teacher.spec.shape, teacher.device, times)

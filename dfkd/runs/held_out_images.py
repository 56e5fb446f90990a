"""The held-out images of a run: made once for a teacher, with real ones where the user has some."""

import time
from typing import Any

from torch import Tensor

from dfkd.datasets import evenly
from dfkd.evaluation.heldout import HeldOut
from dfkd.evaluation.holding_out import Effort, hold_out
from dfkd.teacher import Teacher
from dfkd.training.distributed import Runtime

_CACHE: dict[tuple[Any, ...], tuple[HeldOut, float]] = {}
"""Those of the teachers that this process has asked last, and the seconds they took."""


def held_out_images(
    teacher: Teacher,
    fast: Teacher,
    effort: Effort,
    runtime: Runtime,
    unlabelled: Tensor | None = None,
) -> tuple[HeldOut, float]:
    """Return them, and the seconds that were not spent because they were there.

    Args:
        teacher: as the user gave it.
        fast: a teacher that answers alike and costs less.
        effort: what they may cost.
        runtime: its precision is theirs.
        unlabelled: real images, uint8 N x C x H x W; as many as there are of all other kinds.
    """
    key = (teacher.fingerprint(), teacher.spec, effort, teacher.device.type, runtime.precision)
    saved = key in _CACHE and not teacher.opaque  # each run accounts for its own
    if not saved:
        if len(_CACHE) >= 4:  # the schemes of a comparison have a few teachers
            _CACHE.clear()
        start = time.perf_counter()
        made = hold_out(teacher, effort, fast)
        _CACHE[key] = made, time.perf_counter() - start
    found, seconds = _CACHE[key]
    if unlabelled is not None:
        chosen = evenly(len(unlabelled), len(found))
        found = found.with_unlabelled(unlabelled[chosen], teacher)
    return found, seconds if saved else 0.0

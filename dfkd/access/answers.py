"""What a restricted teacher answers: whether it is sound, and what logits it stands for."""

from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from dfkd.errors import DfkdError, nearest

Access = Literal["logits", "probs", "top1"]
"""What is seen of an answer: all logits, all probabilities, or the class alone."""
ACCESS_KINDS: tuple[str, ...] = get_args(Access)

SMOOTHING = 0.1
"""Of a class that is all that is seen: the probability that is left to the other classes."""
FLOOR = 1e-6
"""Smallest probability that is told from 0: an API rounds, and the logarithm of 0 says nothing."""
_SUM = 0.02
"""How far from 1 probabilities may sum: a server that rounds to two digits stays below."""


def check_access(access: str) -> None:
    """Raise a ``DfkdError`` unless ``access`` is one of ``ACCESS_KINDS``."""
    if access not in ACCESS_KINDS:
        raise DfkdError(
            f"`access` is {', '.join(ACCESS_KINDS)}, not {access!r}{nearest(access, ACCESS_KINDS)}"
        )


def restricted(logits: Tensor, access: str) -> Any:
    """Reduce N x classes logits to what ``access`` lets through, as a numpy array.

    Args:
        logits: of a network.
        access: of ``ACCESS_KINDS``.
    """
    values = logits.detach().float().cpu()
    if access == "top1":
        return values.argmax(1).numpy()
    return (values.softmax(1) if access == "probs" else values).numpy()


def fault(values: Any, access: str, count: int, classes: int) -> str:
    """Say what is wrong with an answer; empty where it is sound.

    Args:
        values: an array, of whatever shape and type a server sent.
        access: what it should be, of ``ACCESS_KINDS``.
        count: N images were asked about.
        classes: that there are.
    """
    shape = (count,) if access == "top1" else (count, classes)
    if values.shape != shape:
        return f"{access} of shape {values.shape} in place of {shape}"
    if values.dtype.kind not in ("iu" if access == "top1" else "fiu"):
        return f"{access} of type {values.dtype}"
    if not values.size:
        return ""
    if access == "top1":
        low, high = int(values.min()), int(values.max())
        wrong = low if low < 0 else high
        return "" if low >= 0 and high < classes else f"class {wrong} of {classes}"
    if not np.isfinite(values).all():
        return f"{access} that are no numbers (NaN or infinity)"
    if access == "probs":
        sums = values.sum(1, dtype=np.float64)
        if values.min() < 0:
            return f"a probability of {values.min():.3g}"
        if np.abs(sums - 1).max() > _SUM:
            return f"probabilities that sum to {sums[np.abs(sums - 1).argmax()]:.3g}"
    return ""


def as_logits(values: Any, access: str, classes: int, smoothing: float = SMOOTHING) -> Tensor:
    """Turn sound answers into N x classes logits, whose mean is 0 where they were probabilities.

    A softmax forgets a constant a row; without one the logits of a class and of probabilities can
    be compared as those of a network are (Truong et al., CVPR 2021).

    Args:
        values: N classes or N x classes, see ``fault``.
        access: what they are, of ``ACCESS_KINDS``.
        classes: that there are.
        smoothing: of a class alone: probability left to all others together, in (0, 1).

    >>> as_logits(np.array([[0.5, 0.5]]), "probs", 2).tolist()
    [[0.0, 0.0]]
    """
    if access == "logits":
        return torch.from_numpy(np.asarray(values, np.float32))
    if access == "top1":
        others = smoothing / (classes - 1)
        rows = torch.full((len(values), classes), others)
        index = torch.from_numpy(np.asarray(values, np.int64))[:, None]
        logits = rows.scatter_(1, index, 1 - smoothing).log()
    else:
        logits = torch.from_numpy(np.asarray(values, np.float32)).clamp_min(FLOOR).log()
    return logits - logits.mean(1, keepdim=True)

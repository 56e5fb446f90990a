"""The answers of several teachers as one: logits -> logits, and how strange an image is to whom.

What is averaged are logits: a student that sees softmax(mean of logits / T) learns, at any
temperature, the geometric mean of the teachers' distributions (Hinton et al., 2015, section 1).
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from dfkd.teacher.statistics import VARIANCE_EPS


def weighted(logits: Sequence[Tensor], weights: Sequence[float] = ()) -> Tensor:
    """Average logits by weights; all count alike without.

    >>> weighted([torch.tensor([[4.0, 0.0]]), torch.tensor([[0.0, 0.0]])], (3.0, 1.0)).tolist()
    [[3.0, 0.0]]
    """
    shares = weights or [1.0] * len(logits)
    parts = [share / sum(shares) * part for share, part in zip(shares, logits, strict=True)]
    return torch.stack(parts).sum(0)


def by_confidence(logits: Sequence[Tensor]) -> Tensor:
    """Average with weights exp(-entropy) on every image.

    That is one over the number of classes that a teacher hesitates between.
    """
    stacked = torch.stack(tuple(logits))
    logs = stacked.log_softmax(2)
    entropy = -(logs.exp() * logs).sum(2, keepdim=True)
    return ((-entropy).softmax(0) * stacked).sum(0)


def concat_logits(logits: Sequence[Tensor], scores: Sequence[Tensor] = ()) -> Tensor:
    """Put logits side by side, N x all classes, each teacher's less their mean, over its score.

    A score counts relative to its geometric mean over the teachers: where an image is as far out
    of distribution for one as for another, their logits stay as they are.

    Args:
        logits: a teacher's N x its own classes each.
        scores: of ``ood_score``, a teacher's N x 1; left out: all the same.

    >>> concat_logits([torch.tensor([[3.0, 1.0]]), torch.tensor([[9.0, 9.0]])]).tolist()
    [[1.0, -1.0, 0.0, 0.0]]
    """
    # A teacher whose classes are not in the image answers them all about alike: near 0 here.
    centred = [part - part.mean(1, keepdim=True) for part in logits]
    if scores:
        middle = torch.stack(tuple(scores)).mean(0)
        nearness = [(middle - own).exp() for own in scores]
        centred = [near * part for near, part in zip(nearness, centred, strict=True)]
    return torch.cat(centred, 1)


def ood_score(means: Iterable[tuple[Any, Tensor]]) -> Tensor:
    """Score how far out of distribution images are, N x 1.

    That is the log of how many stored deviations an image's channel means lie from the stored
    ones, at the layers that ``record_input_means`` watched; a geometric mean over the layers.
    """
    logs = []
    for layer, mean in means:
        scale, shift = (getattr(layer, name, None) for name in ("scale", "shift"))
        if scale is not None and shift is not None:  # a folded norm, see dfkd.teacher.folding
            mean = (mean - shift) / scale
        distance = (mean - layer.running_mean).square() / (layer.running_var + VARIANCE_EPS)
        logs.append((distance.mean(1, keepdim=True) + VARIANCE_EPS).log() / 2)
    return torch.stack(logs).mean(0)


@contextmanager
def record_input_means(layers: Iterable[nn.Module]) -> Iterator[list[tuple[nn.Module, Tensor]]]:
    """While the block runs: the layers that are called, and the means N x C of what enters them."""
    # A hook must keep nothing for backward: it is gone when a block is recomputed.
    found: list[tuple[nn.Module, Tensor]] = []

    def note(layer: Any, arguments: tuple[Any, ...]) -> None:
        z = arguments[0]
        precise = torch.float64 if z.dtype == torch.float64 else torch.float32
        found.append((layer, z.flatten(2).mean(2, dtype=precise) if z.ndim > 2 else wide(z)))

    handles = [layer.register_forward_pre_hook(note) for layer in layers]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def wide(value: Tensor) -> Tensor:
    """Widen to float32 at least: half precision is too coarse for differences between teachers."""
    return value if value.dtype == torch.float64 else value.float()

"""Few points that cover many: greedy k-centres, and how well a choice covers the rest."""

import torch
from torch import Tensor

_BLOCK = 2048
"""Points whose distances to a block of others are in memory at once."""


def k_centre(points: Tensor, count: int) -> Tensor:
    """Choose points greedily, each time the one that is farthest from those chosen before.

    The radius is at most twice the smallest possible (Gonzalez 1985; for training sets: Sener &
    Savarese, ICLR 2018). The first point is the farthest from the mean, so that the same points
    give the same choice.

    Args:
        points: N x d.
        count: how many to choose, in [1, N].

    Returns:
        ``count`` different indices, in the order in which they were chosen.

    >>> k_centre(torch.tensor([[0.0], [1.0], [2.0], [3.5]]), 3).tolist()
    [3, 0, 2]
    """
    points = points.double()
    nearest = (points - points.mean(0)).square().sum(1)
    chosen: list[int] = []
    for _ in range(count):
        # -1: twins of a chosen point are at 0, and come before it.
        chosen.append(int(nearest.argmax()))
        own = (points - points[chosen[-1]]).square().sum(1)
        nearest = own if len(chosen) == 1 else torch.minimum(nearest, own)
        nearest[chosen] = -1
    return torch.tensor(chosen)


def coverage_radius(points: Tensor, kept: Tensor) -> float:
    """Compute the largest distance of a point to its nearest kept one, block by block.

    Args:
        points: N x d.
        kept: indices of the kept ones, at least one.

    >>> coverage_radius(torch.tensor([[0.0], [1.0], [5.0]]), torch.tensor([0, 1]))
    4.0
    """
    points = points.double()
    centres = points[kept]
    left = torch.ones(len(points), dtype=torch.bool)
    left[kept] = False  # at distance 0, whatever rounding says
    largest, rest = 0.0, points[left]
    for block in torch.split(rest, _BLOCK) if len(rest) else ():
        nearest = torch.full((len(block),), torch.inf, dtype=torch.double)
        for part in torch.split(centres, _BLOCK):
            nearest = torch.minimum(nearest, torch.cdist(block, part).amin(1))
        largest = max(largest, float(nearest.max()))
    return largest

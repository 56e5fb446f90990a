"""Improved precision and recall: how much of one set lies where the other one is dense."""

from typing import NamedTuple

import torch
from torch import Tensor

from dfkd.errors import DfkdError

NEIGHBOURS = 3
"""The k of Kynkäänniemi et al.: a ball reaches to the third nearest neighbour."""
_BLOCK = 1024


class ManifoldOverlap(NamedTuple):
    """How two sets of images overlap.

    Attributes:
        precision: share of the images that lie among real ones, in [0, 1].
        recall: share of the real ones that lie among the images, in [0, 1].
        images: of either set that were compared.
    """

    precision: float
    recall: float
    images: int


def manifold_overlap(
    features: Tensor, real: Tensor, *, most: int = 10_000, seed: int = 0
) -> ManifoldOverlap:
    """Measure improved precision and recall (Kynkäänniemi et al., NeurIPS 2019), block by block.

    The balls get smaller as images get more: equally many of both sets are compared, drawn at
    random, and figures are comparable between equal counts only.

    Args:
        features: N x d, of the images.
        real: M x d, of real images.
        most: images of either set that are compared.
        seed: of the draw.

    Raises:
        DfkdError: too few images to have neighbours.
    """
    count = min(len(features), len(real), most)
    if count <= NEIGHBOURS:
        raise DfkdError(f"precision and recall need more than {NEIGHBOURS} images, not {count}")
    generator = torch.Generator().manual_seed(seed)
    one, other = (
        points[torch.randperm(len(points), generator=generator)[:count]].double()
        for points in (features, real)
    )
    middle = other.mean(0)  # distances keep more digits near the origin
    one, other = one - middle, other - middle
    return ManifoldOverlap(_inside(one, other), _inside(other, one), count)


def _inside(points: Tensor, others: Tensor) -> float:
    """Share of ``points`` that lie in the ball of any of ``others``."""
    # Fast distances of equal points are not quite 0.
    slack = 1e-6 * float(max(points.norm(dim=1).max(), others.norm(dim=1).max()))
    reach = torch.cat(
        [_kth_nearest(block, others) for block in torch.split(others, _BLOCK)]
    ).clamp_min_(0)
    found = [
        (torch.cdist(block, others) <= reach + slack).any(1)
        for block in torch.split(points, _BLOCK)
    ]
    return float(torch.cat(found).double().mean())


def _kth_nearest(block: Tensor, others: Tensor) -> Tensor:
    """Distance of each to its k-th nearest neighbour; each is among ``others`` itself."""
    return torch.cdist(block, others).topk(NEIGHBOURS + 1, largest=False).values[:, -1]

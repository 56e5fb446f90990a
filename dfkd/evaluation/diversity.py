"""How many different images there are: the Vendi score and the mean cosine, of features.

No matrix is larger than the features are wide, or than a class has images.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize


class Diversity(NamedTuple):
    """How different the images of one class are, as the mean over the classes.

    Attributes:
        vendi: Vendi score: the effective number of different images, from 1 to a class's images.
        cosine: mean cosine of two images' features; 1 where all are alike.
        classes: classes with two images or more, over which the mean is.
        images: of those classes, the fewest and the most images.
    """

    vendi: float
    cosine: float
    classes: int
    images: tuple[int, int]


def vendi_score(features: Tensor) -> float:
    """Compute the Vendi score (Friedman & Dieng, TMLR 2023) under the cosine kernel.

    It is the exponential of the entropy of the eigenvalues of K / n. A Gram matrix of n rows and
    one of d columns have the same eigenvalues but for zeros: the smaller is decomposed.

    Args:
        features: n x d.

    Returns:
        A number in [1, min(n, d)].

    >>> round(vendi_score(torch.eye(5)), 6), round(vendi_score(torch.ones(5, 3)), 6)
    (5.0, 1.0)
    """
    rows = normalize(features.double(), dim=1)
    gram = rows @ rows.T if len(rows) <= rows.shape[1] else rows.T @ rows
    values = torch.linalg.eigvalsh(gram).clamp_min(0)
    # The sum is n unless some features are all zero, which have no direction.
    shares = values / values.sum().clamp_min(torch.finfo(values.dtype).tiny)
    return math.exp(-float(torch.special.xlogy(shares, shares).sum()))


def mean_cosine(features: Tensor) -> float:
    """Compute the mean cosine of all pairs of different rows, without their matrix.

    Args:
        features: n x d, n at least 2.

    >>> mean_cosine(torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 0.0]]))
    0.3333333333333333
    """
    rows = normalize(features.double(), dim=1)
    own = float(rows.square().sum())
    return (float(rows.sum(0).square().sum()) - own) / (len(rows) * (len(rows) - 1))


def class_diversity(features: Tensor, labels: Tensor) -> Diversity | None:
    """Measure the diversity within each class, and return the mean over them.

    Args:
        features: N x d.
        labels: N class indices, not negative.

    Returns:
        None where no class has two images.
    """
    counts = labels.bincount()
    several = (counts > 1).nonzero()[:, 0]
    if not len(several):
        return None
    parts = [features[labels == index] for index in several]
    sizes = counts[several]
    return Diversity(
        sum(map(vendi_score, parts)) / len(parts),
        sum(map(mean_cosine, parts)) / len(parts),
        len(parts),
        (int(sizes.min()), int(sizes.max())),
    )

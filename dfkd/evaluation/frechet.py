"""Distances between two distributions of features: Fréchet's and the kernel one.

With Inception's features they are called FID and KID; here any network's may be given.
"""

import warnings
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

_SUBSETS = 100
_SUBSET = 1000
"""Subsets and images of one, as Bińkowski et al. (ICLR 2018) have them."""


class KernelDistance(NamedTuple):
    """The kernel distance, which is unbiased and may therefore be negative.

    Attributes:
        mean: over random subsets.
        deviation: standard deviation over them.
        subset: images of a subset.
    """

    mean: float
    deviation: float
    subset: int


class _Given(nn.Module):
    """Hands on features that were computed before: torchmetrics' extractor."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, features: Tensor) -> Tensor:
        return features


def frechet_distance(features: Tensor, others: Tensor) -> float:
    """Compute the squared Fréchet distance of the Gaussians fitted to both (Heusel et al. 2017).

    It grows as images get fewer, above all below twice the width of the features: compare figures
    of equal counts only.

    Args:
        features: N x d, N at least 2.
        others: M x d, M at least 2.
    """
    from torchmetrics.image.fid import FrechetInceptionDistance  # takes seconds

    return float(_filled(FrechetInceptionDistance, features, others).compute())


def kernel_distance(features: Tensor, others: Tensor, seed: int = 0) -> KernelDistance:
    """Compute the squared maximum mean discrepancy under a cubic kernel (Bińkowski et al. 2018).

    Args:
        features: N x d, N at least 2.
        others: M x d, M at least 2.
        seed: of the subsets; torch's own generator is left as it was.
    """
    from torchmetrics.image.kid import KernelInceptionDistance

    subset = min(_SUBSET, len(features), len(others))
    options = {"subsets": _SUBSETS, "subset_size": subset}
    metric = _filled(KernelInceptionDistance, features, others, **options)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        mean, deviation = metric.compute()
    return KernelDistance(float(mean), float(deviation), subset)


def _filled(kind: Any, features: Tensor, others: Tensor, **options: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that features are kept in memory: they are already
        metric = kind(feature=_Given(features.shape[1]), **options)
    metric.update(others.double(), real=True)
    metric.update(features.double(), real=False)
    return metric

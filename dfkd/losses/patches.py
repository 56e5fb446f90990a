"""How diverse the patches of an image are to a transformer (PSAQ-ViT, Li et al., ECCV 2022).

To a network that attends, the patches of a real image are unlike each other: some are alike, some
are not, and the similarities of all pairs are spread. Those of noise all have one value. The
entropy of their distribution tells the two apart, without any data.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

MOST_ENTROPY = math.log(2.0)
"""In nats: of similarities that are spread evenly over [-1, 1]."""


def pair_similarities(tokens: Tensor) -> Tensor:
    """Return the cosine similarity of each pair of an image's tokens, N x T(T-1)/2, in [-1, 1].

    Args:
        tokens: N x T x D, in any floating type; T is at least 2.

    >>> pair_similarities(torch.tensor([[[1.0, 0.0], [0.0, 2.0], [3.0, 0.0]]]))
    tensor([[0., 1., 0.]])
    """
    unit = F.normalize(tokens.float(), dim=2)
    products = unit @ unit.transpose(1, 2)
    count = tokens.shape[1]
    rows, columns = torch.triu_indices(count, count, offset=1, device=tokens.device)
    return products[:, rows, columns].clamp(-1, 1)


def density(values: Tensor, *, bins: int = 64, bandwidth: float = 0.05) -> Tensor:
    """Estimate the density of values in [-1, 1] with Gaussian kernels, N x bins.

    Each value is shared between the two nearest points of the grid, and those are smoothed
    (Silverman's binned estimate): as good as a kernel for each value, and many times as cheap.

    Args:
        values: N x M.
        bins: points of the grid from -1 to 1.
        bandwidth: the kernels' standard deviation, in the values' units.

    Returns:
        At the grid's points; a row times 2/(bins - 1) sums to 1.

    >>> found = density(torch.zeros(1, 3), bins=5)
    >>> [round(value, 3) for value in (found * 0.5)[0].tolist()]
    [0.0, 0.0, 1.0, 0.0, 0.0]
    """
    width = 2 / (bins - 1)
    place = (values + 1) / width
    left = place.detach().floor().clamp(0, bins - 2)
    share = place - left
    index = left.long()
    counts = values.new_zeros(len(values), bins)
    counts = counts.scatter_add(1, index, 1 - share).scatter_add(1, index + 1, share)
    grid = torch.linspace(-1, 1, bins, device=values.device)
    smoothed = counts @ torch.exp(-0.5 * ((grid[:, None] - grid) / bandwidth).square())
    return smoothed / (smoothed.sum(1, keepdim=True) * width)


def differential_entropy(density: Tensor, width: float) -> Tensor:
    """Return -sum p log p times the width, N values in nats.

    Args:
        density: N x points, >= 0, on a grid.
        width: between two points.

    >>> differential_entropy(torch.full((1, 4), 0.5), 0.5).exp()
    tensor([2.])
    """
    return -torch.xlogy(density, density.clamp_min(1e-12)).sum(1) * width


def patch_entropy(tokens: Tensor, *, bins: int = 64, bandwidth: float = 0.05) -> Tensor:
    """Return the entropy of the similarities between an image's patches, a mean over images.

    PSAQ-ViT, eqs. 6-8. Its code evaluates the density at ten points between the batch's smallest
    and largest similarity; here the grid is fixed, so that no image depends on the others.

    Args:
        tokens: N x T x D, what a layer that attends gives for the patches.
        bins, bandwidth: see ``density``.

    Returns:
        In nats, at most log 2 but for the grid; lowest where all patches are alike.

    >>> alike = torch.ones(1, 9, 4)
    >>> unlike = torch.randn(1, 9, 4, generator=torch.Generator().manual_seed(0))
    >>> bool(patch_entropy(alike) < patch_entropy(unlike) < MOST_ENTROPY)
    True
    """
    found = density(pair_similarities(tokens), bins=bins, bandwidth=bandwidth)
    return differential_entropy(found, 2 / (bins - 1)).mean()

"""The two halves of a variational autoencoder's loss (Kingma & Welling, ICLR 2014)."""

import torch.nn.functional as F
from torch import Tensor

from dfkd.errors import DfkdError


def gaussian_reconstruction(reconstructed: Tensor, images: Tensor) -> Tensor:
    """Compute -log N(x; x', 1) without its constant: sum (x - x')^2 / 2, averaged over the batch.

    Args:
        reconstructed: N x ..., the means x' that a decoder gives.
        images: the same shape, in the space in which a standard deviation of 1 is meant.

    Returns:
        In nats an image, >= 0, and 0 iff the two are equal.

    >>> import torch
    >>> gaussian_reconstruction(torch.zeros(2, 3), torch.full((2, 3), 2.0)).item()
    6.0
    """
    if reconstructed.shape != images.shape:
        # Broadcasting would turn a mistake into a number.
        shapes = f"{tuple(reconstructed.shape)} and {tuple(images.shape)}"
        raise DfkdError(f"images and their reconstructions must be of one shape, not {shapes}")
    return 0.5 * F.mse_loss(reconstructed, images, reduction="none").flatten(1).sum(1).mean()


def standard_normal_kl(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Compute KL(N(m, v) || N(0, 1)) = sum_d (m^2 + v - 1 - log v) / 2, averaged over the batch.

    Kingma & Welling (ICLR 2014), appendix B, with the sign of a divergence.

    Args:
        mean: N x dimensions, m.
        log_variance: N x dimensions, log v.

    Returns:
        In nats an image, >= 0, and 0 iff every m is 0 and every v is 1.

    >>> import torch
    >>> standard_normal_kl(torch.full((5, 2), 3.0), torch.zeros(5, 2)).item()
    9.0
    """
    # v - 1 by expm1: near the prior the difference would drown in rounding.
    return 0.5 * (mean.square() + log_variance.expm1() - log_variance).sum(1).mean()

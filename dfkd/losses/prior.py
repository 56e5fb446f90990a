"""What images look like before any teacher is asked: smooth, and not too bright.

The published weights are for images in the teacher's normalised space.
"""

import torch
from torch import Tensor


def total_variation_l1(images: Tensor) -> Tensor:
    """Mean absolute difference of neighbours, summed over four directions.

    Horizontal, vertical and both diagonals, as in DeepInversion's code (Yin et al., CVPR
    2020, eq. 3, after Mahendran & Vedaldi, CVPR 2015). Batch and image size do not matter.

    Args:
        images: N x C x H x W.

    Returns:
        In units of the intensity, >= 0, and 0 iff every channel of every image is constant.

    >>> stripes = torch.tensor([0.0, 1.0]).repeat(4, 2).view(1, 1, 4, 4)
    >>> total_variation_l1(stripes).item()
    3.0
    """
    return torch.stack([difference.abs().mean() for difference in _differences(images)]).sum()


def total_variation_l2(images: Tensor) -> Tensor:
    """Euclidean norm of all differences of neighbours, summed over four directions.

    The R_TV of DeepInversion (Yin et al., CVPR 2020, eq. 3), not squared. The norm is over
    the whole batch: it grows with the square root of the number of pixels and images.

    Args:
        images: N x C x H x W.

    Returns:
        In units of the intensity, >= 0, and 0 (with gradient 0) iff every channel is constant.

    >>> stripes = torch.tensor([0.0, 1.0]).repeat(4, 2).view(1, 1, 4, 4)
    >>> round(total_variation_l2(stripes).item(), 4)  # sqrt(12) + 0 + 3 + 3
    9.4641
    """
    norms = [torch.linalg.vector_norm(difference) for difference in _differences(images)]
    return torch.stack(norms).sum()


def l2_norm(images: Tensor) -> Tensor:
    """Mean Euclidean norm of an image: the R_l2 of DeepInversion (Yin et al., CVPR 2020, eq. 3).

    Args:
        images: N x C x H x W.

    Returns:
        In units of the intensity, >= 0, and 0 (with gradient 0) iff all images are 0.

    >>> l2_norm(torch.ones(5, 3, 2, 3)).square().round().item()
    18.0
    """
    norms: Tensor = torch.linalg.vector_norm(images.flatten(1), dim=1)
    return norms.mean()


def _differences(images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return (
        images[..., :, 1:] - images[..., :, :-1],
        images[..., 1:, :] - images[..., :-1, :],
        images[..., 1:, 1:] - images[..., :-1, :-1],
        images[..., 1:, :-1] - images[..., :-1, 1:],
    )

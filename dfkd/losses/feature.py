"""What layers hold, value by value: features themselves, and how one layer leads to the next.

The student's features have passed an adapter where the widths of the networks differ: the caller's.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from dfkd.errors import DfkdError


def hint(student_features: Tensor, teacher_features: Tensor) -> Tensor:
    """Average (s - t)^2 over samples, channels and places (FitNets, Romero et al., 2015, eq. 3).

    Up to the factor 1/2, and a mean where they write a norm: the loss keeps its size from one
    layer to another.

    Args:
        student_features: N x C x ..., behind the paper's regressor where widths differ.
        teacher_features: the same shape.

    Returns:
        In squared units of the features, >= 0, and 0 iff they are equal.

    >>> hint(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 3.0]])).item()
    5.0
    """
    _check_features(student_features, teacher_features)
    return F.mse_loss(student_features, teacher_features)


def variational_information(mean: Tensor, scale: Tensor, teacher_features: Tensor) -> Tensor:
    """Average log sigma_c + (t - mu)^2 / (2 sigma_c^2) (VID, Ahn et al., CVPR 2019, eqs. 5, 6).

    Minus the logarithm of a Gaussian, without its constant: how well the student's features tell
    the teacher's. A channel that they cannot tell is given a wide sigma and counts little.
    sigma_c^2 = softplus(scale_c) + 1e-5, which keeps it from zero.

    Args:
        mean: N x C x ..., what the student's features predict.
        scale: C parameters, trained along.
        teacher_features: as ``mean``.

    Returns:
        In nats, at least log(1e-5) / 2; given the means, least where sigma_c^2 is the mean squared
        error of channel c.

    >>> zero, teacher = torch.zeros(1, 1), torch.tensor([[1.0]])
    >>> round(variational_information(zero, torch.tensor([0.0]), teacher).item(), 4)
    0.5381
    >>> round(variational_information(teacher, torch.tensor([0.0]), teacher).item(), 4)
    -0.1832
    """
    _check_features(mean, teacher_features)
    if scale.shape != mean.shape[1:2]:
        raise DfkdError(
            f"vid needs one scale for each of the {mean.shape[1]} channels, "
            f"not a tensor of shape {tuple(scale.shape)}"
        )
    variance = F.softplus(scale) + 1e-5
    variance = variance.reshape(-1, *[1] * (mean.ndim - 2))
    return 0.5 * (variance.log() + (teacher_features - mean).square() / variance).mean()


def flow(first: Tensor, second: Tensor) -> Tensor:
    """Average f_i g_j over places: the FSP matrix of two layers (Yim et al., CVPR 2017, eq. 1).

    Args:
        first: N x C1 x H x W, what enters a part of the network.
        second: N x C2 x H' x W', what leaves it. Where heights or widths differ, the larger is
            max-pooled to the smaller, as the authors do.

    Returns:
        N x C1 x C2, in units of the one times those of the other.

    >>> flow(torch.tensor([[[[1.0, 3.0]]]]), torch.tensor([[[[2.0, 2.0]], [[0.0, 1.0]]]]))
    tensor([[[4.0000, 1.5000]]])
    """
    if first.ndim != 4 or second.ndim != 4 or len(first) != len(second):
        shapes = f"{tuple(first.shape)} and {tuple(second.shape)}"
        raise DfkdError(
            f"fsp needs two layers' N x C x H x W maps of the same images, not {shapes}"
        )
    height, width = (min(sizes) for sizes in zip(first.shape[2:], second.shape[2:], strict=True))
    first, second = (
        maps if maps.shape[2:] == (height, width) else F.adaptive_max_pool2d(maps, (height, width))
        for maps in (first, second)
    )
    return torch.einsum("nchw,ndhw->ncd", first, second) / (height * width)


def flow_distance(
    student_first: Tensor, student_second: Tensor, teacher_first: Tensor, teacher_second: Tensor
) -> Tensor:
    """Mean squared difference of the student's and teacher's ``flow`` (Yim et al., 2017, eq. 2).

    A mean over the C1 x C2 entries where they write a sum.

    Args:
        student_first, student_second: N x C1 x ... and N x C2 x ..., maps of two layers.
        teacher_first, teacher_second: N x C1 x ... and N x C2 x ..., of any height and width.

    Returns:
        In units of the features to the fourth, >= 0, and 0 iff the matrices are equal.

    >>> one = torch.ones(1, 1, 2, 2)
    >>> flow_distance(one, 3 * one, one, one).item()
    4.0
    """
    student, teacher = flow(student_first, student_second), flow(teacher_first, teacher_second)
    if student.shape != teacher.shape:
        shapes = f"{tuple(student.shape)} and {tuple(teacher.shape)}"
        raise DfkdError(
            f"fsp needs as many images and channels in the student as in the teacher, not {shapes}"
        )
    return F.mse_loss(student, teacher)


def _check_features(student: Tensor, teacher: Tensor) -> None:
    # Broadcasting would turn a mistake into a number.
    if student.shape != teacher.shape or student.ndim < 2:
        shapes = f"{tuple(student.shape)} and {tuple(teacher.shape)}"
        raise DfkdError(f"student and teacher must give features of one shape, not {shapes}")

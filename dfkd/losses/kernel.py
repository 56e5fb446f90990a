"""Losses that compare kernels: of a batch's images, and of a map's channels."""

import torch.nn.functional as F
from torch import Tensor

from dfkd.errors import DfkdError


def probability_transfer(student: Tensor, teacher: Tensor) -> Tensor:
    """Compare each image's shares of similarity with others (PKT, Passalis & Tefas, ECCV 2018).

    Similarity is (cos + 1) / 2; compared, by KL, is a row of similarities divided by its sum.

    Args:
        student: N x D.
        teacher: N x D'.

    Returns:
        In nats, a mean over images where the paper has a sum, >= 0; 0 if one cloud of points is
        the other but for rotation and each point's length. 0 for a batch of one.

    >>> import torch
    >>> points = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 0.0]])
    >>> round(probability_transfer(5 * points, points).item(), 4)
    0.0
    >>> round(probability_transfer(torch.ones(3, 1), points).item(), 4)
    0.0488
    """
    if student.ndim != 2 or teacher.ndim != 2 or len(student) != len(teacher):
        shapes = f"{tuple(student.shape)} and {tuple(teacher.shape)}"
        raise DfkdError(f"pkt needs N x D embeddings of the same images, not {shapes}")
    mine, theirs = (_similarity_shares(rows) for rows in (student, teacher))
    return (theirs * (theirs.log() - mine.log())).sum(1).mean()


def _similarity_shares(rows: Tensor) -> Tensor:
    rows = F.normalize(rows, dim=1)
    similarity = (rows @ rows.T + 1) / 2
    similarity = similarity.clamp(min=1e-7)  # opposite points: the logarithm stays finite
    return similarity / similarity.sum(1, keepdim=True)


def selectivity(student_maps: Tensor, teacher_maps: Tensor) -> Tensor:
    """Compute MMD^2 of the channels' maps, kernel (x . y)^2 (NST, Huang & Wang, 2017, eqs. 5, 8).

    A channel is a sample: where it is active, at length 1. How many there are may differ. The
    kernel's features are products of two places, so that this is the squared distance between the
    two mean outer products.

    Args:
        student_maps: N x C x H x W.
        teacher_maps: N x C' x H x W.

    Returns:
        A mean over images, within [0, 2]; 0 if the student's channels are active where the
        teacher's are, whatever their order and strength.

    >>> import torch
    >>> left, right = torch.tensor([[[[1.0, 0.0]]]]), torch.tensor([[[[0.0, 3.0]]]])
    >>> selectivity(left, right).item(), selectivity(left, 2 * left).item()
    (2.0, 0.0)
    """
    if student_maps.ndim != 4 or student_maps.shape[2:] != teacher_maps.shape[2:]:
        shapes = f"{tuple(student_maps.shape)} and {tuple(teacher_maps.shape)}"
        raise DfkdError(f"nst needs N x C x H x W maps of one height and width, not {shapes}")
    student, teacher = (F.normalize(x.flatten(2), dim=2) for x in (student_maps, teacher_maps))
    own = _squared_kernel(student, student) + _squared_kernel(teacher, teacher)
    return (own - 2 * _squared_kernel(student, teacher)).mean()


def _squared_kernel(first: Tensor, second: Tensor) -> Tensor:
    """Mean (x . y)^2 over the pairs of two N x C x P sets of channels, (N,)."""
    pairs = first.shape[1] * second.shape[1]
    if first.shape[2] ** 2 < pairs:  # the sum is that of two P x P matrices: fewer numbers
        left, right = (x.transpose(1, 2) @ x for x in (first, second))
        return (left * right).sum((1, 2)) / pairs
    return (first @ second.transpose(1, 2)).square().mean((1, 2))

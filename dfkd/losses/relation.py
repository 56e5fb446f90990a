"""How the images of a batch stand to each other: distances, angles, similarities.

Embeddings are N x D, one row an image; student's and teacher's D may differ, so that no adapter is
needed. A batch of one image has no relations: every loss is 0 then, with a gradient of 0 (to
rounding, and an embedding of zeros apart).
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from dfkd.errors import DfkdError


def distance_relation(student: Tensor, teacher: Tensor) -> Tensor:
    """Huber distance of the pairs' Euclidean distances (RKD-D, Park et al., CVPR 2019, eqs. 5-8).

    Each network's distances are divided by their mean over the pairs that differ.

    Args:
        student: N x D.
        teacher: N x D'.

    Returns:
        A mean over all N x N pairs, as in the authors' code, >= 0; 0 iff one cloud of points is
        the other but for rotation, reflection, translation and scale.

    >>> line = torch.tensor([[0.0], [1.0], [2.0]])
    >>> distance_relation(5 * line + 3, line).item()
    0.0
    >>> triangle = torch.eye(3)
    >>> round(distance_relation(line, triangle).item(), 4)
    0.0417
    """
    student, teacher = _rows(student, teacher)
    return F.smooth_l1_loss(_relative_distances(student), _relative_distances(teacher))


def angle_relation(student: Tensor, teacher: Tensor, *, at_most: int = 64) -> Tensor:
    """Huber distance of the cosines of all triplets' angles (RKD-A, Park et al., 2019, eqs. 9, 10).

    Args:
        student: N x D.
        teacher: N x D'.
        at_most: only so many first rows are looked at, as memory grows with their number cubed.

    Returns:
        A mean over all N x N x N triplets, within [0, 1.5]; 0 if one cloud of points is the other
        but for rotation, reflection, translation and scale. The angle at a point that is equal to
        one of the other two counts as 90 degrees.

    >>> right = torch.tensor([[0.0, 1.0], [0.0, 0.0], [1.0, 0.0]])
    >>> angle_relation(right, 2 * right + 1).item()
    0.0
    >>> line = torch.tensor([[-1.0, 0.0], [0.0, 0.0], [1.0, 0.0]])
    >>> round(angle_relation(right, line).item(), 4)
    0.0434
    """
    student, teacher = _rows(student, teacher)
    return F.smooth_l1_loss(_cosines(student[:at_most]), _cosines(teacher[:at_most]))


def relations(student: Tensor, teacher: Tensor) -> Tensor:
    """Add the distances and twice the angles, as RKD weighs them (Park et al., CVPR 2019).

    Args:
        student: N x D.
        teacher: N x D'.

    >>> relations(torch.eye(3), torch.eye(3)).item()
    0.0
    """
    return distance_relation(student, teacher) + 2 * angle_relation(student, teacher)


def similarity_preserving(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of similarities (SP, Tung & Mori, ICCV 2019, eqs. 1-4).

    Similarities are inner products of the rows; each image's, with all N, are scaled to length 1.

    Args:
        student: N x D, a layer's features flattened.
        teacher: N x D'.

    Returns:
        A mean over the N x N entries, within [0, 4 / N]; blind to rotation and scale, but not to
        translation.

    >>> similarity_preserving(torch.eye(2), 3 * torch.eye(2).flip(0)).item()
    0.0
    >>> round(similarity_preserving(torch.eye(2), torch.ones(2, 1)).item(), 4)
    0.2929
    """
    student, teacher = _rows(student, teacher)
    return F.mse_loss(_unit(student @ student.T), _unit(teacher @ teacher.T))


def feature_similarity(student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
    """Compare the similarities of the last depth's features, flattened.

    Args:
        student, teacher: one tensor a depth, N x ... each.

    >>> feature_similarity([torch.zeros(2, 3), torch.eye(2)], [torch.eye(2)]).item()
    0.0
    """
    return similarity_preserving(student[-1].flatten(1), teacher[-1].flatten(1))


def correlation_congruence(
    student: Tensor, teacher: Tensor, *, gamma: float = 0.4, order: int = 2
) -> Tensor:
    """Mean squared difference of Gaussian kernels of all pairs (CC, Peng et al., ICCV 2019).

    exp(-gamma |x - y|^2) of embeddings of length 1, where it is exp(-2 gamma) exp(2 gamma x.y), by
    the Taylor series of the second factor.

    Args:
        student: N x D.
        teacher: N x D'.
        gamma: >= 0; the larger, the more a pair must be alike to count.
        order: the highest power of x.y, at least 1.

    Returns:
        A mean over the N x N pairs, >= 0; blind to rotation and to every row's scale.

    >>> round(correlation_congruence(torch.eye(2), torch.ones(2, 1)).item(), 4)
    0.1266
    """
    student, teacher = _rows(student, teacher)
    if order < 1:
        raise DfkdError(f"the order of a series that tells pairs apart is at least 1, not {order}")
    return F.mse_loss(_kernel(student, gamma, order), _kernel(teacher, gamma, order))


def _kernel(rows: Tensor, gamma: float, order: int) -> Tensor:
    rows = _unit(rows)
    products = 2 * gamma * (rows @ rows.T)
    terms = [products**power / math.factorial(power) for power in range(order + 1)]
    return math.exp(-2 * gamma) * torch.stack(terms).sum(0)


def _relative_distances(rows: Tensor) -> Tensor:
    # By differences: |x|^2 + |y|^2 - 2 x.y loses what near points differ by, and its root has no
    # gradient where they are equal; that of cdist is 0 there.
    distances = torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist")
    mean = distances.sum() / (distances > 0).sum().clamp(min=1)
    return distances / torch.where(mean > 0, mean, 1.0)


def _cosines(rows: Tensor) -> Tensor:
    """N x N x N: at [j, i, k] the cosine of the angle at point j between those to i and to k."""
    directions = _unit(rows[None] - rows[:, None])
    return directions @ directions.mT


def _unit(vectors: Tensor) -> Tensor:
    """Scaled to length 1 along the last dimension; zeros stay, with a gradient of zero."""
    # F.normalize multiplies the gradient of a zero by 1e12; that of rsqrt is a third power, which
    # overflows for vectors that are merely short.
    length = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    return vectors / torch.where(length > 0, length, torch.inf)


def _rows(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Both in float32 or wider: cdist knows no narrow floats, and near points need the digits."""
    if student.ndim != 2 or teacher.ndim != 2 or len(student) != len(teacher):
        shapes = f"{tuple(student.shape)} and {tuple(teacher.shape)}"
        raise DfkdError(f"student and teacher must give N x D embeddings, not {shapes}")
    one, other = (
        rows.to(torch.promote_types(rows.dtype, torch.float32)) for rows in (student, teacher)
    )
    return one, other

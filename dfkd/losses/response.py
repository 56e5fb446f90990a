"""What the student answers against what the teacher answers (or a label says)."""

from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from dfkd.errors import DfkdError, nearest

Reduction = Literal["batchmean", "mean", "none"]


def kl_divergence(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    temperature: float = 4.0,
    reduction: Reduction = "batchmean",
) -> Tensor:
    """T^2 KL(softmax(t/T) || softmax(s/T)): the soft targets of Hinton et al. (2015), section 2.

    The factor T^2 keeps the gradient's size when the temperature changes.
    Differentiable in both arguments: an adversary wants the teacher's side too.

    Args:
        student_logits: N x classes.
        teacher_logits: N x classes.
        temperature: T > 0; 1 leaves the distributions as they are.
        reduction: ``batchmean`` divides the sum by N, ``mean`` by N * classes (the scale
            of ZSKT's weights), ``none`` returns the N divergences.

    Returns:
        In nats times T^2, >= 0, and 0 iff the two logits differ by a constant per sample.

    >>> import torch
    >>> teacher = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    >>> kl_divergence(teacher + 5.0, teacher).item()
    0.0
    >>> round(kl_divergence(torch.zeros(2, 2), teacher, temperature=1.0).item(), 4)
    0.2194
    """
    _check_shapes(student_logits, teacher_logits)
    student = F.log_softmax(student_logits / temperature, dim=1)
    teacher = F.log_softmax(teacher_logits / temperature, dim=1)
    pointwise = temperature**2 * F.kl_div(student, teacher, reduction="none", log_target=True)
    if reduction == "none":
        return pointwise.sum(1)
    if reduction == "batchmean":
        return pointwise.sum(1).mean()
    if reduction == "mean":
        return pointwise.mean()
    raise DfkdError(
        f"no reduction {reduction!r}{nearest(reduction, ('batchmean', 'mean', 'none'))}"
    )


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """-mean log softmax(logits)[target], the one-hot loss of DAFL (Chen et al., ICCV 2019).

    Args:
        logits: N x classes.
        targets: N class indices (int64), or N x classes probabilities.

    Returns:
        In nats, >= 0; log(classes) where the logits are all equal.

    >>> import torch
    >>> round(cross_entropy(torch.zeros(3, 10), torch.tensor([0, 4, 9])).item(), 4)
    2.3026
    """
    return F.cross_entropy(logits, targets)


def l1_logits(student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """mean |s - t| over samples and classes (DFAD, Fang et al., 2019).

    Unlike KL its gradient does not vanish as the student comes close.

    Args:
        student_logits: N x classes.
        teacher_logits: N x classes.

    Returns:
        In units of the logits, >= 0, and 0 iff they are equal.

    >>> import torch
    >>> l1_logits(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 3.0]])).item()
    2.0
    """
    _check_shapes(student_logits, teacher_logits)
    return F.l1_loss(student_logits, teacher_logits)


def mse_logits(student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """mean (s - t)^2 over samples and classes (Ba & Caruana, NeurIPS 2014, up to the factor 1/2).

    Args:
        student_logits: N x classes.
        teacher_logits: N x classes.

    Returns:
        In squared units of the logits, >= 0, and 0 iff they are equal.

    >>> import torch
    >>> mse_logits(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 3.0]])).item()
    5.0
    """
    _check_shapes(student_logits, teacher_logits)
    return F.mse_loss(student_logits, teacher_logits)


def _check_shapes(student_logits: Tensor, teacher_logits: Tensor) -> None:
    # Broadcasting would turn a mistake into a number.
    if student_logits.shape != teacher_logits.shape:
        shapes = f"{tuple(student_logits.shape)} and {tuple(teacher_logits.shape)}"
        raise DfkdError(f"student and teacher must give logits of one shape, not {shapes}")

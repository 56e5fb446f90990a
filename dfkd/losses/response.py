"""What the student answers against what the teacher answers (or a label says)."""

from typing import Any, Literal

import torch
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
    weight: Tensor | None = None,
) -> Tensor:
    """Compute T^2 KL(softmax(t/T) || softmax(s/T)), soft targets (Hinton et al., 2015, section 2).

    The factor T^2 keeps the gradient's size when the temperature changes.
    Differentiable in both arguments: an adversary wants the teacher's side too.

    Args:
        student_logits: N x classes.
        teacher_logits: N x classes.
        temperature: T > 0; 1 leaves the distributions as they are.
        reduction: ``batchmean`` divides the sum by N, ``mean`` by N * classes (the scale
            of ZSKT's weights), ``none`` returns the N divergences.
        weight: N, which rows count and how much; None: all alike.

    Returns:
        In nats times T^2, >= 0, and 0 iff the two logits differ by a constant per sample.

    >>> import torch
    >>> teacher = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    >>> kl_divergence(teacher + 5.0, teacher).item()
    0.0
    >>> round(kl_divergence(torch.zeros(2, 2), teacher, temperature=1.0).item(), 4)
    0.2194
    """
    check_same_logits(student_logits, teacher_logits)
    student = F.log_softmax(student_logits / temperature, dim=1)
    teacher = F.log_softmax(teacher_logits / temperature, dim=1)
    pointwise = temperature**2 * F.kl_div(student, teacher, reduction="none", log_target=True)
    if reduction == "none":
        return pointwise.sum(1)
    if reduction == "batchmean":
        return over_rows(pointwise.sum(1), weight)
    if reduction == "mean":
        return pointwise.mean() if weight is None else over_rows(pointwise.mean(1), weight)
    raise DfkdError(
        f"no reduction {reduction!r}{nearest(reduction, ('batchmean', 'mean', 'none'))}"
    )


def decoupled(
    student_logits: Tensor,
    teacher_logits: Tensor,
    targets: Tensor,
    *,
    alpha: float = 1.0,
    beta: float = 8.0,
    temperature: float = 4.0,
    weight: Tensor | None = None,
) -> Tensor:
    """Compute T^2 (alpha TCKD + beta NCKD), soft targets in two parts (DKD, Zhao et al., 2022).

    TCKD is KL(teacher || student) of "the target or another class", NCKD that among the other
    classes alone. With alpha = 1 and beta = 1 - p_t, p_t the teacher's softened probability of
    the target, their sum is ``kl_divergence``: there a teacher that is sure of the target has
    nothing more to say, here it has.

    Args:
        student_logits: N x classes, two at least; with two NCKD is 0.
        teacher_logits: N x classes.
        targets: N class indices (int64): labels, or without data the teacher's decisions.
        alpha, beta: weights >= 0. The authors' alpha is 1; their beta goes with the networks: on
            CIFAR-100 8 for ResNet-32x4 to 8x4 and 2 for ResNet-56 to 20, on ImageNet 0.5 at T = 1
            for ResNet-34 to 18.
        temperature: T > 0.
        weight: N, which rows count and how much; None: all alike.

    Returns:
        In nats times T^2, a mean over samples, >= 0; with positive weights 0 iff the two logits
        differ by a constant per sample. Computed in float32 or wider.

    >>> import torch
    >>> teacher, student = torch.tensor([[0.0, 2.0, 0.0]]), torch.zeros(1, 3)
    >>> target = torch.tensor([0])
    >>> round(decoupled(student, teacher, target, beta=0.0, temperature=1.0).item(), 4)
    0.1401
    >>> round(decoupled(student, teacher, target, alpha=0.0, beta=1.0, temperature=1.0).item(), 4)
    0.3278
    """
    check_same_logits(student_logits, teacher_logits)
    if student_logits.shape[1] < 2 or targets.shape != student_logits.shape[:1]:
        raise DfkdError(
            "dkd needs N x classes logits of two classes or more and N targets, "
            f"not {tuple(student_logits.shape)} and {tuple(targets.shape)}"
        )
    student, student_others = _target_and_others(student_logits / temperature, targets)
    teacher, teacher_others = _target_and_others(teacher_logits / temperature, targets)
    of_target = kl_divergence(student, teacher, temperature=1.0, weight=weight)
    of_others = kl_divergence(student_others, teacher_others, temperature=1.0, weight=weight)
    return temperature**2 * (alpha * of_target + beta * of_others)


def _target_and_others(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """N x 2 logits of "the target" and "another class", and N x (classes - 1) of the others."""
    # Narrow floats would round the logarithm of the others' sum to a few digits.
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    target = targets[:, None]
    places = torch.arange(logits.shape[1] - 1, device=logits.device)
    # The target is left out, not masked by a large number, which some type always rounds.
    others = logits.gather(1, places + (places >= target))
    another = others.logsumexp(1, keepdim=True)
    return torch.cat([logits.gather(1, target), another], 1), others


def cross_entropy(logits: Tensor, targets: Tensor, *, weight: Tensor | None = None) -> Tensor:
    """Compute -mean log softmax(logits)[target], the one-hot loss of DAFL (Chen et al., 2019).

    Args:
        logits: N x classes.
        targets: N class indices (int64), or N x classes probabilities.
        weight: N, which rows count and how much; None: all alike.

    Returns:
        In nats, >= 0; log(classes) where the logits are all equal.

    >>> import torch
    >>> round(cross_entropy(torch.zeros(3, 10), torch.tensor([0, 4, 9])).item(), 4)
    2.3026
    """
    if weight is None:
        return F.cross_entropy(logits, targets)
    return over_rows(F.cross_entropy(logits, targets, reduction="none"), weight)


def supervised(task: Any, prediction: Any, target: Any) -> Tensor:
    """Compare a prediction with what the samples were made for, as the task does.

    Args:
        task: says what an answer means (``dfkd.tasks.Task``).
        prediction: the network's answer.
        target: of the task's own kind: class indices, boxes.

    >>> import torch
    >>> from dfkd.tasks import Classification, Prediction
    >>> answer = Prediction(torch.zeros(1, 2))
    >>> round(supervised(Classification(2), answer, torch.tensor([0])).item(), 4)
    0.6931
    """
    loss: Tensor = task.supervised(prediction, target)
    return loss


def l1_logits(
    student_logits: Tensor, teacher_logits: Tensor, *, weight: Tensor | None = None
) -> Tensor:
    """Average |s - t| over samples and classes (DFAD, Fang et al., 2019).

    Unlike KL its gradient does not vanish as the student comes close.

    Args:
        student_logits: N x classes.
        teacher_logits: N x classes.
        weight: N, which rows count and how much; None: all alike.

    Returns:
        In units of the logits, >= 0, and 0 iff they are equal.

    >>> import torch
    >>> l1_logits(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 3.0]])).item()
    2.0
    """
    check_same_logits(student_logits, teacher_logits)
    if weight is None:
        return F.l1_loss(student_logits, teacher_logits)
    rows = F.l1_loss(student_logits, teacher_logits, reduction="none").mean(1)
    return over_rows(rows, weight)


def mse_logits(
    student_logits: Tensor, teacher_logits: Tensor, *, weight: Tensor | None = None
) -> Tensor:
    """Average (s - t)^2 over samples and classes (Ba & Caruana, 2014, up to the factor 1/2).

    Args:
        student_logits: N x classes.
        teacher_logits: N x classes.
        weight: N, which rows count and how much; None: all alike.

    Returns:
        In squared units of the logits, >= 0, and 0 iff they are equal.

    >>> import torch
    >>> mse_logits(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 3.0]])).item()
    5.0
    """
    check_same_logits(student_logits, teacher_logits)
    if weight is None:
        return F.mse_loss(student_logits, teacher_logits)
    rows = F.mse_loss(student_logits, teacher_logits, reduction="none").mean(1)
    return over_rows(rows, weight)


def over_rows(values: Tensor, weight: Tensor | None) -> Tensor:
    """Average N values, by their weights where there are any.

    Args:
        values: N.
        weight: N, or None.

    >>> import torch
    >>> over_rows(torch.tensor([1.0, 4.0]), torch.tensor([2.0, 1.0])).item()
    2.0
    """
    if weight is None:
        return values.mean()
    return (weight * values).sum() / weight.sum().clamp(min=torch.finfo(values.dtype).tiny)


def check_same_logits(student_logits: Tensor, teacher_logits: Tensor) -> None:
    """Raise a ``DfkdError`` where shapes differ: broadcasting would turn a mistake into a number.

    >>> import torch
    >>> check_same_logits(torch.zeros(2, 3), torch.zeros(2, 3))
    """
    if student_logits.shape != teacher_logits.shape:
        shapes = f"{tuple(student_logits.shape)} and {tuple(teacher_logits.shape)}"
        raise DfkdError(f"student and teacher must give logits of one shape, not {shapes}")

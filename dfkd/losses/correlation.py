"""How the two networks' probabilities correlate: a match of order and ratio, not of value."""

import torch
import torch.nn.functional as F
from torch import Tensor

from dfkd.losses.response import check_same_logits, over_rows


def correlations(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    beta: float = 1.0,
    gamma: float = 1.0,
    temperature: float = 4.0,
    weight: Tensor | None = None,
) -> Tensor:
    """Compute T^2 (beta inter + gamma intra), 1 - Pearson each (DIST, Huang et al., NeurIPS 2022).

    *Inter* compares what the networks say of a sample, over classes; *intra* what they say of a
    class, over samples. The factor T^2 is that of the authors' code.

    Args:
        student_logits: N x classes.
        teacher_logits: N x classes.
        beta, gamma: weights >= 0: 1 in the authors' ImageNet runs, 2 in those of CIFAR-100.
        temperature: T > 0; the authors' is 1 and 4 there.
        weight: N, which rows count and how much; None: all alike.

    Returns:
        Within [0, 2 T^2 (beta + gamma)]; 0 where the logits of a sample differ by a constant. A
        row or column without any spread, as the columns of one sample, has a correlation of 0.

    >>> teacher = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    >>> round(abs(correlations(teacher + 5.0, teacher).item()), 4)
    0.0
    >>> round(correlations(-teacher, teacher, temperature=1.0).item(), 4)
    4.0
    """
    check_same_logits(student_logits, teacher_logits)
    student, teacher = ((x / temperature).softmax(1) for x in (student_logits, teacher_logits))
    share = torch.ones_like(student[:, 0]) if weight is None else weight.to(student.dtype)
    share = share / share.sum().clamp(min=torch.finfo(student.dtype).tiny)
    one, other = (p - p.mean(1, keepdim=True) for p in (student, teacher))
    inter = 1 - F.cosine_similarity(one, other)
    one, other = (
        share.sqrt()[:, None] * (p - (share[:, None] * p).sum(0)) for p in (student, teacher)
    )
    intra = 1 - F.cosine_similarity(one, other, dim=0)
    return temperature**2 * (beta * over_rows(inter, weight) + gamma * intra.mean())

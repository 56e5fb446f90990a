"""One question a label: networks whose answers are sigmoids, not shares of one whole."""

import torch.nn.functional as F
from torch import Tensor

from dfkd.losses.response import check_same_logits, over_rows


def binary_divergence(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    temperature: float = 4.0,
    weight: Tensor | None = None,
) -> Tensor:
    """Compute T^2 sum over labels of KL(sigmoid(t/T) || sigmoid(s/T)) (MLD, Yang et al., 2023).

    For a student it is the binary cross-entropy with the teacher's probabilities: the two differ
    by the teacher's entropy, so that a perfect student's loss is 0 here.

    Args:
        student_logits: N x labels.
        teacher_logits: N x labels.
        temperature: T > 0.
        weight: N, which rows count and how much; None: all alike.

    Returns:
        In nats times T^2, summed over labels, a mean over samples; >= 0, and 0 iff the logits are
        equal (a constant is no matter of indifference to a sigmoid).

    >>> import torch
    >>> teacher = torch.tensor([[0.0, 0.0]])
    >>> binary_divergence(teacher, teacher).item()
    0.0
    >>> round(binary_divergence(teacher + 1.0, teacher, temperature=1.0).item(), 4)
    0.2402
    """
    check_same_logits(student_logits, teacher_logits)
    student, teacher = student_logits / temperature, teacher_logits / temperature
    yes, no = (
        F.kl_div(F.logsigmoid(s), F.logsigmoid(t), reduction="none", log_target=True)
        for s, t in ((student, teacher), (-student, -teacher))
    )
    return temperature**2 * over_rows((yes + no).sum(1), weight)

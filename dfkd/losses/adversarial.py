"""What a generator minimises besides "the teacher knows this": disagreement, balance, activation.

The plain adversary needs no function: it is -1 times a distillation loss.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dfkd.losses.response import kl_divergence


def js_competition(
    student_logits: Tensor, teacher_logits: Tensor, *, temperature: float = 3.0
) -> Tensor:
    """Measure how far student and teacher disagree: the JS of Adaptive DeepInversion.

    With P = softmax(s/T), Q = softmax(t/T) and M = (P + Q)/2, all clamped to [0.01, 0.99],
    KL(M || P)/2 + KL(M || Q)/2, averaged over the batch and clamped to [0, 1]. Yin et al.
    (CVPR 2020) write the textbook direction KL(P || M); this is what
    their code computes and their weights were tuned for. Images compete by *minimising*
    1 - JS. At the outer clamp, and where a probability leaves [0.01, 0.99], no gradient flows.

    Args:
        student_logits: N x classes.
        teacher_logits: N x classes.
        temperature: T > 0.

    Returns:
        In nats, within [0, 1]; 0 where the two agree.

    >>> import torch
    >>> agree, oppose = torch.tensor([[9.0, 0.0]]), torch.tensor([[0.0, 9.0]])
    >>> js_competition(agree, agree).item()
    0.0
    >>> round(js_competition(agree, oppose).item(), 4)
    0.8554
    """
    student = F.softmax(student_logits / temperature, dim=1)
    teacher = F.softmax(teacher_logits / temperature, dim=1)
    mixture = (0.5 * (student + teacher)).clamp(0.01, 0.99)
    student, teacher = student.clamp(0.01, 0.99), teacher.clamp(0.01, 0.99)
    middle = 0.5 * (student.log() + teacher.log())
    return (mixture * (mixture.log() - middle)).sum(1).mean().clamp(0, 1)


def js_agreement(student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """Compute 1 - JS, which images minimise where the student is wrong (Yin et al., eq. 8).

    Args:
        student_logits, teacher_logits: N x classes.

    Returns:
        Within [0, 1]; 1 where the two agree.

    >>> import torch
    >>> agree, oppose = torch.tensor([[9.0, 0.0]]), torch.tensor([[0.0, 9.0]])
    >>> js_agreement(agree, agree).item()
    1.0
    >>> round(js_agreement(agree, oppose).item(), 4)
    0.1446
    """
    return 1 - js_competition(student_logits, teacher_logits)


def decision_adversarial(student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """Compute -mean(1[argmax s = argmax t] KL(softmax(t) || softmax(s))): differ, decide alike.

    The adversarial loss of CMI (Fang et al., IJCAI 2021), also of Fast and NAYER. Samples on
    which student and teacher decide differently already count as 0 in the mean. The gradient
    flows through both logits, as published.

    Args:
        student_logits: N x classes, of a student in eval mode.
        teacher_logits: N x classes.

    Returns:
        In nats, <= 0; to be minimised.

    >>> import torch
    >>> student, teacher = torch.zeros(1, 2), torch.tensor([[2.0, 0.0]])
    >>> round(decision_adversarial(student, teacher).item(), 4)
    -0.3278
    >>> decision_adversarial(-teacher, teacher).abs().item()
    0.0
    """
    divergence = kl_divergence(student_logits, teacher_logits, temperature=1.0, reduction="none")
    agreed = student_logits.argmax(1) == teacher_logits.argmax(1)
    return -(divergence * agreed).mean()


def class_balance(logits: Tensor, *, base: float = math.e) -> Tensor:
    """Compute sum_c p log p, p the batch's mean softmax: minus the entropy of its classes.

    The information entropy loss of DAFL (Chen et al., ICCV 2019), minimised when the
    classes are equally frequent. DAFL and PRE take ``base=10``, DFQ the natural logarithm.

    Args:
        logits: N x classes, the teacher's.
        base: of the logarithm.

    Returns:
        Within [-log_base(classes), 0]; 0 iff the whole batch is surely one class.

    >>> import torch
    >>> round(class_balance(torch.zeros(4, 10), base=10).item(), 4)
    -1.0
    """
    log_p = F.log_softmax(logits, dim=1).logsumexp(0) - math.log(len(logits))
    return (log_p.exp() * log_p).sum() / math.log(base)


def task_balance(task: Any, logits: Tensor, *, base: float = math.e) -> Tensor:
    """Compute ``class_balance`` of each of a sample's rows, on average: of labels, each on its own.

    Args:
        task: says how many rows a sample has (``dfkd.tasks.Task``).
        logits: M x K, the teacher's.
        base: of the logarithm.

    >>> from dfkd.tasks import MultiLabel
    >>> answers = MultiLabel(2).read(torch.tensor([[99.0, 99.0], [99.0, -99.0]]))  # one always on
    >>> round(task_balance(MultiLabel(2), answers.logits, base=2).item(), 4)
    -0.5
    """
    return torch.stack([class_balance(row, base=base) for row in _each(logits, task.rows)]).mean()


def _each(logits: Tensor, rows: int) -> tuple[Tensor, ...]:
    """The N x K logits of each of a sample's rows."""
    return (logits,) if rows == 1 else logits.unflatten(0, (-1, rows)).unbind(1)


def mutual_information(logits: Tensor, rows: int = 1) -> Tensor:
    """Compute how much answers say of their images: H(mean of p) - mean of H(p), p the softmax.

    High where each answer is certain and the answers are of many classes: the logarithm of the
    inception score (Salimans et al., NeurIPS 2016), with the teacher in the inception network's
    place.

    Args:
        logits: M x classes.
        rows: of a sample; what each of them says counts on average.

    Returns:
        In nats, within [0, log(classes)].

    >>> import torch
    >>> round(mutual_information(99 * torch.eye(4)).item(), 4), round(math.log(4), 4)
    (1.3863, 1.3863)
    >>> round(mutual_information(torch.tensor([[9.0, 0.0], [9.0, 0.0]])).item(), 4)
    0.0
    """
    log_p = F.log_softmax(logits, dim=1)
    own = -(log_p.exp() * log_p).sum(1).mean()
    whole = torch.stack([-class_balance(row) for row in _each(logits, rows)]).mean()
    return (whole - own).clamp_min(0)


def activation(features: Tensor) -> Tensor:
    """Compute -mean |f|: real images excite a teacher's last features, noise does not.

    The activation loss of DAFL (Chen et al., ICCV 2019), as a mean over all values.

    Args:
        features: N x ..., the teacher's input to its classifier.

    Returns:
        In units of the features, <= 0.

    >>> import torch
    >>> activation(torch.tensor([[1.0, -3.0]])).item()
    -2.0
    """
    return -features.abs().mean()

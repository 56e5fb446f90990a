"""Losses without parts to learn, of what two networks say to the same images (``Answers``)."""

from collections.abc import Callable

from torch import Tensor

from dfkd.distillation.knowledge.answers import Answers
from dfkd.errors import DfkdError
from dfkd.losses import attention, relation, response


def kd(answers: Answers, reduction: response.Reduction = "batchmean") -> Tensor:
    """KL of softened answers, times T^2."""
    return response.kl_divergence(
        answers.student_logits,
        answers.teacher_logits,
        temperature=answers.temperature,
        reduction=reduction,
    )


def dkd(answers: Answers) -> Tensor:
    """DKD, its target the images' labels."""
    return response.decoupled(
        answers.student_logits,
        answers.teacher_logits,
        answers.labels,
        temperature=answers.temperature,
    )


def of_logits(loss: Callable[[Tensor, Tensor], Tensor], answers: Answers) -> Tensor:
    """A loss of the logits alone."""
    return loss(answers.student_logits, answers.teacher_logits)


def hard(answers: Answers) -> Tensor:
    """Cross-entropy with the labels."""
    return response.cross_entropy(answers.student_logits, answers.labels)


def at(answers: Answers) -> Tensor:
    """Attention transfer, summed over depths."""
    if any(features[0, 0].numel() == 1 for features in answers.student_features):
        # Scaled to length 1, every such map is the same.
        raise DfkdError(
            "at compares where maps are high, and a map of one pixel is high nowhere: "
            "name larger ones with --pair, or take hint"
        )
    pairs = zip(answers.student_features, answers.teacher_features, strict=True)
    return _sum([attention.attention_transfer(student, teacher) for student, teacher in pairs])


def cam(answers: Answers) -> Tensor:
    """Squared distance of the class activation maps of the teacher's decision."""
    maps = []
    for last, head in (
        (answers.student_last, answers.student_head),
        (answers.teacher_last, answers.teacher_head),
    ):
        assert last is not None
        assert head is not None
        maps.append(attention.class_activation_map(last, head, answers.classes))
    student, teacher = attention.pool_to_common_size(*maps)
    return attention.map_distance(student, teacher.detach())


def grad_cam(answers: Answers) -> Tensor:
    """Squared distance of the Grad-CAMs, summed over depths."""
    student, teacher = (
        [attention.grad_cam(*pair) for pair in zip(features, gradients, strict=True)]
        for features, gradients in (
            (answers.student_features, answers.student_gradients),
            (answers.teacher_features, answers.teacher_gradients),
        )
    )
    pairs = zip(student, teacher, strict=True)
    return _sum([attention.map_distance(*pair) for pair in pairs])


def rkd(answers: Answers) -> Tensor:
    """Distances and twice the angles."""
    pair = answers.embeddings
    return relation.distance_relation(*pair) + 2 * relation.angle_relation(*pair)


def of_embeddings(loss: Callable[[Tensor, Tensor], Tensor], answers: Answers) -> Tensor:
    """A loss of the embeddings alone."""
    return loss(*answers.embeddings)


def sp(answers: Answers) -> Tensor:
    """Similarities of the last features, flattened."""
    return relation.similarity_preserving(
        answers.student_features[-1].flatten(1), answers.teacher_features[-1].flatten(1)
    )


def _sum(values: list[Tensor]) -> Tensor:
    return sum(values[1:], values[0])

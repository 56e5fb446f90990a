"""What is transferred, as an expression: ``kd``, ``kd + 250*at``, ``l1``.

A flat weighted sum of the terms below. ``parse`` reads it; ``dfkd.distillers`` asks both networks
for what its terms look at and adds them up.
"""

import re
from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from dfkd.errors import DfkdError, nearest
from dfkd.losses import attention, response


class Answers(NamedTuple):
    """What student and teacher say to the same N images.

    Logits are N x classes. Features are pairs of N x C x H x W maps of equal H and W, large ones
    first; gradients those of the logit of the teacher's decision with respect to them. Last
    maps are those before the linear classifiers, N x C x H x W of any sizes, and heads these
    classifiers' weights, classes x C. What no term of the expression looks at is left empty.
    """

    student_logits: Tensor
    teacher_logits: Tensor
    temperature: float
    student_features: tuple[Tensor, ...] = ()
    teacher_features: tuple[Tensor, ...] = ()
    student_gradients: tuple[Tensor, ...] = ()
    teacher_gradients: tuple[Tensor, ...] = ()
    student_last: Tensor | None = None
    teacher_last: Tensor | None = None
    student_head: Tensor | None = None
    teacher_head: Tensor | None = None

    @property
    def classes(self) -> Tensor:
        """N indices: the teacher's decisions."""
        return self.teacher_logits.argmax(1)


class Kind(NamedTuple):
    """A kind of knowledge: its loss, what it looks at, and a line for those who choose.

    ``gradients``: of the logits with respect to the features, in both networks.
    """

    loss: Callable[[Answers], Tensor]
    line: str
    features: bool = False
    heads: bool = False
    gradients: bool = False


def _kd(answers: Answers) -> Tensor:
    return response.kl_divergence(
        answers.student_logits, answers.teacher_logits, temperature=answers.temperature
    )


def _kd_mean(answers: Answers) -> Tensor:
    return response.kl_divergence(
        answers.student_logits,
        answers.teacher_logits,
        temperature=answers.temperature,
        reduction="mean",
    )


def _l1(answers: Answers) -> Tensor:
    return response.l1_logits(answers.student_logits, answers.teacher_logits)


def _mse(answers: Answers) -> Tensor:
    return response.mse_logits(answers.student_logits, answers.teacher_logits)


def _at(answers: Answers) -> Tensor:
    pairs = zip(answers.student_features, answers.teacher_features, strict=True)
    return _sum([attention.attention_transfer(student, teacher) for student, teacher in pairs])


def _cam(answers: Answers) -> Tensor:
    maps = []
    for last, head in (
        (answers.student_last, answers.student_head),
        (answers.teacher_last, answers.teacher_head),
    ):
        assert last is not None
        assert head is not None
        maps.append(attention.class_activation_map(last, head, answers.classes))
    student, teacher = attention.of_one_size(*maps)
    return attention.map_distance(student, teacher.detach(), normalized=False)


def _grad_cam(answers: Answers) -> Tensor:
    student, teacher = (
        [attention.grad_cam(*pair) for pair in zip(features, gradients, strict=True)]
        for features, gradients in (
            (answers.student_features, answers.student_gradients),
            (answers.teacher_features, answers.teacher_gradients),
        )
    )
    pairs = zip(student, teacher, strict=True)
    return _sum([attention.map_distance(*pair, normalized=False) for pair in pairs])


def _sum(values: list[Tensor]) -> Tensor:
    return sum(values[1:], values[0])


KINDS: dict[str, Kind] = {
    "kd": Kind(_kd, "KL of softened answers, times T^2 (Hinton et al., 2015)"),
    "kd_mean": Kind(_kd_mean, "the same, divided by images x classes: ZSKT's scale"),
    "l1": Kind(_l1, "mean |s - t| of the logits (DFAD, Fang et al., 2019)"),
    "mse": Kind(_mse, "mean (s - t)^2 of the logits (Ba & Caruana, 2014)"),
    "at": Kind(_at, "attention transfer (Zagoruyko & Komodakis, 2017)", features=True),
    "cam": Kind(_cam, "class activation maps (Zhou et al., 2016; SpaceshipNet)", heads=True),
    "grad_cam": Kind(
        _grad_cam,
        "Grad-CAMs at every depth (Selvaraju et al., 2017; SpaceshipNet)",
        features=True,
        gradients=True,
    ),
}

TERM = re.compile(r"\s*(?:(?P<weight>[0-9.]+(?:[eE][+-]?[0-9]+)?)\s*\*\s*)?(?P<name>[a-z]\w*)\s*")


def parse(expression: str) -> dict[str, float]:
    """Weights by the names of ``KINDS``, in the order of the expression.

    Raises:
        DfkdError: not a sum of ``weight*name``; the message points at the column.

    >>> parse("kd + 250*at")
    {'kd': 1.0, 'at': 250.0}
    """
    weights: dict[str, float] = {}
    position = 0
    while True:
        found = TERM.match(expression, position)
        if not found:
            position = len(expression) - len(expression[position:].lstrip())
            raise _refusal(expression, position, "a term such as 0.5*at is expected")
        name, start = found["name"], found.start("name")
        if name not in KINDS:
            raise _refusal(expression, start, f"unknown kind {name!r}{nearest(name, KINDS)}")
        if name in weights:
            raise _refusal(expression, start, f"{name} stands there twice")
        try:
            weight = float(found["weight"] or 1)
        except ValueError:
            raise _refusal(
                expression, found.start("weight"), f"no number: {found['weight']}"
            ) from None
        if weight == 0 or weight == float("inf"):
            raise _refusal(expression, found.start("weight"), "a weight is positive and finite")
        weights[name] = weight
        position = found.end()
        if position == len(expression):
            return weights
        if expression[position] != "+":
            raise _refusal(expression, position, "terms are joined by +")
        position += 1


def _refusal(expression: str, position: int, what: str) -> DfkdError:
    return DfkdError(f"knowledge {expression!r}, column {position + 1}: {what}")

"""The kinds of knowledge by name: what each looks at, and its loss."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from torch import Tensor, nn

from dfkd.errors import DfkdError
from dfkd.knowledge.answers import Answers
from dfkd.knowledge.learned import Contrast, Flows, Gather, Hints, Variational
from dfkd.losses import attention, relation, response


class Kind(NamedTuple):
    """A kind of knowledge: its loss, what it looks at, and a line for those who choose.

    Attributes:
        line: what it is, and its source.
        weight: where to start: of the order that its paper or its scale suggests beside ``kd``.
        loss: of the answers; None where the loss has parts that are learnt.
        learned: (answers to begin with, ``Runtime.gather``) -> that loss as a module; its
            parameters are trained with the student and thrown away with the run.
        features: whether it looks at feature maps.
        heads: whether at the linear classifiers and what they average.
        gradients: whether at those of the logits with respect to the features, in both networks.
        embeddings: whether at what enters the classifiers.
    """

    line: str
    weight: float
    loss: Callable[[Answers], Tensor] | None = None
    learned: Callable[[Answers, Gather], nn.Module] | None = None
    features: bool = False
    heads: bool = False
    gradients: bool = False
    embeddings: bool = False

    def begin(self, answers: Answers, gather: Gather) -> Callable[[Answers], Tensor]:
        """The loss, ready to be asked; a module where it has parts to learn."""
        if self.learned is not None:
            return self.learned(answers, gather)
        assert self.loss is not None
        return self.loss


def _kd(answers: Answers, reduction: response.Reduction = "batchmean") -> Tensor:
    return response.kl_divergence(
        answers.student_logits,
        answers.teacher_logits,
        temperature=answers.temperature,
        reduction=reduction,
    )


def _dkd(answers: Answers) -> Tensor:
    return response.decoupled(
        answers.student_logits,
        answers.teacher_logits,
        answers.labels,
        temperature=answers.temperature,
    )


def _of_logits(loss: Callable[[Tensor, Tensor], Tensor], answers: Answers) -> Tensor:
    return loss(answers.student_logits, answers.teacher_logits)


def _hard(answers: Answers) -> Tensor:
    return response.cross_entropy(answers.student_logits, answers.labels)


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


def _rkd(answers: Answers) -> Tensor:
    pair = answers.embeddings
    return relation.distance_relation(*pair) + 2 * relation.angle_relation(*pair)


def _of_embeddings(loss: Callable[[Tensor, Tensor], Tensor], answers: Answers) -> Tensor:
    return loss(*answers.embeddings)


def _sp(answers: Answers) -> Tensor:
    if not answers.student_features:
        raise DfkdError("sp compares feature maps, and none were paired")
    return relation.similarity_preserving(
        answers.student_features[-1].flatten(1), answers.teacher_features[-1].flatten(1)
    )


def _sum(values: list[Tensor]) -> Tensor:
    return sum(values[1:], values[0])


KINDS: dict[str, Kind] = {
    "kd": Kind("KL of softened answers, times T^2 (Hinton et al., 2015)", 1, _kd),
    "kd_mean": Kind(
        "the same, divided by images x classes: ZSKT's scale",
        10,
        partial(_kd, reduction="mean"),
    ),
    "hard": Kind(
        "cross-entropy with the class an image was made for, else the teacher's decision",
        0.1,
        _hard,
    ),
    "l1": Kind(
        "mean |s - t| of the logits (DFAD, Fang et al., 2019)",
        1,
        partial(_of_logits, response.l1_logits),
    ),
    "mse": Kind(
        "mean (s - t)^2 of the logits (Ba & Caruana, 2014)",
        0.1,
        partial(_of_logits, response.mse_logits),
    ),
    "dkd": Kind("target and other classes apart, 1 to 8 (DKD, Zhao et al., 2022)", 1, _dkd),
    "hint": Kind(
        "features through 1x1 adapters, mean squared (FitNets, Romero et al., 2015)",
        1,
        learned=Hints,
        features=True,
    ),
    "at": Kind(
        "attention transfer (Zagoruyko & Komodakis, 2017)",
        250,
        _at,
        features=True,
    ),
    "cam": Kind("class activation maps (Zhou et al., 2016; SpaceshipNet)", 0.1, _cam, heads=True),
    "grad_cam": Kind(
        "Grad-CAMs at every depth (Selvaraju et al., 2017; SpaceshipNet)",
        1,
        _grad_cam,
        features=True,
        gradients=True,
    ),
    "vid": Kind(
        "information in features, a learnt Gaussian a channel (VID, Ahn et al., 2019)",
        1,
        learned=Variational,
        features=True,
    ),
    "fsp": Kind(
        "flow from each depth to the next (FSP, Yim et al., 2017)",
        1,
        learned=Flows,
        features=True,
    ),
    "rkd": Kind(
        "distances + 2 angles between a batch's embeddings (RKD, Park et al., 2019)",
        25,
        _rkd,
        embeddings=True,
    ),
    "rkd_distance": Kind(
        "its distances alone",
        25,
        partial(_of_embeddings, relation.distance_relation),
        embeddings=True,
    ),
    "rkd_angle": Kind(
        "its angles alone", 50, partial(_of_embeddings, relation.angle_relation), embeddings=True
    ),
    "sp": Kind(
        "which images of a batch excite alike (SP, Tung & Mori, 2019)", 300, _sp, features=True
    ),
    "cc": Kind(
        "correlation between a batch's embeddings (CC, Peng et al., 2019)",
        1,
        partial(_of_embeddings, relation.correlation_congruence),
        embeddings=True,
    ),
    "crd": Kind(
        "tell an image's embedding from a bounded memory of others (CRD, Tian et al., 2020)",
        0.1,
        learned=Contrast,
        embeddings=True,
    ),
}

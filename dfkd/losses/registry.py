"""The losses by name: one row says what a loss is, what it needs, and where it is from.

A row names its function and, as dotted paths, what of two networks' outputs
(``dfkd.teacher.outputs.PairOutputs``) the function takes. Every loss is there for both sides: a
method weighs it for its images, ``--knowledge`` for the student.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from torch import Tensor

from dfkd.losses import (
    adversarial,
    attention,
    binary,
    correlation,
    kernel,
    prior,
    relation,
    response,
)
from dfkd.losses.loss import LOGITS, Loss
from dfkd.losses.modifiers import MODIFIERS
from dfkd.losses.modules import Contrast, Flows, Hints, Variational
from dfkd.losses.overhaul import Overhaul
from dfkd.losses.review import Review
from dfkd.losses.statistics import prior_distance, relative_prior_distance

FEATURES = ("student.features", "teacher.features")
EMBEDDINGS = ("student.embedding", "teacher.embedding")
ROWS = {"weight": "teacher.weight"}
SOFTENED = {"temperature": "temperature", **ROWS}


def _over_depths(loss: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Sum a loss over the depths of its arguments, each a tuple with one entry a depth."""

    def total(*sides: tuple[Tensor, ...]) -> Tensor:
        values = [loss(*depth) for depth in zip(*sides, strict=True)]
        return sum(values[1:], values[0])

    return total


LOSSES: dict[str, Loss] = {
    # Of the two networks' outputs.
    "kd": Loss(
        response.kl_divergence,
        LOGITS,
        "KL of softened answers, times T^2",
        "Hinton et al., 2015",
        keywords=SOFTENED,
    ),
    "kd_mean": Loss(
        partial(response.kl_divergence, reduction="mean"),
        LOGITS,
        "the same, divided by images x classes",
        "as ZSKT, Micaelli & Storkey, 2019",
        10,
        SOFTENED,
    ),
    "hard": Loss(
        response.cross_entropy,
        ("student.logits", "labels"),
        "cross-entropy with an image's own class, else the teacher's",
        "Hinton et al., 2015",
        0.1,
        ROWS,
    ),
    "l1": Loss(
        response.l1_logits,
        LOGITS,
        "mean |s - t| of the logits",
        "DFAD, Fang et al., 2019",
        keywords=ROWS,
    ),
    "mse": Loss(
        response.mse_logits,
        LOGITS,
        "mean (s - t)^2 of the logits",
        "Ba & Caruana, 2014",
        0.1,
        ROWS,
    ),
    "dkd": Loss(
        response.decoupled,
        (*LOGITS, "labels"),
        "target and other classes apart, 1 to 8",
        "DKD, Zhao et al., 2022",
        keywords=SOFTENED,
    ),
    "dist": Loss(
        correlation.correlations,
        LOGITS,
        "1 - correlation of the answers to a sample, and of those of a class; times T^2",
        "DIST, Huang et al., 2022",
        0.03,
        keywords=SOFTENED,
        relation=True,
    ),
    "sigmoid_kd": Loss(
        binary.binary_divergence,
        LOGITS,
        "KL of softened sigmoids, label by label, times T^2",
        "MLD, Yang et al., 2023",
        keywords=SOFTENED,
    ),
    # Of features, maps and embeddings.
    "hint": Loss(
        Hints,
        FEATURES,
        "features through 1x1 adapters, mean squared",
        "FitNets, Romero et al., 2015",
        learned=True,
        vectors=True,
    ),
    "at": Loss(
        _over_depths(attention.attention_transfer),
        FEATURES,
        "attention transfer",
        "Zagoruyko & Komodakis, 2017",
        250,
    ),
    "cam": Loss(
        attention.activation_map_distance,
        ("student.last_map", "student.head", "teacher.last_map", "teacher.head", "decisions"),
        "class activation maps",
        "Zhou et al., 2016; SpaceshipNet",
        0.1,
    ),
    "grad_cam": Loss(
        _over_depths(attention.grad_cam_distance),
        ("student.features", "student.gradients", "teacher.features", "teacher.gradients"),
        "Grad-CAMs at every depth",
        "Selvaraju et al., 2017; SpaceshipNet",
    ),
    "vid": Loss(
        Variational,
        FEATURES,
        "information in features, a learnt Gaussian a channel",
        "VID, Ahn et al., 2019",
        learned=True,
        vectors=True,
    ),
    "fsp": Loss(
        Flows,
        FEATURES,
        "flow from each depth to the next",
        "FSP, Yim et al., 2017",
        learned=True,
    ),
    "nst": Loss(
        _over_depths(kernel.selectivity),
        FEATURES,
        "where channels are active, whatever their order",
        "NST, Huang & Wang, 2017",
    ),
    "reviewkd": Loss(
        Review,
        FEATURES,
        "features, deep ones fused into shallow ones",
        "ReviewKD, Chen et al., 2021",
        learned=True,
    ),
    "ofd": Loss(
        Overhaul,
        (*FEATURES, "teacher.margins"),
        "features where one of the two is active",
        "OFD, Heo et al., 2019",
        learned=True,
    ),
    # The papers' weights of rkd (25, 50), nst (50) and dist (1) stand beside cross-entropy; kd they
    # drown (assets/RESULTS.md). Those of dist, nst and pkt give gradients of kd's size on drawings.
    "rkd": Loss(
        relation.relations,
        EMBEDDINGS,
        "distances + 2 angles between a batch's embeddings",
        "RKD, Park et al., 2019",
        relation=True,
    ),
    "rkd_distance": Loss(
        relation.distance_relation,
        EMBEDDINGS,
        "the distances alone",
        "RKD-D, Park et al., 2019",
        relation=True,
    ),
    "rkd_angle": Loss(
        relation.angle_relation,
        EMBEDDINGS,
        "the angles alone",
        "RKD-A, Park et al., 2019",
        2,
        relation=True,
    ),
    "sp": Loss(
        relation.feature_similarity,
        FEATURES,
        "which images of a batch excite alike",
        "SP, Tung & Mori, 2019",
        300,
        vectors=True,
        relation=True,
    ),
    "cc": Loss(
        relation.correlation_congruence,
        EMBEDDINGS,
        "correlation between a batch's embeddings",
        "CC, Peng et al., 2019",
        relation=True,
    ),
    "pkt": Loss(
        kernel.probability_transfer,
        EMBEDDINGS,
        "each image's shares of similarity with the others",
        "PKT, Passalis & Tefas, 2018",
        30,
        relation=True,
    ),
    "crd": Loss(
        Contrast,
        EMBEDDINGS,
        "tell an image's embedding from a bounded memory of others",
        "CRD, Tian et al., 2020",
        0.1,
        learned=True,
        relation=True,
    ),
    # Of images: what the teacher says of them, and what it remembers.
    "onehot": Loss(
        response.supervised,
        ("task", "teacher.prediction", "aims"),
        "the teacher's answer against the target",
        "DAFL, Chen et al., 2019",
        teaches=False,
    ),
    "bn": Loss(
        prior_distance,
        ("prior", "teacher.statistics"),
        "distance from the stored statistics, norms not squared",
        "DeepInversion, Yin et al., 2020",
        teaches=False,
    ),
    "bn_kl": Loss(
        relative_prior_distance,
        ("prior", "teacher.statistics"),
        "the same as a divergence, free of the network's scale",
        teaches=False,
    ),
    "adv": Loss(
        adversarial.decision_adversarial,
        LOGITS,
        "-KL where student and teacher decide alike",
        "CMI, Fang et al., 2021",
        teaches=False,
    ),
    "js": Loss(
        adversarial.js_agreement,
        LOGITS,
        "1 - JS of softened answers",
        "Adaptive DeepInversion, Yin et al., 2020",
        teaches=False,
    ),
    "balance": Loss(
        adversarial.task_balance,
        ("task", "teacher.logits"),
        "classes as frequent in a batch, in nats",
        "DFQ, Choi et al., 2020",
        teaches=False,
    ),
    "balance10": Loss(
        partial(adversarial.task_balance, base=10),
        ("task", "teacher.logits"),
        "the same to the base of 10",
        "DAFL, Chen et al., 2019",
        teaches=False,
    ),
    "activation": Loss(
        adversarial.activation,
        ("teacher.embedding",),
        "an excited classifier",
        "DAFL, Chen et al., 2019",
        teaches=False,
    ),
    "tv_l1": Loss(
        prior.total_variation_l1,
        ("normalized",),
        "total variation",
        "DeepInversion, Yin et al., 2020",
        teaches=False,
    ),
    "tv_l2": Loss(
        prior.total_variation_l2,
        ("normalized",),
        "total variation, squared",
        "DeepInversion, Yin et al., 2020",
        teaches=False,
    ),
    "l2": Loss(
        prior.l2_norm, ("normalized",), "length", "DeepInversion, Yin et al., 2020", teaches=False
    ),
}

KNOWLEDGE = {name: loss for name, loss in LOSSES.items() if loss.teaches}
"""What a student can be taught: the rows that ``dfkd knowledge`` lists."""


def find_loss(name: str) -> Loss:
    """Return the row of ``NAME`` or ``NAME@MODIFIER``; the names are known (``objective.parse``).

    >>> find_loss("kd@std").needs
    ('student.logits', 'teacher.logits')
    """
    base, _, modifier = name.partition("@")
    row = LOSSES[base]
    return replace(row, modifier=MODIFIERS[modifier].function) if modifier else row

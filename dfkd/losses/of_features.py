"""The losses of features, maps and embeddings: a row each."""

from collections.abc import Callable

from torch import Tensor

from dfkd.losses import attention, kernel, relation
from dfkd.losses.loss import Loss
from dfkd.losses.modules import Contrast, Flows, Hints, Variational
from dfkd.losses.overhaul import Overhaul
from dfkd.losses.review import Review

FEATURES = ("student.features", "teacher.features")
EMBEDDINGS = ("student.embedding", "teacher.embedding")


def _over_depths(loss: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Sum a loss over the depths of its arguments, each a tuple with one entry a depth."""

    def total(*sides: tuple[Tensor, ...]) -> Tensor:
        values = [loss(*depth) for depth in zip(*sides, strict=True)]
        return sum(values[1:], values[0])

    return total


OF_FEATURES: dict[str, Loss] = {
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
}

"""The kinds of knowledge by name: what each looks at, and its loss."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dfkd.distillation.knowledge import plain
from dfkd.distillation.knowledge.answers import Answers
from dfkd.distillation.knowledge.learned import Contrast, Flows, Hints, Variational
from dfkd.losses import relation, response
from dfkd.networks.seeding import seeded


class Kind(NamedTuple):
    """A kind of knowledge: its loss, what it looks at, and a line for those who choose.

    Attributes:
        line: what it is, and its source.
        weight: where to start: of the order that its paper or its scale suggests beside ``kd``.
        loss: of the answers; None where the loss has parts that are learnt.
        learned: (answers to begin with) -> that loss as a module; its parameters are trained with
            the student and thrown away with the run.
        features: whether it looks at feature maps.
        vectors: whether features without places, N x C, do as well.
        heads: whether at the linear classifiers and what they average.
        gradients: whether at those of the logits with respect to the features, in both networks.
        embeddings: whether at what enters the classifiers.
        relation: whether it compares the images of a batch with each other: several processes
            then put their shares together.
    """

    line: str
    weight: float
    loss: Callable[[Answers], Tensor] | None = None
    learned: Callable[[Answers], nn.Module] | None = None
    features: bool = False
    vectors: bool = False
    heads: bool = False
    gradients: bool = False
    embeddings: bool = False
    relation: bool = False

    @property
    def inside(self) -> bool:
        """Whether it looks at more than answers."""
        return self.features or self.heads or self.embeddings


Losses = dict[str, Callable[[Answers], Tensor]]


def begin(
    kinds: Mapping[str, Kind], example: Callable[[], Answers], seed: int
) -> tuple[Losses, nn.ModuleDict]:
    """The losses by name, and those of them that have parts to learn, drawn from ``seed``.

    Args:
        example: gives answers to begin with, for the sake of their shapes; asked if need be.

    Raises:
        DfkdError: what a kind sees inside these networks cannot be compared.
    """
    losses: Losses = {name: kind.loss for name, kind in kinds.items() if kind.loss}
    learned = {name: kind.learned for name, kind in kinds.items() if kind.learned}
    modules: dict[str, nn.Module] = {}
    if learned or any(kind.inside for kind in kinds.values()):
        answers = example()
        with seeded(seed):
            modules = {name: build(answers) for name, build in learned.items()}
        with torch.no_grad():  # a loss that refuses such answers does so before a run begins
            for loss in losses.values():
                loss(answers)
    return losses | modules, nn.ModuleDict(modules)


KINDS: dict[str, Kind] = {
    "kd": Kind("KL of softened answers, times T^2 (Hinton et al., 2015)", 1, plain.kd),
    "kd_mean": Kind(
        "the same, divided by images x classes (as ZSKT, Micaelli & Storkey, 2019)",
        10,
        partial(plain.kd, reduction="mean"),
    ),
    "hard": Kind(
        "cross-entropy with an image's own class, else the teacher's (Hinton et al., 2015)",
        0.1,
        plain.hard,
    ),
    "l1": Kind(
        "mean |s - t| of the logits (DFAD, Fang et al., 2019)",
        1,
        partial(plain.of_logits, response.l1_logits),
    ),
    "mse": Kind(
        "mean (s - t)^2 of the logits (Ba & Caruana, 2014)",
        0.1,
        partial(plain.of_logits, response.mse_logits),
    ),
    "dkd": Kind("target and other classes apart, 1 to 8 (DKD, Zhao et al., 2022)", 1, plain.dkd),
    "hint": Kind(
        "features through 1x1 adapters, mean squared (FitNets, Romero et al., 2015)",
        1,
        learned=Hints,
        features=True,
        vectors=True,
    ),
    "at": Kind(
        "attention transfer (Zagoruyko & Komodakis, 2017)",
        250,
        plain.at,
        features=True,
    ),
    "cam": Kind(
        "class activation maps (Zhou et al., 2016; SpaceshipNet)", 0.1, plain.cam, heads=True
    ),
    "grad_cam": Kind(
        "Grad-CAMs at every depth (Selvaraju et al., 2017; SpaceshipNet)",
        1,
        plain.grad_cam,
        features=True,
        gradients=True,
    ),
    "vid": Kind(
        "information in features, a learnt Gaussian a channel (VID, Ahn et al., 2019)",
        1,
        learned=Variational,
        features=True,
        vectors=True,
    ),
    "fsp": Kind(
        "flow from each depth to the next (FSP, Yim et al., 2017)",
        1,
        learned=Flows,
        features=True,
    ),
    # The paper's weights, 25 and 50, stand beside cross-entropy; kd they drown (assets/RESULTS.md).
    "rkd": Kind(
        "distances + 2 angles between a batch's embeddings (RKD, Park et al., 2019)",
        1,
        plain.rkd,
        embeddings=True,
        relation=True,
    ),
    "rkd_distance": Kind(
        "the distances alone (RKD-D, Park et al., 2019)",
        1,
        partial(plain.of_embeddings, relation.distance_relation),
        embeddings=True,
        relation=True,
    ),
    "rkd_angle": Kind(
        "the angles alone (RKD-A, Park et al., 2019)",
        2,
        partial(plain.of_embeddings, relation.angle_relation),
        embeddings=True,
        relation=True,
    ),
    "sp": Kind(
        "which images of a batch excite alike (SP, Tung & Mori, 2019)",
        300,
        plain.sp,
        features=True,
        vectors=True,
        relation=True,
    ),
    "cc": Kind(
        "correlation between a batch's embeddings (CC, Peng et al., 2019)",
        1,
        partial(plain.of_embeddings, relation.correlation_congruence),
        embeddings=True,
        relation=True,
    ),
    "crd": Kind(
        "tell an image's embedding from a bounded memory of others (CRD, Tian et al., 2020)",
        0.1,
        learned=Contrast,
        embeddings=True,
        relation=True,
    ),
}

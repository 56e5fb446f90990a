"""Several teachers as one, whose merged answers the student learns as if from one teacher.

What is averaged are logits: a student that sees softmax(mean of logits / T) learns, at any
temperature, the geometric mean of the teachers' distributions (Hinton et al., 2015, section 1;
several teachers with weights: You et al., KDD 2017). Where the teachers know different classes
their logits stand side by side, a teacher's the smaller the stranger the image is to it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from dfkd.distillation.merging import (
    by_confidence,
    concat_logits,
    ood_score,
    record_input_means,
    weighted,
    wide,
)
from dfkd.errors import DfkdError, nearest
from dfkd.networks.layers import unwrap
from dfkd.tasks.orders import Lineup, line_up
from dfkd.teacher import Teacher
from dfkd.teacher.priors import prior_around
from dfkd.teacher.spec import ImageSpec
from dfkd.teacher.statistics import statistics_layers

COMBINE = ("mean", "weighted", "confidence", "classes")


@dataclass(frozen=True)
class EnsembleConfig:
    """How the teachers' answers become one.

    Attributes:
        combine: ``mean``, ``weighted``, ``confidence`` (a teacher counts the more the fewer classes
            it hesitates between on an image) or ``classes`` (each teacher has classes of its own;
            the student learns all of them, in the order of the teachers).
        weights: of ``weighted``, one a teacher; their sum does not matter.
    """

    combine: str = "mean"
    weights: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.combine not in COMBINE:
            raise DfkdError(f"combine cannot be {self.combine!r}{nearest(self.combine, COMBINE)}")
        if bool(self.weights) != (self.combine == "weighted"):
            raise DfkdError("combine=weighted and weights, one a teacher, belong together")
        if not all(0 < weight < float("inf") for weight in self.weights):
            raise DfkdError(f"weights of teachers must be positive and finite, not {self.weights}")


class Ensemble(nn.Module):
    """Several networks as one: N x C x H x W normalised by ``spec`` -> N x classes merged logits.

    Args:
        teachers: of one image space; each member is fed with its own normalisation.
        spec: how what comes in is normalised.
        config: how their logits are merged.
        lineup: the order of classes that all are brought to; None where each has its own.
    """

    several = True
    """For ``dfkd.networks.layers``: a layer is that of one teacher among others."""

    def __init__(
        self,
        teachers: Sequence[Teacher],
        spec: ImageSpec,
        config: EnsembleConfig,
        lineup: Lineup | None,
    ) -> None:
        super().__init__()
        # What torch.compile made does not see hooks that are opened later.
        networks = (unwrap(teacher.network) for teacher in teachers)
        self.members = nn.ModuleList(networks)
        self.spec, self.config, self.lineup = spec, config, lineup
        for number, own in enumerate(lineup.columns if lineup else [None] * len(teachers)):
            # Buffers: they go where the members go, and other orders are another teacher.
            order = None if own is None else torch.tensor(own, device=teachers[0].device)
            self.register_buffer(f"order_{number}", order)
        self._specs = tuple(teacher.spec for teacher in teachers)
        self._tasks = tuple(teacher.task for teacher in teachers)
        # Those who cannot say what is strange to them are compared with nobody.
        self._compared = config.combine == "classes" and all(
            statistics_layers(network) for network in self.members
        )
        if self._compared:
            self.not_compiled = "teachers of different classes are compared by hooks"

    def forward(self, x: Tensor) -> Tensor:
        logits, strange = [], []
        for number, (member, spec) in enumerate(zip(self.members, self._specs, strict=True)):
            task = self._tasks[number]
            own = x if spec == self.spec else spec.normalize(self.spec.denormalize(x))
            watched = statistics_layers(member).values() if self._compared else ()
            with record_input_means(watched) as means:
                answers = wide(task.read(member(own)).logits)
            order = getattr(self, f"order_{number}")
            logits.append(answers if order is None else answers.index_select(1, order))
            if means:
                strange.append(ood_score(means))
        combine = self.config.combine
        if combine == "confidence":
            return by_confidence(logits)
        if combine == "classes":
            # A teacher whose norms are never called cannot be compared either.
            return concat_logits(logits, strange if len(strange) == len(logits) else ())
        return weighted(logits, self.config.weights)


def ensemble(
    teachers: Sequence[Teacher], combine: str = "mean", weights: Sequence[float] = ()
) -> Teacher:
    """Merge several teachers into one ``Teacher``, for any method and any student.

    Their networks are shared, not copied, and stay as they are, on the first one's device.

    Args:
        teachers: of any architectures, for images of one shape; each keeps its normalisation.
        combine, weights: see ``EnsembleConfig``.

    Raises:
        DfkdError: fewer than two teachers, or teachers that do not go together.
    """
    return merge_teachers(teachers, EnsembleConfig(combine, tuple(weights)))


def merge_teachers(teachers: Sequence[Teacher], config: EnsembleConfig) -> Teacher:
    """Merge teachers by a config, as the table of schemes calls it."""
    if len(teachers) < 2:
        raise DfkdError("an ensemble wants more than one teacher")
    if config.weights and len(config.weights) != len(teachers):
        raise DfkdError(f"{len(config.weights)} weights for {len(teachers)} teachers")
    if any(teacher.task.rows > 1 for teacher in teachers):
        raise DfkdError("an ensemble wants teachers of one class an image, and one has labels")
    for teacher in teachers:
        teacher.require_inside("an ensemble asks its teachers as one network")
    lineup = None if config.combine == "classes" else _same_classes(teachers)
    names = lineup.names if lineup else _all_names(teachers)
    spec = _common_spec(teachers)
    prior = prior_around(teachers, "an ensemble")
    network = Ensemble(teachers, spec, config, lineup)
    for teacher in teachers:
        teacher.to(teachers[0].device)
    return Teacher(network, spec, names, prior=prior)


def _common_spec(teachers: Sequence[Teacher]) -> ImageSpec:
    """Their shape; means and deviations between theirs: the student wants normalised images."""
    for one, other in pairwise(teachers):
        if one.spec.shape != other.spec.shape:
            shapes = " and ".join("x".join(map(str, t.spec.shape)) for t in (one, other))
            raise DfkdError(f"the teachers take {shapes} images; an ensemble wants one shape")
    specs = {teacher.spec for teacher in teachers}
    if len(specs) == 1:
        return teachers[0].spec
    means, deviations = (
        torch.tensor([getattr(t.spec, name) for t in teachers], dtype=torch.float64).mean(0)
        for name in ("mean", "std")
    )
    return ImageSpec(*teachers[0].spec.shape, tuple(means.tolist()), tuple(deviations.tolist()))


def _all_names(teachers: Sequence[Teacher]) -> tuple[str, ...]:
    """Every class of every teacher, in their order."""
    names: list[str] = []
    for teacher in teachers:
        twice = next((name for name in teacher.class_names if name in names), None)
        if twice is not None:
            raise DfkdError(
                f"two teachers know the class {twice!r}; combine=classes is for classes of their "
                "own: name them apart (class_names; `class_names=FILE` once for each teacher), "
                "or use combine=mean if all know all"
            )
        names += teacher.class_names
    return tuple(names)


def _same_classes(teachers: Sequence[Teacher]) -> Lineup:
    """The classes that all know, in the first one's order, and where each has them."""
    first = teachers[0]
    other = next((t for t in teachers if t.num_classes != first.num_classes), None)
    if other is not None:
        raise DfkdError(
            f"the teachers know {first.num_classes} and {other.num_classes} classes; "
            "where each has classes of its own use combine=classes"
        )
    named = [(f"teacher {number}", t.class_names) for number, t in enumerate(teachers, 1)]
    try:
        return line_up(named)
    except DfkdError as error:
        remedy = "where each has classes of its own use combine=classes"
        raise DfkdError(f"{error}; {remedy}") from None

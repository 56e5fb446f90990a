"""A set to select from, as a network sees it, and what a choice out of it has."""

from functools import cached_property
from typing import NamedTuple

from torch import Tensor

from dfkd.datasets.written import WrittenSet
from dfkd.evaluation.covering import coverage_radius
from dfkd.evaluation.diversity import class_diversity
from dfkd.evaluation.penultimate import look_at
from dfkd.sets.rules import Candidates, SelectionOrder, check_rule, choose_places
from dfkd.sets.whole import answers_of, check_sees, image_batches
from dfkd.teacher import Teacher

DRAWS = 3
"""Random selections whose mean every other one is held against."""


class ChoiceFigures(NamedTuple):
    """What a selection has.

    Attributes:
        images: that are kept.
        confidence: mean probability that the stored answers give to the label.
        agreement: share of the stored answers that are the label, in [0, 1].
        vendi: mean Vendi score within the classes; None without a network, or of single images.
        radius: largest distance of any image of the whole set to its nearest kept one, in the
            network's features; None without a network.
    """

    images: int
    confidence: float
    agreement: float
    vendi: float | None
    radius: float | None


class SelectionPool:
    """A set to select from, as a network sees it.

    Args:
        data: the set.
        teacher: looks at all images when features are first wanted; None: there are none.
        name: what messages call it.

    Raises:
        DfkdError: a network that takes other images, or a damaged set.
    """

    def __init__(self, data: WrittenSet, teacher: Teacher | None, name: str = "teacher") -> None:
        if teacher is not None:
            check_sees(teacher, data, "teacher", name)
        self.data, self.teacher = data, teacher
        self.answers = answers_of(data)

    @cached_property
    def candidates(self) -> Candidates:
        """What rules choose from; the images are looked at once."""
        seen = None if self.teacher is None else look_at(self.teacher, image_batches(self.data))
        features = None if seen is None else seen.features
        return Candidates(self.answers.labels, self.answers.own, features)

    def choose(self, by: str, order: SelectionOrder) -> Tensor:
        """Choose places by a rule; see ``choose_places``."""
        check_rule(by, self.teacher is not None)
        # Whether there are enough is known before any image has been looked at.
        order.groups(self.answers.labels, self.data.manifest.class_names)
        return choose_places(by, order, self.candidates, self.data.manifest.class_names)

    def figures(self, places: Tensor) -> ChoiceFigures:
        """Measure the images at these places."""
        answers, features = self.answers.at(places), self.candidates.features
        vendi = radius = None
        if features is not None:
            within = class_diversity(features[places], answers.labels)
            vendi = None if within is None else within.vendi
            radius = coverage_radius(features, places)
        return ChoiceFigures(len(places), answers.confidence, answers.agreement, vendi, radius)

    def chance(self, order: SelectionOrder) -> ChoiceFigures:
        """Measure random selections of as many images; returns the mean."""
        # Seeds of their own: ``random`` itself is held against others.
        seeds = ((order.seed + 1 + draw) % 2**63 for draw in range(DRAWS))
        orders = (
            SelectionOrder(order.keep, order.per_class, order.unbalanced, seed) for seed in seeds
        )
        found = [self.figures(self.choose("random", one)) for one in orders]
        return ChoiceFigures(
            found[0].images,
            sum(one.confidence for one in found) / DRAWS,
            sum(one.agreement for one in found) / DRAWS,
            _mean([one.vendi for one in found]),
            _mean([one.radius for one in found]),
        )


def _mean(values: list[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return sum(there) / len(there) if there else None

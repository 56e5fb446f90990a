"""``select``: a smaller set out of a larger one, beside what chance would have kept."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dfkd.datasets.written import WrittenSet
from dfkd.datasets.written.manifest import MANIFEST
from dfkd.datasets.written.shards import digest
from dfkd.errors import unwritable
from dfkd.evaluation.covering import coverage_radius
from dfkd.evaluation.diversity import class_diversity
from dfkd.evaluation.penultimate import look_at
from dfkd.runs.options import Output
from dfkd.sets.recut import prepare_copy, write_part
from dfkd.sets.rules import RULES, Candidates, SelectionOrder, check_rule, choose_places
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


@dataclass(frozen=True)
class Selection:
    """What ``select`` returns.

    Attributes:
        directory: of the new set.
        by: the rule.
        places: of its images in the source, ascending.
        figures: what it has.
        chance: what random selections of as many have, on average.
        source: what the whole source has.
        labels: what came along of the source's labels, in words; "" where it has none.
    """

    directory: Path
    by: str
    places: Tensor
    figures: ChoiceFigures
    chance: ChoiceFigures
    source: ChoiceFigures
    labels: str = ""

    @property
    def dataset(self) -> WrittenSet:
        """The new set."""
        return WrittenSet(self.directory)


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


def compare_rules(
    directory: Path | str, order: SelectionOrder, *, teacher: Teacher | None = None
) -> dict[str, ChoiceFigures]:
    """Measure what every rule would keep, ``whole set`` first; nothing is written or trained.

    Args:
        directory: of a closed set.
        order: how many images to keep.
        teacher: whose features tell images apart; without it rules that need them are left out.

    Raises:
        DfkdError: see ``select``.
    """
    return _compared(SelectionPool(WrittenSet(directory), teacher), order)


def _compared(pool: SelectionPool, order: SelectionOrder) -> dict[str, ChoiceFigures]:
    rules = [name for name, rule in RULES.items() if pool.teacher or not rule.looks]
    chosen = {name: pool.choose(name, order) for name in rules if name != "random"}
    return {
        "whole set": pool.figures(torch.arange(len(pool.data))),
        "random": pool.chance(order),
        **{name: pool.figures(places) for name, places in chosen.items()},
    }


def select(
    directory: Path | str,
    *,
    output: Output | Path | str,
    keep: int | None = None,
    per_class: int | None = None,
    by: str = "confidence",
    unbalanced: bool = False,
    teacher: Teacher | None = None,
    seed: int = 0,
) -> Selection:
    """Write a new closed set of some of another's images, with all that is known of them.

    The other set is only read. No student is trained: whether a selection teaches better, only a
    run can tell.

    Args:
        directory: of a closed set.
        output: the new set's directory; an ``Output`` says whether an earlier set may be replaced.
        keep: images in all, as evenly over the classes as these have images; or
        per_class: images of each class.
        by: ``confidence``, ``diversity`` (greedy k-centres of the teacher's features), ``both`` or
            ``random``.
        unbalanced: classes may have any number of ``keep``.
        teacher: whose features tell images apart; needed by ``diversity`` and ``both``.
        seed: of ``random``.

    Raises:
        DfkdError: no closed set, more images than it has, a rule that lacks its teacher, or no
            room in ``output``.
    """
    order = SelectionOrder(keep, per_class, unbalanced, seed)
    check_rule(by, teacher is not None)
    output = output if isinstance(output, Output) else Output(output)
    path = prepare_copy(output, Path(directory))
    pool = SelectionPool(WrittenSet(directory), teacher)
    places = pool.choose(by, order)
    try:
        origin = _origin(pool, by, order, len(places))
        _, labels = write_part(pool.data, places, origin, path, output.overwrite)
    except OSError as error:
        raise unwritable(error, path) from error
    whole = pool.figures(torch.arange(len(pool.data)))
    return Selection(path, by, places, pool.figures(places), pool.chance(order), whole, labels)


def _origin(pool: SelectionPool, by: str, order: SelectionOrder, kept: int) -> dict[str, Any]:
    manifest = pool.data.manifest
    return {
        "from": digest(pool.data.directory / MANIFEST),
        "by": by,
        "kept": kept,
        "of": len(pool.data),
        "per_class": order.per_class,
        "balanced": not order.unbalanced,
        "seed": order.seed,
        "teacher": pool.teacher.fingerprint() if pool.teacher and RULES[by].looks else None,
        "before": manifest.selected,
    }

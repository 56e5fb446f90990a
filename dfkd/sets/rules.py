"""Which images of a set to keep: how many of each class, and by what rule."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, NamedTuple

import torch
from torch import Tensor

from dfkd.errors import DfkdError, check_settings, nearest
from dfkd.evaluation.covering import k_centre
from dfkd.tasks.words import shown


class Candidates(NamedTuple):
    """What rules choose from.

    Attributes:
        labels: N class indices.
        own: N, the larger the surer the teacher is of the label.
        features: N x d; None where no network has looked.
    """

    labels: Tensor
    own: Tensor
    features: Tensor | None


class Rule(NamedTuple):
    """A way to choose ``count`` of a group of images.

    Attributes:
        line: what it keeps.
        looks: whether it needs features.
        choose: candidates, places of the group, count, generator -> places that are kept.
    """

    line: str
    looks: bool
    choose: Callable[[Candidates, Tensor, int, torch.Generator], Tensor]


@dataclass(frozen=True)
class SelectionOrder:
    """How many images to keep, and of which classes.

    Attributes:
        keep: images in all, shared out evenly over the classes; or
        per_class: images of each class. One of the two.
        unbalanced: classes may have any number of ``keep``.
        seed: of ``random``.

    Raises:
        DfkdError: neither or both counts, or a value out of range.
    """

    keep: Annotated[int, "[1, inf)"] | None = None
    per_class: Annotated[int, "[1, inf)"] | None = None
    unbalanced: bool = False
    seed: Annotated[int, "[0, 9223372036854775807]"] = 0

    def __post_init__(self) -> None:
        check_settings(self, "`")
        if (self.keep is None) == (self.per_class is None):
            raise DfkdError("say how many images to keep: either `keep` or `per_class`")
        if self.unbalanced and self.keep is None:
            raise DfkdError("`unbalanced` is for `keep`: `per_class` gives each class as many")

    def groups(self, labels: Tensor, names: Sequence[str]) -> list[tuple[Tensor, int]]:
        """Return groups of images by their places, each with how many of it are kept.

        Args:
            labels: N class indices.
            names: of the classes.

        Raises:
            DfkdError: more than there is, or fewer than classes.
        """
        if self.keep is not None and self.keep > len(labels):
            raise DfkdError(f"`keep` is {self.keep}, and the set has {len(labels)} images")
        if self.unbalanced:
            return [(torch.arange(len(labels)), self.keep or 0)]
        counts = labels.bincount(minlength=len(names)).tolist()
        there = [index for index, count in enumerate(counts) if count]
        shares = self._shares([counts[i] for i in there], [names[i] for i in there])
        return [
            ((labels == index).nonzero()[:, 0], share)
            for index, share in zip(there, shares, strict=True)
        ]

    def _shares(self, counts: Sequence[int], names: Sequence[str]) -> list[int]:
        if self.per_class is None:
            if (self.keep or 0) < len(counts):
                raise DfkdError(
                    f"{len(counts)} classes, and `keep` is {self.keep}: keep one of each, or add "
                    "`unbalanced`"
                )
            return level_shares(counts, self.keep or 0)
        fewest = min(range(len(counts)), key=counts.__getitem__)
        if counts[fewest] < self.per_class:
            raise DfkdError(
                f"`per_class` is {self.per_class}, and class {shown(names[fewest])!r} has "
                f"{counts[fewest]} images: lower it, or give `keep`"
            )
        return [self.per_class] * len(counts)


def level_shares(counts: Sequence[int], total: int) -> list[int]:
    """Share out ``total`` as evenly as classes have images; the sum is exact.

    Args:
        counts: images of each class.
        total: at most their sum.

    >>> level_shares([2, 9, 9], 12), level_shares([5, 5, 5], 7)
    ([2, 5, 5], [3, 2, 2])
    """
    shares, left = [0] * len(counts), total
    order = sorted(range(len(counts)), key=lambda i: (counts[i], -i))
    for done, index in enumerate(order):  # the smallest first: what it lacks goes to the others
        shares[index] = min(counts[index], left // (len(counts) - done))
        left -= shares[index]
    return shares


def choose_places(by: str, order: SelectionOrder, pool: Candidates, names: Sequence[str]) -> Tensor:
    """Choose which images to keep; the same candidates and order give the same choice.

    Args:
        by: of ``RULES``.
        order: how many.
        pool: what to choose from.
        names: of the classes.

    Returns:
        Places of the kept images, ascending.

    Raises:
        DfkdError: no such rule, one that needs features where there are none, or more than there
            is.
    """
    check_rule(by, pool.features is not None)
    generator = torch.Generator().manual_seed(order.seed)
    chosen = [
        RULES[by].choose(pool, group, count, generator)
        for group, count in order.groups(pool.labels, names)
    ]
    return torch.cat(chosen).sort().values


def check_rule(by: str, looked: bool) -> None:
    """Raise unless ``by`` is a rule, and ``looked`` says that it has what it needs."""
    if by not in RULES:
        raise DfkdError(f"`by` is no rule: {shown(by, 40)!r}{nearest(by, RULES)}")
    if RULES[by].looks and not looked:
        raise DfkdError(f"`by={by}` looks at the features of a network: add `teacher`")


def _random(pool: Candidates, group: Tensor, count: int, generator: torch.Generator) -> Tensor:
    return group[torch.randperm(len(group), generator=generator)[:count]]


def _confident(pool: Candidates, group: Tensor, count: int, _: torch.Generator) -> Tensor:
    return group[pool.own[group].sort(descending=True, stable=True).indices[:count]]


def _diverse(pool: Candidates, group: Tensor, count: int, _: torch.Generator) -> Tensor:
    assert pool.features is not None
    return group[k_centre(pool.features[group], count)]


def _both(pool: Candidates, group: Tensor, count: int, generator: torch.Generator) -> Tensor:
    # Half of what goes is what the teacher is least sure of, half what is like the kept.
    sure = _confident(pool, group, (len(group) + count + 1) // 2, generator)
    return _diverse(pool, sure.sort().values, count, generator)


RULES: Mapping[str, Rule] = {
    "random": Rule("any, as good as another", False, _random),
    "confidence": Rule("those that the teacher is surest of", False, _confident),
    "diversity": Rule("greedy k-centres: each time what is least like those kept", True, _diverse),
    "both": Rule("k-centres, once half of what goes went for low confidence", True, _both),
}
"""What images can be selected by."""

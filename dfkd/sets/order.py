"""What set is wanted: how many images of which class, by which method, cut into which shards."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Annotated, Any

from dfkd.datasets.written import ShardEntry
from dfkd.errors import DfkdError, check_settings
from dfkd.networks.seeding import seed_of
from dfkd.recipes import Recipe, to_dict
from dfkd.recipes.idle import check_idle
from dfkd.recipes.overlay import flat
from dfkd.sets.class_turns import shared_out
from dfkd.sets.order_values import as_number, as_numbers, as_whole, as_wholes
from dfkd.synthesis.methods.deep_inversion_config import DeepInversionConfig
from dfkd.teacher import Teacher

SAMPLED_SHARD = 1000
"""Images of a shard of a method that draws them from what it has learned."""
_MOST_SHARDS = 100_000
_MOST_IMAGES = 100_000_000
_MOST_OF_A_SHARD = 1_000_000
"""Images; all of a shard are in memory at once."""


@dataclass(frozen=True)
class SetOrder:
    """The arguments of ``dfkd.synthesize`` that say what set is wanted.

    Attributes:
        recipe: the method and its settings.
        per_class: images of each class; or
        count: of all, shared out by ``priors`` or evenly. One of the two.
        classes: indices of the classes to make; all when left out.
        priors: weights of those classes, in their order.
        mixtures: share of the images that are made for two classes at once.
        steps: iterations of a batch of pictures; of a method that learns, the student's steps.
        shard_size: images of a shard; what the method optimises together when left out.
        seed: of all of it.

    Raises:
        DfkdError: neither or both counts, or a value out of range.
    """

    recipe: Recipe
    per_class: Annotated[int, "[1, inf)"] | None = None
    count: Annotated[int, "[1, inf)"] | None = None
    classes: Sequence[int] | None = None
    priors: Sequence[float] | None = None
    mixtures: Annotated[float, "[0, 1]"] = 0.0
    steps: Annotated[int, "[1, inf)"] | None = None
    shard_size: Annotated[int, "[1, inf)"] | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        self._make_plain()
        check_settings(self, "`")
        if (self.per_class is None) == (self.count is None):
            raise DfkdError("say how many images: either `per_class` or `count`")
        if self.priors is not None and self.count is None:
            raise DfkdError("`priors` share out `count` images: give that in place of `per_class`")
        if not 0 <= self.seed < 2**63:
            raise DfkdError(f"`seed` must be in [0, 2**63), not {self.seed}")
        if self.mixtures and not self.pictures:
            raise DfkdError(
                f"`mixtures` are made by pictures' methods (natural, sre2l, cda), and "
                f"{self.recipe.method} has no targets of its own"
            )
        self._check_recipe()

    def _check_recipe(self) -> None:
        """Raise where a setting of the recipe would be ignored."""
        if not self.pictures:
            used = ("method", "synthesizer", "learner", "alternation")
            why = "images are drawn from what the method learns, against a student without it"
            check_idle(self.recipe, used, why)
            return
        why = "pictures are made by synthesizer's settings, and what has a parameter"
        check_idle(self.recipe, ("method", "synthesizer"), why)
        if self.recipe.synthesizer.adi:
            raise DfkdError(
                "synthesizer.adi competes with a student, and a set has none: leave it 0"
            )

    def _make_plain(self) -> None:
        """Numbers of other libraries become Python's, as the manifest writes them."""
        plain: dict[str, Any] = {
            "seed": as_whole("seed", self.seed), "mixtures": as_number("mixtures", self.mixtures),
        }  # fmt: skip
        for name in ("per_class", "count", "steps", "shard_size"):
            if (value := getattr(self, name)) is not None:
                plain[name] = as_whole(name, value)
        if self.classes is not None:
            plain["classes"] = as_wholes("classes", self.classes)
        if self.priors is not None:
            plain["priors"] = as_numbers("priors", self.priors)
        for name, value in plain.items():
            object.__setattr__(self, name, value)

    @property
    def pictures(self) -> bool:
        """Whether images are optimised for targets of their own; others are drawn and sorted."""
        return isinstance(self.recipe.synthesizer, DeepInversionConfig)

    def class_counts(self, teacher: Teacher) -> list[int]:
        """Return how many images each of the teacher's classes is to have.

        Raises:
            DfkdError: a class that the teacher has not, or twice; priors that are miscounted; more
                classes than images.
        """
        last = teacher.num_classes - 1
        wanted = range(last + 1) if self.classes is None else self.classes
        if wrong := [index for index in wanted if not 0 <= index <= last]:
            raise DfkdError(
                f"class {wrong[0]} is out of range: the teacher has classes 0 to {last}"
            )
        if len(set(wanted)) < len(wanted) or not wanted:
            raise DfkdError("`classes` wants each class once")
        if self.per_class is not None:
            own = [self.per_class] * len(wanted)
        else:
            own = shared_out(self.count or 0, self._weights(len(wanted)))
        if self.priors is None and min(own) == 0:
            raise DfkdError(
                f"{len(wanted)} classes and {self.count} images: give `count` at least one image "
                "a class, or choose `classes`"
            )
        counts = [0] * (last + 1)
        for index, number in zip(wanted, own, strict=True):
            counts[index] = number
        return counts

    def _weights(self, number: int) -> list[float]:
        weights = [1.0] * number if self.priors is None else list(self.priors)
        if len(weights) != number:
            raise DfkdError(f"`priors` wants a weight a class: {number}, not {len(weights)}")
        if not (min(weights) >= 0 and 0 < sum(weights) < float("inf")):
            raise DfkdError("`priors` must be weights that are not negative and not all 0")
        return weights

    def sizes(self, total: int) -> list[int]:
        """Return how many images each shard is to have: as even as can be.

        Raises:
            DfkdError: more shards than a directory should have, or more images than memory.
        """
        own = self.recipe.synthesizer.batch_size if self.pictures else SAMPLED_SHARD
        shards = -(-total // (self.shard_size or own))
        if shards > _MOST_SHARDS:
            raise DfkdError(
                f"{total} images make {shards} shards, and {_MOST_SHARDS} is the most: raise "
                "`shard_size`"
            )
        if -(-total // shards) > _MOST_OF_A_SHARD or total > _MOST_IMAGES:
            raise DfkdError(
                f"a set has at most {_MOST_IMAGES:,} images, and a shard {_MOST_OF_A_SHARD:,}: "
                f"lower `count`, `per_class` or `shard_size`, for {total:,} in {shards:,} shards"
            )
        ends = [total * i // shards for i in range(shards + 1)]
        return [end - start for start, end in pairwise(ends)]

    def identity(self) -> dict[str, Any]:
        """Return what another session must have in common with the first, as plain values."""
        asked = {name: value for name, value in asdict(self).items() if name != "recipe"}
        settings = to_dict(self.recipe)
        kept = {name: settings[name] for name in ("method", "synthesizer")}
        if not self.pictures:  # whose images depend on who learned from them
            kept |= {name: settings[name] for name in ("learner", "alternation")}
            if self.recipe.selection.active:
                kept["selection"] = settings["selection"]
        return plain_values(flat(asked | kept))


def plain_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values as JSON gives them back: tuples become lists."""
    return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}


def shard_entries(order: SetOrder, counts: Sequence[int], teachers: int) -> list[ShardEntry]:
    """Cut a set into shards, which the teachers make in turn."""
    return [
        ShardEntry(size, seed_of(order.seed, place), place % teachers)
        for place, size in enumerate(order.sizes(sum(counts)))
    ]


def with_size(config: DeepInversionConfig, size: int) -> DeepInversionConfig:
    """Return a setting that optimises ``size`` images together."""
    return replace(config, batch_size=size, capacity=size)

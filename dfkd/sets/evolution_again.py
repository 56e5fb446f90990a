"""How the first images of a set came to be: its first shard is made again, and watched.

A set's bytes say nothing of the way to them. The same teacher, seed and settings go it again.
"""

from collections.abc import Callable
from typing import NamedTuple

from dfkd.datasets.written import WrittenSet
from dfkd.errors import DfkdError
from dfkd.sets.class_turns import in_turn
from dfkd.sets.known_teachers import by_hash
from dfkd.sets.makers import make_pictures
from dfkd.sets.order_again import order_of
from dfkd.sets.plan import settings_of
from dfkd.synthesis.evolution import Evolution
from dfkd.teacher import Teacher
from dfkd.teacher.folding import fold


class Watched(NamedTuple):
    """An evolution that was gone through again.

    Attributes:
        evolution: of the first images of the first shard.
        same: whether the shard came out with the images that the set has.
    """

    evolution: Evolution
    same: bool


def watch_first_shard(
    data: WrittenSet, teacher: Teacher, moments: int = 8, count: int = 6,
    pulse: Callable[[float, int], None] = lambda share, step: None,
) -> Watched:  # fmt: skip
    """Make the first shard of a set again, and note how its first images come to be.

    Args:
        data: made by a method that optimises images; nothing of it is written.
        teacher: the one that the shard was made from.
        moments: that are noted.
        count: images that are noted.
        pulse: called before every step with the share that is done and its number.

    Raises:
        DfkdError: another teacher, a set that was selected from others, or whose images were drawn.
    """
    manifest = data.manifest
    if manifest.selected is not None:
        raise DfkdError(
            "the images were selected from another set, and cannot be made again: leave `teacher` "
            "out, or look at that set"
        )
    order = order_of(manifest)
    if not order.pictures:
        raise DfkdError(
            f"the set was drawn from {order.recipe.method}, and no image of it evolved on its own: "
            "leave `teacher` out"
        )
    known, entry = by_hash(manifest, [teacher]), manifest.shards[0]
    if manifest.teachers[entry.teacher].hash not in known:
        raise DfkdError("the first shard was made from the set's first teacher: give that one")
    classes = in_turn([one.count for one in manifest.classes])[: entry.count]
    evolution, settings = Evolution(manifest.image, moments, count), settings_of(manifest, order)
    rows = make_pictures(
        fold(teacher).teacher, settings, classes, entry.seed, order.mixtures,
        lambda share: pulse(share, round(share * settings.total_iterations)), evolution.watch,
    )  # fmt: skip
    evolution.finish(manifest.image.decode(rows["images"]))
    stored = data.rows(range(entry.count), "images")["images"]
    return Watched(evolution, bool((stored == rows["images"]).all()))

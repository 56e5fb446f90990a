"""``select``: a smaller set out of a larger one, beside what chance would have kept."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dfkd.datasets.written import WrittenSet
from dfkd.datasets.written.manifest import MANIFEST
from dfkd.datasets.written.shards import digest
from dfkd.errors import unwritable
from dfkd.runs.options import Output
from dfkd.sets.recut import prepare_copy, write_part
from dfkd.sets.rules import RULES, SelectionOrder, check_rule
from dfkd.sets.selection_pool import ChoiceFigures, SelectionPool
from dfkd.teacher import Teacher


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

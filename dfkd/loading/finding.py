"""A network's weights among all tensors of a file: by one prefix under which all its keys are.

Wrappers (``state_dict``, ``model``), prefixes (``module.``, ``net.``) and further copies (``ema``)
are all the same: words before a name.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from dfkd.loading.trees import Leaf

FIRST = ("state_dict", "model", "model_state_dict")
AVERAGED = re.compile(r"(^|[._])(ema|swa|averaged?|teacher|target)([._]|$)|_ema|ema_", re.I)


@dataclass(frozen=True)
class Fit:
    """A prefix under which keys of a network are found.

    Attributes:
        prefix: the words, each with a dot after it.
        state: the file's tensors under it, by the network's keys.
        problem: what does not match, in words; "" where all does.
        count: how many keys do not match.
        left: names of other tensors beside them.
        heads: keys of other numbers of classes, where those are to be left as they are.
    """

    prefix: str
    state: dict[str, Any]
    problem: str
    count: int
    left: tuple[str, ...]
    heads: tuple[str, ...]


def fits(
    own: Mapping[str, Any], found: Sequence[Leaf], classes: int = 0, passing: Set[str] = frozenset()
) -> list[Fit]:
    """List the prefixes under which a network's keys are, the best first.

    Args:
        own: the network's state.
        found: the file's tensors.
        classes: of a student, whose head may be of another number of them than the file's; 0: no.
        passing: buffers that the network makes itself, and that a file may have nevertheless.
    """
    found = [leaf for leaf in found if not _ends_in(leaf.name, passing)]
    prefixes: Counter[str] = Counter()
    for leaf in found:
        parts = leaf.name.split(".")
        for start in range(len(parts)):
            if ".".join(parts[start:]) in own:
                prefixes["".join(part + "." for part in parts[:start])] += 1
    # A prefix that is some of the network's own words finds few of its keys.
    likely = [prefix for prefix, n in prefixes.items() if 2 * n >= max(prefixes.values())]
    by_name = {leaf.name: leaf for leaf in found}
    every = [_fit(own, by_name, prefix, classes) for prefix in likely[:64] or [_widest(found)]]
    return sorted(every, key=lambda one: (one.count, *_rank(one.prefix)))


def _ends_in(name: str, keys: Set[str]) -> bool:
    parts = name.split(".")
    return bool(keys) and any(".".join(parts[start:]) in keys for start in range(len(parts)))


def _widest(found: Sequence[Leaf]) -> str:
    """The words before the largest mapping: what is compared where no key fits."""
    groups = Counter(leaf.group for leaf in found)
    return "".join(part + "." for part in max(groups, key=lambda g: groups[g], default=()))


def _rank(prefix: str) -> tuple[bool, int]:
    first = prefix.partition(".")[0]
    return bool(AVERAGED.search(prefix)), FIRST.index(first) if first in FIRST else len(FIRST)


def _fit(own: Mapping[str, Any], found: Mapping[str, Leaf], prefix: str, classes: int) -> Fit:
    state = {key: found[prefix + key].value for key in own if prefix + key in found}
    groups = {found[prefix + key].group for key in state}
    beside = [name for name, leaf in found.items() if leaf.group in groups or not state]
    left = [n for n in beside if not (n.startswith(prefix) and n.removeprefix(prefix) in state)]
    tied = {id(value) for key, value in own.items() if key in state}
    # Counters of batches are younger than many published files, and nothing depends on them.
    missing = [
        key
        for key, value in own.items()
        if key not in state and id(value) not in tied
        and not key.endswith(("num_batches_tracked", "_extra_state"))
    ]  # fmt: skip
    tops = {_kind(key.partition(".")[0]) for key in own}
    inner = [name.removeprefix(prefix) for name in left if name.startswith(prefix)]
    # Beside a network that is whole, others may stand, such as a criterion.
    unexpected = [name for name in inner if missing or _kind(name.partition(".")[0]) in tops]
    wrong = [key for key, value in state.items() if not _alike(own[key], value)]
    heads = [key for key in wrong if classes and _other_head(own[key], state[key], classes)]
    misshapen = [
        f"{key} is {_shape(state[key])}, not {_shape(own[key])}"
        for key in wrong
        if key not in heads
    ]
    sorts = {"missing": missing, "unexpected": unexpected, "misshapen": misshapen}
    texts = [f"{len(keys)} {sort} ({first_keys(keys)})" for sort, keys in sorts.items() if keys]
    for key in heads:
        del state[key]
    count = sum(map(len, sorts.values()))
    return Fit(prefix, state, ", ".join(texts), count, tuple(left), tuple(heads))


def _kind(word: str) -> str:
    """``layer3`` and ``layer4`` are of one kind: further ones belong to a larger network."""
    return re.sub(r"\d+", "#", word)


def _alike(mine: Any, theirs: Any) -> bool:
    if not isinstance(mine, Tensor) or nn.parameter.is_lazy(mine):
        return True
    same = isinstance(theirs, Tensor) and mine.shape == theirs.shape
    return same and mine.is_complex() >= theirs.is_complex()


def _other_head(mine: Any, theirs: Any, classes: int) -> bool:
    return (
        isinstance(theirs, Tensor)
        and mine.ndim == theirs.ndim > 0
        and mine.shape[0] == classes
        and mine.shape[1:] == theirs.shape[1:]
    )


def _shape(value: Any) -> str:
    shape = tuple(getattr(value, "shape", ()))
    return "x".join(map(str, shape)) or "scalar"


def first_keys(keys: Sequence[str], most: int = 3) -> str:
    """Name the first keys, and count the rest."""
    rest = len(keys) - most
    return ", ".join(key[:60] for key in keys[:most]) + (f" and {rest} more" if rest > 0 else "")

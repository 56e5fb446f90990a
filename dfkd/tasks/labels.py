"""Match names with classes by what they are called, never by their position in a list.

Directories and a model's classes, or the classes of two models, go through the same rules in turn:
one rule must map all names, and no two names to the same class.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from dfkd.tasks.synsets import synset_indices
from dfkd.tasks.words import first_few, shown

Indices = list[int | None]

_LONGEST = 60
"""Characters of a class's name in a directory's."""

REMEDY = "give `class_names=FILE`: the model's classes in their order, one name a line"

_NUMBER = re.compile(r"[0-9]{1,9}")
_NUMERIC = re.compile(r"[+-]?[0-9][0-9.,]*")
# A hyphen joins two letters or digits; before a number it is a sign, which nobody may drop.
_BETWEEN_WORDS = re.compile(r"(?<!^)[\s_/]+|(?<=[^\W_])-(?=[^\W_])")


@dataclass(frozen=True)
class Matched:
    """Classes that one rule found for all names.

    Attributes:
        indices: the class of each name, in the names' order.
        how: the rule's name.
    """

    indices: tuple[int, ...]
    how: str


def match(names: Sequence[str], classes: Sequence[str]) -> Matched | None:
    """Map ``names`` to the classes that they mean; return None unless one rule maps them all.

    Args:
        names: in any order.
        classes: the classes' names in the model's order; without any, names must be numbers.

    >>> match(["ankle_boot", "bag"], ["Bag", "Shirt", "Ankle boot"])
    Matched(indices=(2, 0), how='spelling')
    >>> match(["dress", "coat"], ["0", "1"]) is None
    True
    """
    for how, rule in _RULES.items():
        indices = [index for index in rule(names, classes) if index is not None]
        if len(indices) == len(names) and len(set(indices)) == len(indices):
            return Matched(tuple(indices), how)
    return None


def numbered(classes: Sequence[str]) -> bool:
    """Tell whether the classes are called 0, 1, 2, ... in order, as unnamed ones are."""
    return tuple(classes) == tuple(map(str, range(len(classes))))


def folded(name: str) -> str:
    """Normalise ``name``: ignore its case and what stands between its words.

    >>> folded("T-shirt/top") == folded("t_shirt top"), folded("-1") == folded("1")
    (True, False)
    """
    return _BETWEEN_WORDS.sub(" ", unicodedata.normalize("NFC", name).casefold())


def why_not(names: Sequence[str], classes: Sequence[str], what: tuple[str, str]) -> str:
    """Explain why ``match`` refuses the names, seen from the classes' side.

    Args:
        names: refused by ``match``.
        classes: the classes' names in the model's order.
        what: singular and plural of what the names name, as in ("folder", "folders").
    """
    seen = f"{len(names):,} {what[len(names) != 1]} ({first_few(sorted(names))})"
    if not classes:
        return f"{seen}, and nobody has named the classes"
    spelt = "numbers" if numbered(classes) else first_few(classes)
    return f"{seen}, {len(classes):,} classes ({spelt}), {_reason(names, classes)}"


def strangers(names: Sequence[str], classes: Sequence[str]) -> list[str]:
    """List those of ``names``, in their order, that name no single class in any spelling."""
    found = zip(names, _by_spelling(names, classes), strict=True)
    return [name for name, index in found if index is None]


def _reason(names: Sequence[str], classes: Sequence[str]) -> str:
    unknown = sorted(strangers(names, classes))
    if len(unknown) == len(names):
        return "no name in common"
    if not unknown:
        found = dict(zip(names, _by_spelling(names, classes), strict=True))
        often = Counter(found.values())
        twice = sorted(name for name, index in found.items() if often[index] > 1)
        return f"{' and '.join(repr(shown(name)) for name in twice[:2])} may be the same class"
    near = [] if numbered(classes) else get_close_matches(unknown[0], classes, 1, 0.5)
    hint = f"; did you mean {shown(near[0])!r}?" if near else ""
    return f"no class is called {shown(unknown[0])!r}{hint}"


def _by_name(names: Sequence[str], classes: Sequence[str]) -> Indices:
    known = _once(classes)
    return [known.get(name) for name in names]


def _by_spelling(names: Sequence[str], classes: Sequence[str]) -> Indices:
    """As they are, else by ``folded`` where that is the class of one name only."""
    exact, alike = _once(classes), _once(map(folded, classes))
    return [exact.get(name, alike.get(folded(name))) for name in names]


def _by_number(names: Sequence[str], classes: Sequence[str]) -> Indices:
    """Numbers by their value, of classes that are numbers, or of those that have none in them."""
    values = [_value(name) for name in names]
    if None in values:
        return [None] * len(names)
    if not classes:
        return values
    if all(map(_NUMBER.fullmatch, classes)):
        known = _once(map(_value, classes))
        return [known.get(value) for value in values]
    if any(map(_NUMERIC.fullmatch, classes)) or _numbered_otherwise(values, classes):
        return [None] * len(names)
    return [value if value is not None and value < len(classes) else None for value in values]


def _numbered_otherwise(values: Indices, classes: Sequence[str]) -> bool:
    """Tell whether a class has one of the numbers in its name, not as index: ``speaker 1`` at 0."""
    return any(
        int(digits) in values and int(digits) != index
        for index, name in enumerate(classes)
        for digits in _NUMBER.findall(name)
    )


def _value(name: str) -> int | None:
    return int(name) if _NUMBER.fullmatch(name) else None


def _once(keys: Iterable[Hashable]) -> dict[Hashable, int]:
    """Return the index of each key that occurs once."""
    found: dict[Hashable, int] = {}
    twice = set()
    for index, key in enumerate(keys):
        if key in found:
            twice.add(key)
        found[key] = index
    return {key: index for key, index in found.items() if key not in twice}


def directory_names(class_names: Sequence[str]) -> list[str]:
    """Return a directory for each class, which sorts as the classes do.

    Each begins with the class's index, so that no two are alike on a file system that ignores case
    and none is reserved. What follows of the name is ASCII letters, digits, ``-`` and ``_``.

    Args:
        class_names: in the order of the labels.

    >>> directory_names(["T-shirt/top", "Café", "con"]), directory_names(["0", "1"])
    (['0_T-shirt_top', '1_Cafe', '2_con'], ['0', '1'])
    """
    width = len(str(len(class_names) - 1))
    plain = numbered(class_names)
    return [
        f"{index:0{width}d}{'' if plain else _suffix(name)}"
        for index, name in enumerate(class_names)
    ]


def _suffix(name: str) -> str:
    letters = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode("ascii")
    word = re.sub(r"[^A-Za-z0-9-]+", "_", letters).strip("_")[:_LONGEST]
    return f"_{word}" if word else ""


def _by_directory(names: Sequence[str], classes: Sequence[str]) -> Indices:
    known = {name: index for index, name in enumerate(directory_names(classes))}
    return [known.get(name) for name in names]


_RULES: dict[str, Callable[[Sequence[str], Sequence[str]], Indices]] = {
    "name": _by_name,
    "spelling": _by_spelling,
    "number": _by_number,
    "directory": _by_directory,
    "synset": lambda names, classes: synset_indices(names, classes, folded),
}

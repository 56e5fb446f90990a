"""Names of one side -> classes of the other: by name, and never by where a name stands in a list.

The directories of a folder and the classes of a model, or the classes of two models, go through
the same rules, in turn; all names must agree to one of them, and no two may mean the same class.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from dfkd.tasks.synsets import synset_places
from dfkd.tasks.words import listed, shown

Places = list[int | None]

REMEDY = "give --class-names FILE: the model's classes in their order, one name a line"

_NUMBER = re.compile(r"[0-9]{1,9}")
_NUMERIC = re.compile(r"[+-]?[0-9][0-9.,]*")
# A hyphen joins two letters or digits; before a number it is a sign, which nobody may drop.
_BETWEEN_WORDS = re.compile(r"(?<!^)[\s_/]+|(?<=[^\W_])-(?=[^\W_])")


@dataclass(frozen=True)
class Matched:
    """``places``: the class of each name, in their order; ``how``: the rule that all agree to."""

    places: tuple[int, ...]
    how: str


def match(names: Sequence[str], classes: Sequence[str]) -> Matched | None:
    """The classes that ``names`` mean; None where no rule says so of all of them.

    Args:
        names: in any order, which never counts.
        classes: what the classes are called, in the model's order; empty: only numbers are known.

    >>> match(["ankle_boot", "bag"], ["Bag", "Shirt", "Ankle boot"])
    Matched(places=(2, 0), how='spelling')
    >>> match(["dress", "coat"], ["0", "1"]) is None
    True
    """
    for how, rule in _RULES.items():
        places = [place for place in rule(names, classes) if place is not None]
        if len(places) == len(names) and len(set(places)) == len(places):
            return Matched(tuple(places), how)
    return None


def numbered(classes: Sequence[str]) -> bool:
    """Whether they are called 0, 1, 2, ... in this order: what nobody has named is so called."""
    return tuple(classes) == tuple(map(str, range(len(classes))))


def folded(name: str) -> str:
    """``name`` whatever its case, and whatever stands between its words.

    >>> folded("T-shirt/top") == folded("t_shirt top"), folded("-1") == folded("1")
    (True, False)
    """
    return _BETWEEN_WORDS.sub(" ", unicodedata.normalize("NFC", name).casefold())


def why_not(names: Sequence[str], classes: Sequence[str], what: tuple[str, str]) -> str:
    """What is wrong with names that ``match`` refuses, seen from the classes' side.

    Args:
        what: what one name and what several names are the names of.
    """
    seen = f"{len(names):,} {what[len(names) != 1]} ({listed(sorted(names))})"
    if not classes:
        return f"{seen}, and nobody has named the classes"
    spelt = "numbers" if numbered(classes) else listed(classes)
    return f"{seen}, {len(classes):,} classes ({spelt}), {_reason(names, classes)}"


def strangers(names: Sequence[str], classes: Sequence[str]) -> list[str]:
    """Those of ``names``, in their order, that are not the name of one class, however spelt."""
    found = zip(names, _by_spelling(names, classes), strict=True)
    return [name for name, place in found if place is None]


def _reason(names: Sequence[str], classes: Sequence[str]) -> str:
    unknown = sorted(strangers(names, classes))
    if len(unknown) == len(names):
        return "no name in common"
    if not unknown:
        found = dict(zip(names, _by_spelling(names, classes), strict=True))
        often = Counter(found.values())
        twice = sorted(name for name, place in found.items() if often[place] > 1)
        return f"{' and '.join(repr(shown(name)) for name in twice[:2])} may be the same class"
    near = [] if numbered(classes) else get_close_matches(unknown[0], classes, 1, 0.5)
    hint = f"; did you mean {shown(near[0])!r}?" if near else ""
    return f"no class is called {shown(unknown[0])!r}{hint}"


def _by_name(names: Sequence[str], classes: Sequence[str]) -> Places:
    known = _once(classes)
    return [known.get(name) for name in names]


def _by_spelling(names: Sequence[str], classes: Sequence[str]) -> Places:
    """As they are, else by ``folded`` where that is the class of one name only."""
    exact, alike = _once(classes), _once(map(folded, classes))
    return [exact.get(name, alike.get(folded(name))) for name in names]


def _by_number(names: Sequence[str], classes: Sequence[str]) -> Places:
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


def _numbered_otherwise(values: Places, classes: Sequence[str]) -> bool:
    """Whether a name has one of the numbers in it that is not its place: ``speaker 1`` at 0."""
    return any(
        int(digits) in values and int(digits) != place
        for place, name in enumerate(classes)
        for digits in _NUMBER.findall(name)
    )


def _value(name: str) -> int | None:
    return int(name) if _NUMBER.fullmatch(name) else None


def _once(keys: Iterable[Hashable]) -> dict[Hashable, int]:
    """Where each key stands that stands there once."""
    found: dict[Hashable, int] = {}
    twice = set()
    for place, key in enumerate(keys):
        if key in found:
            twice.add(key)
        found[key] = place
    return {key: place for key, place in found.items() if key not in twice}


_RULES: dict[str, Callable[[Sequence[str], Sequence[str]], Places]] = {
    "name": _by_name,
    "spelling": _by_spelling,
    "number": _by_number,
    "synset": lambda names, classes: synset_places(names, classes, folded),
}

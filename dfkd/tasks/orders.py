"""One order of classes for several models: the first one's, by name where classes have names."""

from collections.abc import Sequence
from dataclasses import dataclass

from dfkd.errors import DfkdError
from dfkd.tasks.labels import Matched, match, numbered, strangers
from dfkd.tasks.words import shown

NAME_ALIKE = "name them alike: `class_names=FILE` once for each model"

Named = tuple[str, Sequence[str]]
"""A model's name in messages, and its class names in its own order."""


@dataclass(frozen=True)
class Lineup:
    """One order of classes for several models.

    Attributes:
        names: the classes in the first model's order, as the first that names its classes does.
        columns: of each model, the index of its output for the first class, the second, and so on;
            None where its outputs are in this order already.
    """

    names: tuple[str, ...]
    columns: tuple[tuple[int, ...] | None, ...]


def line_up(models: Sequence[Named]) -> Lineup:
    """Align several models' classes with the first model's order.

    A model whose classes are mere numbers is taken in the order of the others.

    Raises:
        DfkdError: models that know other classes, or one without names beside several orders.

    >>> line_up([("a", ["cat", "dog", "cow"]), ("b", ["Cow", "Cat", "Dog"])]).columns
    (None, (1, 2, 0))
    """
    speaking = next((model for model in models if not numbered(model[1])), models[0])
    indices = [_indices(model, speaking) for model in models]
    _check_one_order(models, speaking, indices)
    first = indices[0] or tuple(range(len(speaking[1])))
    names = tuple(speaking[1][index] for index in first)
    return Lineup(names, tuple(_relative(own, first) for own in indices))


def check_order(student: Sequence[str], teacher: Sequence[str]) -> None:
    """Raise where a student knows its teacher's classes by name, in another order.

    Its outputs would be trained on the teacher's outputs for other classes.
    """
    found = match(student, teacher) if len(student) == len(teacher) else None
    if found is None or not _by_name(found):
        return
    other = next((i for i, index in enumerate(found.indices) if i != index), None)
    if other is not None:
        raise DfkdError(
            f"output {other} of the student is {shown(student[other])!r} and of the teacher "
            f"{shown(teacher[other])!r}: they know the same classes in another order; take a "
            "student in the teacher's order"
        )


def _indices(model: Named, other: Named) -> tuple[int, ...] | None:
    """Return the class of ``other`` that each of a model's classes is; None for the same order."""
    (name, own), (whose, classes) = model, other
    if tuple(own) == tuple(classes):
        return None
    found = match(own, classes) if len(own) == len(classes) else None
    if numbered(own) and not (found and _by_name(found)):
        if len(own) == len(classes) or numbered(classes):
            return None
    elif found:
        return found.indices
    elif len(own) == len(classes) and (back := match(classes, own)):
        return _inverse(back.indices)
    raise DfkdError(f"{_difference(shown(name, 50), own, shown(whose, 50), classes)}; {NAME_ALIKE}")


def _by_name(found: Matched) -> bool:
    return found.how in ("name", "spelling")


def _difference(one: str, own: Sequence[str], other: str, classes: Sequence[str]) -> str:
    if len(own) != len(classes):
        return f"{other} knows {len(classes):,} classes and {one} {len(own):,}"
    missing, added = strangers(classes, own), strangers(own, classes)
    if not missing or not added or missing[0] in own:
        return f"{other} and {one} may give one name to several classes"
    return f"class {shown(missing[0])!r} of {other} is none of {one}, which has {shown(added[0])!r}"


def _check_one_order(
    models: Sequence[Named], speaking: Named, indices: Sequence[tuple[int, ...] | None]
) -> None:
    """Raise where a model names nothing and others disagree about the order it should have."""
    silent = [
        name
        for (name, own), found in zip(models, indices, strict=True)
        if found is None and tuple(own) != tuple(speaking[1])
    ]
    moved = [
        name
        for (name, _), found in zip(models, indices, strict=True)
        if found is not None and found != tuple(range(len(found)))
    ]
    if silent and moved:
        raise DfkdError(
            f"{shown(silent[0], 50)} names no classes, and {shown(speaking[0], 50)} and "
            f"{shown(moved[0], 50)} have theirs in different orders: which is right? {NAME_ALIKE}"
        )


def _relative(own: tuple[int, ...] | None, first: tuple[int, ...]) -> tuple[int, ...] | None:
    """Return a model's columns of the first one's classes; both are indices into a third one's."""
    columns = first if own is None else tuple(_inverse(own)[index] for index in first)
    return None if columns == tuple(range(len(columns))) else columns


def _inverse(indices: Sequence[int]) -> tuple[int, ...]:
    return tuple(sorted(range(len(indices)), key=indices.__getitem__))

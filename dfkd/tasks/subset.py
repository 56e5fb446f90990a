"""Some of a model's classes, chosen by name or by number."""

from collections.abc import Sequence
from dataclasses import dataclass

from dfkd.errors import DfkdError, nearest
from dfkd.tasks.labels import match, numbered
from dfkd.tasks.words import first_few, shown


@dataclass(frozen=True)
class Subset:
    """Some of a model's classes.

    Attributes:
        of: the names of all its classes, in its order.
        indices: those that were chosen, in the order asked for.
    """

    of: tuple[str, ...]
    indices: tuple[int, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of those that were chosen."""
        return tuple(self.of[index] for index in self.indices)

    @property
    def described(self) -> str:
        """How many of how many, and the first of them."""
        return f"{len(self.indices):,} of {len(self.of):,} classes ({first_few(self.names, 3)})"


def choose_classes(asked: str | Sequence[int | str], names: Sequence[str]) -> Subset:
    """Find the classes that words or numbers mean.

    A name goes before a number; both are read as those of folders are (``dfkd.tasks.labels``).

    Args:
        asked: class names or indices; as one text they stand between commas.
        names: of all classes, in the model's order.

    Raises:
        DfkdError: one that is no class, that comes twice, or fewer than two.

    >>> choose_classes("2,cat", ["dog", "Cat", "cow"]).indices
    (2, 1)
    """
    words = [word.strip() for word in asked.split(",")] if isinstance(asked, str) else list(asked)
    indices = [_index(word, names) for word in words]
    for place, index in enumerate(indices):
        if index in indices[:place]:
            first, again = words[indices.index(index)], words[place]
            raise DfkdError(
                f"`only_classes` has class {index} twice, as {shown(first)!r} and {shown(again)!r}"
            )
    if len(indices) < 2:
        raise DfkdError("`only_classes` wants at least two classes, such as 3,17 or cat,dog")
    return Subset(tuple(names), tuple(indices))


def _index(word: int | str, names: Sequence[str]) -> int:
    if isinstance(word, int) and not isinstance(word, bool):
        if 0 <= word < len(names):
            return word
    elif isinstance(word, str) and (found := match([word], names)):
        return found.indices[0]
    near = "" if numbered(names) or not isinstance(word, str) else nearest(word, names)
    hint = f" {near.lstrip('; ,')}" if "did you mean" in near else ""
    raise DfkdError(
        f"`only_classes`: {shown(word, 40)!r} is none of the model's {len(names):,} classes "
        f"({first_few(names, 3)});{hint or f' indices go from 0 to {len(names) - 1}'}"
    )

"""Class names from files: one a line, each once."""

from collections.abc import Sequence
from pathlib import Path

from dfkd.errors import DfkdError
from dfkd.tasks.words import shown


def read_names(path: Path) -> list[str]:
    """Read class names from a UTF-8 file, one a line, surrounding blanks stripped.

    Raises:
        DfkdError: no such text, no name in it, or a line that is empty, has what no name has, or
            says what one above it has said.
    """
    label = f"`class_names` {shown(path, 100)}"
    try:
        text = path.read_bytes().decode("utf-8-sig")  # which keeps its ends of lines
    except OSError as error:
        raise DfkdError(f"{label} cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise DfkdError(f"{label} is no UTF-8 text ({shown(error, 80)})") from None
    names = [line.strip() for line in text.rstrip().split("\n")]
    if names == [""]:
        raise DfkdError(f"{label} holds no name: one a line, in the model's order")
    for number, name in enumerate(names, 1):
        if not name:
            raise DfkdError(f"{label}: line {number} is empty; a class without a name needs one")
        if min(name) < " ":
            raise DfkdError(f"{label}: line {number} is no name alone: {shown(name, 60)!r}")
    if twice := repeated(names):
        name, first, second = twice
        raise DfkdError(
            f"{label}: {shown(name)!r} is in line {first + 1} and in line {second + 1}; "
            "name them apart"
        )
    return names


def repeated(names: Sequence[str]) -> tuple[str, int, int] | None:
    """Find the first name that repeats an earlier one, and the indices of both.

    >>> repeated(["a", "b", "a", "b"]), repeated(["a", "b"])
    (('a', 0, 2), None)
    """
    seen: dict[str, int] = {}
    for index, name in enumerate(names):
        if name in seen:
            return name, seen[name], index
        seen[name] = index
    return None


def check_distinct(names: Sequence[str], whose: str) -> None:
    """Raise where two classes of a model have one name: no label could tell them apart."""
    if twice := repeated(names):
        name, first, second = twice
        raise DfkdError(
            f"classes {first} and {second} of {shown(whose, 100)} are both called "
            f"{shown(name)!r}: name them apart with `class_names=FILE`"
        )

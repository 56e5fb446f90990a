"""Names that come from elsewhere, as one short line can hold them."""

from collections import Counter
from collections.abc import Iterable, Mapping


def shown(text: object, width: int = 18) -> str:
    """``text`` on one line and at most ``width`` long, its middle left out where it is longer.

    >>> shown("crane"), shown("one\\ntwo"), shown("n" * 99, 9)
    ('crane', 'one\\\\ntwo', 'nnnn…nnnn')
    """
    line = "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode("ascii")
        for letter in str(text)
    )
    if len(line) <= width:
        return line
    half = (width - 1) // 2
    return f"{line[: width - 1 - half]}…{line[-half:]}"


def listed(names: Iterable[object], most: int = 2) -> str:
    """The first few, and whether there are more.

    >>> listed("abc"), listed("ab")
    ('a, b, …', 'a, b')
    """
    every = list(names)
    return ", ".join(map(shown, every[:most])) + (", …" if len(every) > most else "")


def skipped_files(skipped: Mapping[str, int]) -> str:
    """How many files were not read, and of what kind; nothing where all were.

    >>> skipped_files({".gif": 5}), skipped_files({})
    (' (5 files skipped: .gif)', '')
    """
    count = sum(skipped.values())
    if not count:
        return ""
    kinds = listed((kind for kind, _ in Counter(skipped).most_common()), 3)
    return f" ({count:,} {'file' if count == 1 else 'files'} skipped: {kinds})"

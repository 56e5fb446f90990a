"""Foreign names in messages: short, and on one line."""

from collections import Counter
from collections.abc import Iterable, Mapping


def shown(text: object, width: int = 18) -> str:
    """Shorten ``text`` to one line of at most ``width`` characters by leaving out its middle.

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


def first_few(names: Iterable[object], most: int = 2) -> str:
    """Join the first few names, and show whether there are more.

    >>> first_few("abc"), first_few("ab")
    ('a, b, …', 'a, b')
    """
    every = list(names)
    return ", ".join(map(shown, every[:most])) + (", …" if len(every) > most else "")


def skipped_files(skipped: Mapping[str, int]) -> str:
    """Say how many files were skipped, and of what kinds; return "" where none was.

    >>> skipped_files({".gif": 5}), skipped_files({})
    (' (5 files skipped: .gif)', '')
    """
    count = sum(skipped.values())
    if not count:
        return ""
    kinds = first_few((kind for kind, _ in Counter(skipped).most_common()), 3)
    return f" ({count:,} {'file' if count == 1 else 'files'} skipped: {kinds})"

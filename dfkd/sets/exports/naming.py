"""Names of classes as directories, and as labels that are told apart."""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

from dfkd.tasks.labels import numbered

_LONGEST = 60


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


def distinct_names(class_names: Sequence[str]) -> list[str]:
    """Return the names with the index behind those that several classes have.

    >>> distinct_names(["crane", "bag", "crane"])
    ['crane (0)', 'bag', 'crane (2)']
    """
    often = Counter(class_names)
    return [f"{n} ({i})" if often[n] > 1 else n for i, n in enumerate(class_names)]

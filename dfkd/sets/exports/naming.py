"""Names of classes as labels that are told apart."""

from collections import Counter
from collections.abc import Sequence


def distinct_names(class_names: Sequence[str]) -> list[str]:
    """Return the names with the index behind those that several classes have.

    >>> distinct_names(["crane", "bag", "crane"])
    ['crane (0)', 'bag', 'crane (2)']
    """
    often = Counter(class_names)
    return [f"{n} ({i})" if often[n] > 1 else n for i, n in enumerate(class_names)]

"""Whether a network does better than one that always says the same."""

from torch import Tensor

_DOUBT = 0.01
"""Of networks that only guess, one in a hundred passes for better."""


def constant_share(right: Tensor, rows: int = 1) -> float:
    """Share of N right answers (class indices) that one answer for all would give.

    Args:
        right: N, the rows of a sample side by side.
        rows: of a sample; each has a constant answer of its own.

    >>> import torch
    >>> constant_share(torch.tensor([0, 1, 1, 2]))
    0.5
    """
    by_row = right.view(-1, rows).unbind(1)
    return sum(int(row.bincount().max()) for row in by_row) / len(right)


def at_chance(hits: int, total: int, share: float) -> bool:
    """Tell whether a constant answer could be expected to be right as often.

    A one-sided binomial test at ``_DOUBT``. Where all right answers are the same one nobody who
    gives it can be told from one who knows.

    Args:
        hits: right answers.
        total: all answers.
        share: of right answers that one answer for all gives, in (0, 1].

    >>> at_chance(22, 80, 0.25), at_chance(40, 80, 0.25)
    (True, False)
    """
    if share == 1:
        return hits < total
    from scipy.stats import binomtest  # takes half a second: once, at a run's end

    return bool(binomtest(hits, total, share, alternative="greater").pvalue > _DOUBT)

"""What early exits are worth: how good each is for how much of the work."""

from collections.abc import Mapping, Sequence
from typing import Any

_NEARLY = 0.97
"""Share of the whole network's accuracy at which an exit is taken to be as good."""


def exits_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Compare the rows called ``exit N`` with the second row, the whole student.

    Args:
        rows: ``name``, ``accuracy`` and ``flops`` of teacher, student and whatever else.

    Returns:
        Nothing where there are no exits; else ``exits``, shallow first, each with its share of
        the student's accuracy and of its operations, and ``earliest_exit``, the name of the first
        with ``_NEARLY`` of the accuracy, or None.

    >>> rows = [{"name": "teacher", "accuracy": 1, "flops": 9},
    ...         {"name": "student", "accuracy": 0.8, "flops": 8},
    ...         {"name": "exit 1", "accuracy": 0.4, "flops": 2}]
    >>> exits_of(rows)["exits"][0]["share_of_compute"], exits_of(rows)["earliest_exit"]
    (0.25, None)
    """
    found = [row for row in rows if str(row["name"]).startswith("exit ")]
    if not found:
        return {}
    whole = rows[1]
    exits = [
        {
            "name": row["name"],
            "accuracy": row["accuracy"],
            "share_of_accuracy": row["accuracy"] / whole["accuracy"] if whole["accuracy"] else None,
            "share_of_compute": row["flops"] / whole["flops"] if whole["flops"] else None,
        }
        for row in found
    ]
    good = (row["name"] for row in exits if (row["share_of_accuracy"] or 0.0) >= _NEARLY)
    return {"exits": exits, "earliest_exit": next(good, None)}

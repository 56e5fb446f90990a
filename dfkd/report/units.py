"""Numbers as people read them: each with its unit, and a dash where there is none."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

MISSING = "–"
NOT_MEASURED = "not measured"
NARROW = "\u202f"  # a thin space that does not break: 12 % stays on one line


def number(value: Any) -> float | None:
    """Return the value as a finite float; None for anything else (None, NaN, text)."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def percent(value: Any, digits: int = 1) -> str:
    """Write a share in [0, 1] as ``92.6 %``."""
    amount = number(value)
    return MISSING if amount is None else f"{100 * amount:.{digits}f}{NARROW}%"


def whole(value: Any) -> str:
    """Write a count as ``1,234,567``."""
    amount = number(value)
    return MISSING if amount is None else f"{round(amount):,}"


def size_of_bytes(value: Any) -> str:
    """Write bytes as ``281 kB`` (1 kB = 1000 bytes)."""
    amount = number(value)
    if amount is None:
        return MISSING
    for unit in ("B", "kB", "MB"):
        if amount < 999.5:
            return f"{amount:.3g}{NARROW}{unit}"
        amount /= 1000
    return f"{amount:.3g}{NARROW}GB"


def milliseconds(value: Any) -> str:
    """Write milliseconds as ``1.84 ms``."""
    amount = number(value)
    if amount is None:
        return MISSING
    return f"{amount:.0f}{NARROW}ms" if amount >= 99.95 else f"{amount:.3g}{NARROW}ms"


def operations(value: Any) -> str:
    """Write floating-point operations as ``81.4 M``; a multiply-add counts as two."""
    amount = number(value)
    if amount is None:
        return MISSING
    for unit in ("", "k", "M", "G"):
        if amount < 999.5:
            return f"{amount:.3g}{NARROW}{unit}".rstrip(NARROW)
        amount /= 1000
    return f"{amount:.3g}{NARROW}T"


def duration(value: Any) -> str:
    """Write seconds as ``8.3 s``, ``4 min 05 s`` or ``2 h 10 min``."""
    amount = number(value)
    if amount is None:
        return MISSING
    if amount < 59.95:
        return f"{amount:.1f}{NARROW}s"
    minutes, seconds = divmod(round(amount), 60)
    if minutes < 60:
        return f"{minutes}{NARROW}min {seconds:02d}{NARROW}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}{NARROW}h {minutes:02d}{NARROW}min"


def time_unit(seconds: float) -> tuple[str, float]:
    """Return the unit for times of up to ``seconds``, and how many seconds it has."""
    if seconds < 120:
        return "seconds", 1
    return ("minutes", 60) if seconds < 7200 else ("hours", 3600)


def ratio(part: Any, total: Any) -> float | None:
    """Return ``part / total``; None unless both are numbers and the total is not zero."""
    top, bottom = number(part), number(total)
    return None if top is None or not bottom else top / bottom


_COLUMNS: tuple[tuple[str, str, Callable[[Any], str]], ...] = (
    ("accuracy", "Accuracy", lambda v: NOT_MEASURED if number(v) is None else percent(v, 2)),
    ("robust_accuracy", "PGD-20", lambda v: percent(v, 2)),
    ("parameters", "Parameters", whole),
    ("file_bytes", "File size", size_of_bytes),
    ("share_of_compute", "Compute", lambda v: percent(v, 0)),
    ("flops", "Operations\nan image", operations),
    ("latency_ms_1", "Latency\nbatch 1", milliseconds),
    ("latency_ms_32", "Latency\nbatch 32", milliseconds),
    ("agreement", "Agreement", lambda v: percent(v, 2)),
)


def comparison(
    rows: Sequence[Mapping[str, Any]], narrow: bool = False
) -> tuple[list[str], list[list[str]]]:
    """Return models side by side: the headings, and a list of cells for each row.

    A column that no row fills is left out, but never the accuracy: a reader must
    know that it was not measured.

    Args:
        rows: as those of ``table.comparison_table``.
        narrow: leave out what does not fit into eighty columns: the operations, and the size of
            the file if there is one more column.
    """
    shown = [
        column
        for column in _COLUMNS
        if column[0] == "accuracy" or any(number(row.get(column[0])) is not None for row in rows)
    ]
    if narrow:
        further = {"robust_accuracy", "share_of_compute"} & {key for key, _, _ in shown}
        left = {"flops", "file_bytes"} if further else {"flops"}
        shown = [column for column in shown if column[0] not in left]
    headings = ["Model", *(heading for _, heading, _ in shown)]
    cells = [
        [str(row.get("name", MISSING)), *(write(row.get(key)) for key, _, write in shown)]
        for row in rows
    ]
    return headings, cells

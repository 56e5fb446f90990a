"""Tables for the terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from dfkd.report.units import MISSING, NARROW, comparison

__all__ = ["Table", "comparison_table", "text_table"]


def comparison_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Lay out models side by side, one row each; agreement is that with the first.

    Args:
        rows: ``name``, ``accuracy``, ``robust_accuracy`` and ``agreement`` in [0, 1],
            ``parameters``, ``file_bytes``, ``latency_ms_1``, ``latency_ms_32`` (ms per batch).
            A value that is None or absent shows as a dash, an accuracy as "not measured".
    """
    return text_table(*comparison(rows, narrow=True))


def text_table(headings: Sequence[str], cells: Sequence[Sequence[str]]) -> Table:
    """Lay out cells in a table for any terminal; the first column has names."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True, header_style="bold")
    for index, heading in enumerate(headings):
        table.add_column(
            heading,
            justify="right" if index else "left",
            no_wrap=index > 0,
            overflow="fold",
            vertical="bottom",
        )
    for row in cells:
        # Text, not markup: a name may hold brackets. Plain signs: not every terminal has others.
        table.add_row(*(Text(cell.replace(NARROW, " ").replace(MISSING, "-")) for cell in row))
    return table

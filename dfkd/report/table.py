"""Models side by side in the terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from dfkd.report.units import MISSING, NARROW, comparison

__all__ = ["Table", "comparison_table", "text_table"]


def comparison_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """A rich table with one row a model; agreement is that with the first.

    Args:
        rows: ``name``, ``accuracy``, ``robust_accuracy`` and ``agreement`` in [0, 1],
            ``parameters``, ``file_bytes``, ``latency_ms_1``, ``latency_ms_32`` (ms a batch). What
            is None or absent shows as a dash, an accuracy as "not measured".
    """
    return text_table(*comparison(rows, narrow=True))


def text_table(headings: Sequence[str], cells: Sequence[Sequence[str]]) -> Table:
    """Lay out cells in a rich table, plain enough for any terminal; the first column is names."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True, header_style="bold")
    for place, heading in enumerate(headings):
        table.add_column(
            heading,
            justify="right" if place else "left",
            no_wrap=place > 0,
            overflow="fold",
            vertical="bottom",
        )
    for row in cells:
        # Text, not markup: a name may hold brackets. Plain signs: not every terminal has others.
        table.add_row(*(Text(cell.replace(NARROW, " ").replace(MISSING, "-")) for cell in row))
    return table

"""Models side by side in the terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from dfkd.report import standings
from dfkd.report.figures import MISSING, NARROW, comparison


def comparison_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """A rich table with one row a model; agreement is that with the first.

    Args:
        rows: ``name``, ``accuracy``, ``robust_accuracy`` and ``agreement`` in [0, 1],
            ``parameters``, ``file_bytes``, ``latency_ms_1``, ``latency_ms_32`` (ms a batch). What
            is None or absent shows as a dash, an accuracy as "not measured".
    """
    return _table(*comparison(rows, narrow=True))


def standings_tables(record: Mapping[str, Any]) -> list[Table]:
    """Variants side by side (``dfkd.comparison.tally``): how good they are, and what they cost."""
    rows = record["methods"]
    # Without the last column each: remarks may be sentences, and the time is one clock's; without
    # the memory, for eighty signs are what a terminal has.
    memory = standings.COST.index("Step’s\nmemory")
    ranks = [standings.quality(row)[:-1] for row in rows]
    costs = [standings.cost(row)[:-1] for row in rows]
    for row in (*costs, cost_headings := standings.titled(standings.COST[:-1], record)):
        del row[memory]
    return [
        _table(standings.titled(standings.QUALITY[:-1], record), ranks),
        _table(cost_headings, costs),
    ]


def _table(headings: Sequence[str], cells: Sequence[Sequence[str]]) -> Table:
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

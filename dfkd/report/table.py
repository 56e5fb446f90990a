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
    # Without the last column each: remarks may be sentences, and the time is one clock's; without
    # the memory, nor the time to the best where attacks are measured, for eighty signs are what a
    # terminal has.
    ranks = _without(standings.ranks(record), "Remark")
    if "PGD-20" in ranks[0]:
        ranks = _without(ranks, standings.BEST)
    costs = standings.titled(standings.COST, record), [*map(standings.cost, record["methods"])]
    return [_table(*ranks), _table(*_without(costs, "Step’s\nmemory", "Time"))]


def _without(
    table: tuple[list[str], list[list[str]]], *headings: str
) -> tuple[list[str], list[list[str]]]:
    """Headings and cells without some columns."""
    kept = [place for place, heading in enumerate(table[0]) if heading not in headings]
    return [table[0][i] for i in kept], [[cells[i] for i in kept] for cells in table[1]]


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

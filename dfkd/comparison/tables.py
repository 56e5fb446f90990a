"""A comparison's variants side by side in the terminal."""

from collections.abc import Mapping
from typing import Any

from dfkd.comparison import standings
from dfkd.report.table import Table, text_table


def standings_tables(record: Mapping[str, Any]) -> list[Table]:
    """Return the variants side by side in two tables: how good they are, and what they cost."""
    # Without the last column each: remarks may be sentences, and the time is one clock's; without
    # the memory, nor the time to the best where attacks are measured, for eighty signs are what a
    # terminal has.
    ranks = _without(standings.ranks(record), "Remark")
    if "PGD-20" in ranks[0]:
        ranks = _without(ranks, standings.BEST)
    costs = standings.titled(standings.COST, record), [*map(standings.cost, record["methods"])]
    return [text_table(*ranks), text_table(*_without(costs, "Step’s\nmemory", "Time"))]


def _without(
    table: tuple[list[str], list[list[str]]], *headings: str
) -> tuple[list[str], list[list[str]]]:
    """Return headings and cells without some columns."""
    kept = [place for place, heading in enumerate(table[0]) if heading not in headings]
    return [table[0][i] for i in kept], [[cells[i] for i in kept] for cells in table[1]]

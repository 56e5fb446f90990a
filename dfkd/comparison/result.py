"""What a comparison returns."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from dfkd.comparison.tally import Record

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Comparison:
    """Runs side by side, finished or interrupted.

    Attributes:
        record: what ``comparison.json`` holds.
        directory: of the comparison, where one was asked for.
        interrupted: stopped by Ctrl-C before the last run was done.
    """

    record: Record = field(repr=False)
    directory: Path | None = None
    interrupted: bool = False

    @property
    def rows(self) -> Sequence[Record]:
        """One mapping a variant, in their order; see ``dfkd.comparison.tally``."""
        rows: Sequence[Record] = self.record["methods"]
        return rows

    @property
    def best(self) -> str | None:
        """The variant with the highest mean accuracy; None where no run was finished."""
        found = {row["method"]: row["accuracy"]["mean"] for row in self.rows if row["accuracy"]}
        return max(found, key=lambda name: found[name], default=None)

    def plot(self) -> "Figure":
        """Draw accuracy over time, a line for each variant."""
        from dfkd.comparison.page import plot_comparison  # matplotlib is slow to import

        return plot_comparison(self.record)

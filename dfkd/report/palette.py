"""Colours of pages and charts, and how charts look: one table for the stylesheet and matplotlib."""

import contextlib
from collections.abc import Iterator
from typing import Any

import matplotlib

SERIES = (
    ("#0d7dd4", "#8cc3fc"),
    ("#9e2033", "#e17176"),
    ("#1d923c", "#7cd688"),
    ("#4349af", "#818fee"),
    ("#c45313", "#fea47c"),
    ("#0c6753", "#06b290"),
    ("#8c5fc8", "#cbabff"),
    ("#794d0b", "#ce871b"),
    ("#138b8f", "#0cd7de"),
    ("#842d85", "#c577c5"),
    ("#8f7910", "#d9bd44"),
    ("#05627b", "#13a8d1"),
    ("#be4a83", "#fe99c5"),
    ("#4f6102", "#8ba534"),
)
"""Curves on light and on dark paper: 14 hues of OKLCH, two lightnesses in turn, neighbours far
apart."""

DASHES: tuple[tuple[float, ...], ...] = ((), (7, 3), (2, 2.5), (10, 3, 2, 3), (14, 4))
"""As many as 14 does not divide by: a colour returns with another pattern."""

COLOURS = {
    "quiet": ("#63636b", "#a0a0a8"),
    "rule": ("#e5e3de", "#34353a"),
    "accent": ("#2457a6", "#8db4f0"),
    **{f"series-{index}": pair for index, pair in enumerate(SERIES)},
}
"""Variables of the stylesheet, on light and on dark paper; no two are alike on light paper, so
that a drawing in the light colours can be told to take the page's."""

QUIET, RULE, ACCENT = (COLOURS[name][0] for name in ("quiet", "rule", "accent"))

_LOOK: dict[Any, Any] = {
    "font.size": 10.5, "axes.labelsize": 10.5, "axes.titlesize": 10.5,
    "xtick.labelsize": 10.5, "ytick.labelsize": 10.5, "text.parse_math": False,
    "axes.spines.left": False, "axes.spines.right": False, "axes.spines.top": False,
    "axes.edgecolor": QUIET, "axes.labelcolor": QUIET, "axes.titlecolor": QUIET,
    "axes.linewidth": 1.0, "axes.labelpad": 5, "axes.axisbelow": True,
    "axes.grid": True, "axes.grid.axis": "y", "grid.color": RULE, "grid.linewidth": 1.0,
    "xtick.color": QUIET, "xtick.major.size": 4, "xtick.major.width": 1.0, "xtick.major.pad": 3,
    "ytick.color": QUIET, "ytick.major.size": 0, "ytick.major.pad": 6,
    "lines.linewidth": 1.6, "lines.scale_dashes": False, "lines.markersize": 5,
    "svg.fonttype": "none",
}  # fmt: skip


@contextlib.contextmanager
def chart_style() -> Iterator[None]:
    """Draw in the look of the pages, whatever the user's own settings of matplotlib are."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_LOOK)
        yield


def series_style(index: int) -> tuple[str, tuple[float, ...]]:
    """Return the variable and the dashes of a curve by its index; no two of 70 are alike."""
    return f"series-{index % len(SERIES)}", DASHES[index % len(DASHES)]

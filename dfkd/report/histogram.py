"""A histogram of shares, in the look of the pages' charts."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from dfkd.report.charts import HEIGHT, WIDTH, canvas, mark, panel, ticks
from dfkd.report.palette import ACCENT, chart_style

BINS = 20


def plot_shares(values: Sequence[float], label: str) -> Figure:
    """Draw how many values lie in each twentieth of [0, 1].

    Args:
        values: in [0, 1]; what is none of these is left out.
        label: of the horizontal axis.
    """
    counts, edges = np.histogram([v for v in values if 0 <= v <= 1], bins=BINS, range=(0, 1))
    with chart_style():
        figure = canvas(WIDTH, HEIGHT)
        axes = panel(figure)
        # One outline with gaps between the columns, as the balance of classes has it.
        heights = np.column_stack([counts, np.zeros(BINS)]).ravel()[:-1]
        sides = np.column_stack([edges, edges + 0.92 / BINS]).ravel()[:-2]
        sides = np.append(sides, edges[-2] + 0.92 / BINS)
        axes.stairs(heights, sides[: len(heights) + 1], fill=True, color=ACCENT, gid="columns")
        mark(axes, ticks(0, max(1, int(counts.max()))))
        axes.set_xlim(0, 1)
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0 %", "25 %", "50 %", "75 %", "100 %"])
        axes.tick_params("x", length=0, pad=7)
        labels = axes.get_xticklabels()
        labels[0].set_horizontalalignment("left")
        labels[-1].set_horizontalalignment("right")
        axes.set_xlabel(label)
    return figure

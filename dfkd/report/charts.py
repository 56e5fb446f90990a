"""Charts of one run: each metric over time, and the balance of the classes."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from dfkd.report.palette import ACCENT, chart_style
from dfkd.report.units import number, time_unit

WIDTH, HEIGHT = 340, 190  # points
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 12, 36
HEADING = 20  # points above a chart, for its name and its last value
POINTS = 300  # more than a chart of this width can show; neighbours are averaged


class Metric(NamedTuple):
    """One scalar over time: ``seconds`` ascend; a value that was not finite is None."""

    name: str
    seconds: Sequence[float]
    values: Sequence[float | None]

    @property
    def finite(self) -> list[float]:
        """The values that are numbers; there is at least one."""
        return [value for value in self.values if value is not None]


def metrics_over_time(rows: Sequence[Mapping[str, Any]]) -> Iterator[Metric]:
    """Yield every metric with a finite value, in order of first appearance.

    Args:
        rows: the lines of ``metrics.jsonl``: ``step``, ``seconds``, and values by name.
    """
    for name in dict.fromkeys(key for row in rows for key in row if key not in ("step", "seconds")):
        # A row without a metric says nothing; a row with null says that it was not finite.
        points = [
            (seconds, number(row[name]))
            for row in rows
            if name in row and (seconds := number(row.get("seconds"))) is not None
        ]
        # A resumed run may report moments again that the interrupted one had reached.
        points.sort(key=lambda point: point[0])
        if any(value is not None for _, value in points):
            yield Metric(name, [x for x, _ in points], [y for _, y in points])


def plot_run(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw all metrics of a run side by side, each over its own axes.

    Args:
        rows: the lines of ``metrics.jsonl``; a figure without axes where they have no metric.
    """
    metrics = list(metrics_over_time(rows))
    columns = {0: 1, 1: 1, 2: 2, 4: 2}.get(len(metrics), 3)
    height = HEIGHT + HEADING
    with chart_style():
        figure = canvas(columns * WIDTH, max(1, math.ceil(len(metrics) / columns)) * height)
        for index, metric in enumerate(metrics):
            line, column = divmod(index, columns)
            axes = panel(figure, column * WIDTH, line * height + HEADING)
            draw_metric(axes, metric)
            axes.set_title(metric.name.replace("/", " · ").replace("_", " "), loc="left")
            axes.set_title(f"{metric.finite[-1]:.3g}", loc="right")
    return figure


def plot_metric(metric: Metric) -> Figure:
    """Draw one metric, without a heading."""
    with chart_style():
        figure = canvas(WIDTH, HEIGHT)
        draw_metric(panel(figure), metric)
    return figure


def draw_metric(axes: Axes, metric: Metric) -> None:
    """Draw one metric over time; its axis is logarithmic where it spans more than a factor 50."""
    unit, scale = time_unit(metric.seconds[-1])
    size = max(1, math.ceil(len(metric.seconds) / POINTS))
    start, end = metric.seconds[0] / scale, metric.seconds[-1] / scale
    xs = _means(np.array(metric.seconds) / scale, size)
    ys = _means(np.array(metric.values, dtype=float), size)  # None becomes NaN, a gap
    low, high = float(np.nanmin(ys)), float(np.nanmax(ys))
    logarithmic = low > 0 and high / low > 50
    if logarithmic:
        axes.set_yscale("log")
        axes.yaxis.set_minor_locator(NullLocator())
    mark(axes, log_ticks(low, high) if logarithmic else ticks(low, high))
    # A single point stands in the middle: its time alone would be each of the ticks.
    axes.set_xlim((start, end) if end > start else (0, 2 * end or 1))
    axes.xaxis.set_major_locator(MaxNLocator(4, steps=(1, 2, 5, 10)))
    axes.xaxis.set_major_formatter("{x:.4g}")
    axes.set_xlabel(f"time, {unit}" + ("; vertical axis logarithmic" if logarithmic else ""))
    known = np.pad(np.isfinite(ys), 1)
    alone = known[1:-1] & ~known[:-2] & ~known[2:]  # a line needs two neighbours
    axes.plot(xs, ys, color=ACCENT, gid="curve", label=metric.name)
    if alone.any():
        axes.plot(xs[alone], ys[alone], "o", color=ACCENT, mew=0, clip_on=False, gid="dots")


def plot_balance(counts: Sequence[int]) -> Figure:
    """Draw one column a class, in the order of the classes, from zero up."""
    with chart_style():
        figure = canvas(WIDTH, HEIGHT)
        axes = panel(figure)
        edges = np.arange(len(counts) + 1.0)
        # One outline with gaps between the columns: a thousand rectangles would take seconds.
        values = np.column_stack([counts, np.zeros(len(counts))]).ravel()[:-1]
        sides = np.column_stack([edges, edges + 0.9]).ravel()[:-2]
        axes.stairs(values, sides, fill=True, color=ACCENT, gid="columns")
        mark(axes, ticks(0, max(1, *counts)))
        axes.set_xlim(0, len(counts))
        axes.set_xticks([0, len(counts)], ["0", str(len(counts) - 1)])
        axes.tick_params("x", length=0, pad=7)
        first, last = axes.get_xticklabels()
        first.set_horizontalalignment("left")
        last.set_horizontalalignment("right")
        axes.set_xlabel("class index")
    return figure


def canvas(width: float, height: float) -> Figure:
    """Return an empty figure of a size in points, which become the units of the page's SVG."""
    return Figure(figsize=(width / 72, height / 72))


def panel(
    figure: Figure, left: float = 0, top: float = 0, width: float = WIDTH, height: float = HEIGHT
) -> Axes:
    """Add axes with room for their labels to a rectangle of a figure, in points from its top."""
    wide, high = (72 * inches for inches in figure.get_size_inches())
    bottom = high - top - height
    inner = width - LEFT - RIGHT, height - TOP - BOTTOM
    box = (left + LEFT) / wide, (bottom + BOTTOM) / high, inner[0] / wide, inner[1] / high
    return figure.add_axes(box)


def mark(axes: Axes, marks: Sequence[float]) -> None:
    """Make the vertical axis reach from the first to the last of its marks."""
    axes.set_ylim(marks[0], marks[-1])
    axes.set_yticks(marks)
    axes.yaxis.set_major_formatter("{x:.4g}")


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Return round values (1, 2 or 5 times a power of ten apart) that enclose [low, high]."""
    if high - low <= 1e-9 * max(abs(low), abs(high), 1e-9):
        pad = abs(low) / 2 or 0.5
        low, high = low - pad, high + pad
    marks = MaxNLocator(most - 1, steps=(1, 2, 5, 10)).tick_values(low, high)
    return [float(value) for value in marks]


def log_ticks(low: float, high: float) -> list[float]:
    """Return powers of ten that enclose [low, high], thinned to at most six."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    every = max(1, math.ceil((last - first) / 5))
    return [10.0**power for power in range(first, last + every, every)]


def _means(values: Any, size: int) -> Any:
    """Average neighbours, ``size`` at a time, leaving out what is not finite."""
    filled = np.pad(values, (0, -len(values) % size), constant_values=np.nan).reshape(-1, size)
    known = np.isfinite(filled)
    total, count = np.where(known, filled, 0).sum(axis=1), known.sum(axis=1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)

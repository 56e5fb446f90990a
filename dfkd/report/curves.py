"""Many curves in one chart: a mean line each, a band where there is room, named at their ends."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dfkd.report.charts import BOTTOM, HEADING, RIGHT, TOP, canvas, mark, panel, ticks
from dfkd.report.palette import COLOURS, QUIET, chart_style, series_style

WIDTH, HEIGHT = 760, 420  # points
GAP = 12.5  # between two labels: their letters are 10.5 high
LEADER = 26  # from the end of the axis to the labels
MOST_BANDS = 8  # curves of which each shows its band: those of more lie in a heap


class Series(NamedTuple):
    """A curve: ascending ``xs``, as many ``ys``, and their deviations where they are known."""

    name: str
    xs: Sequence[float]
    ys: Sequence[float]
    deviations: Sequence[float | None]


def plot_curves(
    series: Sequence[Series],
    *,
    x_label: str,
    y_label: str,
    reference: tuple[str, float] | None = None,
    most: float | None = None,
) -> Figure:
    """Draw all curves over one pair of axes, the horizontal one from 0.

    More than ``MOST_BANDS`` curves are drawn without their deviations.

    Args:
        series: colour and dashes follow from the index, ``palette.series_style``; an empty one is
            left out. Without any the figure has no axes.
        x_label: the horizontal axis, with its unit.
        y_label: the vertical axis, with its unit; written over it.
        reference: a level to compare with, and its name.
        most: no band is drawn below 0 or above this.
    """
    drawn = [(index, each) for index, each in enumerate(series) if each.xs]
    if not drawn:
        return canvas(WIDTH, HEIGHT)
    ends = [(each.name, each.xs[-1], each.ys[-1], _look(index)[0]) for index, each in drawn]
    right = max(each.xs[-1] for _, each in drawn) or 1.0
    if reference:
        ends.append((reference[0], right, reference[1], QUIET))
    height = max(HEIGHT, TOP + BOTTOM + GAP * len(ends))
    with chart_style():
        figure = canvas(WIDTH, height)
        room = LEADER + _widest(figure, [name for name, *_ in ends])
        axes = panel(figure, 0, HEADING, WIDTH - room + RIGHT, height - HEADING)
        levels = [y for _, _, y, _ in ends]
        for index, each in drawn:
            levels += _draw(axes, index, each, most, banded=len(drawn) <= MOST_BANDS)
        if reference:
            level = [reference[1]] * 2
            axes.plot([0, right], level, color=QUIET, ls=(0, (1, 3)), lw=1.4, gid="reference")
        mark(axes, ticks(min(levels), max(levels), most=7))
        axes.set_xlim(0, right)
        axes.xaxis.set_major_locator(MaxNLocator(7, steps=(1, 2, 5, 10)))
        axes.xaxis.set_major_formatter("{x:.4g}")
        axes.set_xlabel(x_label)
        axes.set_title(y_label, loc="left")
        _label(axes, ends, WIDTH - room + LEADER, height)
    return figure


def _draw(axes: Axes, index: int, each: Series, most: float | None, banded: bool) -> list[float]:
    """Draw a curve, with its band where it has one; return the levels it reaches."""
    colour, line = _look(index)
    name = f"curve-{index}"
    axes.plot(each.xs, each.ys, color=colour, ls=line, lw=1.8, gid=name, label=each.name)
    if not banded or not any(each.deviations):
        return list(each.ys)
    pairs = [(y, deviation or 0.0) for y, deviation in zip(each.ys, each.deviations, strict=True)]
    low, high = [y - deviation for y, deviation in pairs], [y + deviation for y, deviation in pairs]
    if most is not None:
        low, high = [max(0.0, y) for y in low], [min(most, y) for y in high]
    axes.fill_between(each.xs, low, high, color=colour, alpha=0.14, linewidth=0, gid="band")
    return [*low, *high]


def _look(index: int) -> tuple[str, Any]:
    """Return the colour on light paper and the line style of a curve."""
    name, dashes = series_style(index)
    return COLOURS[name][0], (0, dashes) if dashes else "solid"


def _label(
    axes: Axes, ends: Sequence[tuple[str, float, float, str]], left: float, height: float
) -> None:
    """Mark the ends of curves, and name them ``left`` points from the figure's left."""
    scale = 72 / axes.figure.dpi
    wanted = [height - scale * float(axes.transData.transform((x, y))[1]) for _, x, y, _ in ends]
    placed = apart(wanted, GAP, TOP, height - BOTTOM)
    for (name, x, y, colour), below in zip(ends, placed, strict=True):
        leader = {"arrowstyle": "-", "color": colour, "linewidth": 0.7, "alpha": 0.6,
                  "shrinkA": 3, "shrinkB": 0, "relpos": (0, 0.5)}  # fmt: skip
        axes.plot(x, y, "o", color=colour, markeredgewidth=0, clip_on=False)
        axes.annotate(
            name, (x, y), (left, height - below), textcoords="figure points", color=colour,
            weight="bold", va="center", arrowprops=leader, annotation_clip=False, gid="label",
        )  # fmt: skip


def _widest(figure: Figure, names: Sequence[str]) -> float:
    """Measure the longest label, in points."""
    widths = []
    for name in names:
        text = figure.text(0, 0, name, weight="bold")
        widths.append(72 / figure.dpi * text.get_window_extent().width)
        text.remove()
    return max(widths)


def apart(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Return heights in [low, high] near those wanted, in their order, no two nearer than ``gap``.

    Where there is no room for so many they go on below ``low``.
    """
    order = sorted(range(len(wanted)), key=lambda index: wanted[index])
    placed: list[float] = []
    for index in order:
        placed.append(max(wanted[index], placed[-1] + gap if placed else low))
    limit = high
    for rank in reversed(range(len(placed))):
        placed[rank] = min(placed[rank], limit)
        limit = placed[rank] - gap
    by_index = dict(zip(order, placed, strict=True))
    return [by_index[index] for index in range(len(wanted))]

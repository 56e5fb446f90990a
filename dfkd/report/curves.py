"""Many curves in one chart: a mean line each, a band where there is room, named at their ends."""

from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

from dfkd.report.charts import frame, line, text, ticks

WIDTH, HEIGHT = 760, 400
LEFT, TOP, BOTTOM = 46, 14, 38
GAP = 12.5  # between the baselines of two labels: their letters are 10.5 high
LETTER = 6.3  # no letter of a label is wider
LEADER = 26  # from the end of the axis to the labels
MOST_BANDS = 8  # curves of which each shows its band: those of more lie in a heap

COLOURS = (
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
"""On light and on dark paper: 14 hues of OKLCH, two lightnesses in turn, neighbours far apart."""

DASHES = ("none", "7 3", "2 2.5", "10 3 2 3", "14 4")
"""As many as 14 does not divide by: a colour returns with another pattern."""


class Series(NamedTuple):
    """A curve: ascending ``xs``, as many ``ys``, and their deviations where they are known."""

    name: str
    xs: Sequence[float]
    ys: Sequence[float]
    deviations: Sequence[float | None]


def curve_chart(
    series: Sequence[Series],
    *,
    name: str,
    x_label: str,
    y_label: str,
    reference: tuple[str, float] | None = None,
    most: float | None = None,
) -> Markup:
    """All ``series`` over one pair of axes, the horizontal one from 0; nothing without a point.

    More than ``MOST_BANDS`` curves are drawn without their deviations.

    Args:
        series: coloured and dashed by their place, ``style``; empty ones are left out.
        name: what is drawn, for those who cannot see it.
        x_label, y_label: the axes, with their units.
        reference: a level to compare with, and its name.
        most: no band is drawn below 0 or above this.
    """
    drawn = [(place, each) for place, each in enumerate(series) if each.xs]
    if not drawn:
        return Markup("")
    banded = len(drawn) <= MOST_BANDS
    bands = {place: _band(each if banded else _bare(each), most) for place, each in drawn}
    levels = [y for low, high in bands.values() for y in (*low, *high)]
    levels += [reference[1]] if reference else []
    marks = ticks(min(levels), max(levels), most=7)
    bottom, top = min(*levels, marks[0]), max(*levels, marks[-1])
    end = max(each.xs[-1] for _, each in drawn) or 1.0
    names = [each.name for _, each in drawn] + ([reference[0]] if reference else [])
    right = LEADER + LETTER * max(map(len, names))
    height = max(HEIGHT, TOP + BOTTOM + GAP * len(names))

    def across(x: float) -> float:
        return LEFT + x / end * (WIDTH - LEFT - right)

    def up(y: float) -> float:
        return height - BOTTOM - (y - bottom) / (top - bottom) * (height - BOTTOM - TOP)

    base, edge = height - BOTTOM, WIDTH - right
    parts = [frame(f"{name}: {len(drawn)} curves", WIDTH, height)]
    for mark in marks:
        parts.append(line(LEFT, up(mark), edge, up(mark), "rule"))
        parts.append(text(LEFT - 6, up(mark) + 3.5, f"{mark:.4g}", "end"))
    for mark in (tick for tick in ticks(0, end, most=8) if tick <= end * 1.0001):
        parts.append(line(across(mark), base, across(mark), base + 4, "tick"))
        parts.append(text(across(mark), base + 15, f"{mark:.4g}", "middle"))
    parts.append(line(LEFT, base, edge, base, "tick"))
    label = f"{x_label}; upwards: {y_label}"
    parts.append(text((LEFT + edge) / 2, height - 5, label, "middle"))
    for place, each in drawn:
        low, high = bands[place]
        if low != high:
            there = [(across(x), up(y)) for x, y in zip(each.xs, high, strict=True)]
            back = [(across(x), up(y)) for x, y in zip(each.xs, low, strict=True)]
            parts.append(_points("polygon", f"band {style(place)}", [*there, *reversed(back)]))
    ends = []
    for place, each in drawn:
        path = [(across(x), up(y)) for x, y in zip(each.xs, each.ys, strict=True)]
        parts.append(_points("polyline", f"many {style(place)}", path, each.name))
        ends.append((*path[-1], each.name, style(place)))
    if reference:
        parts.append(line(LEFT, up(reference[1]), edge, up(reference[1]), "reference"))
        ends.append((edge, up(reference[1]), reference[0], "plain"))
    heights = apart([y for _, y, _, _ in ends], GAP, TOP, base)
    for (x, y, words, look), placed in zip(ends, heights, strict=True):
        start = edge + LEADER
        parts.append(Markup('<circle class="end {}" cx="{:.1f}" cy="{:.1f}" r="2.5"/>').format(
            look, x, y
        ))  # fmt: skip
        parts.append(line(x, y, start - 4, placed, f"leader {look}"))
        parts.append(text(start, placed + 3.5, words, "start", f"label {look}"))
    return Markup("").join([*parts, Markup("</svg>")])


def style(place: int) -> str:
    """The classes of a curve by its place: a colour and a pattern of dashes."""
    return f"s{place % len(COLOURS)} d{place % len(DASHES)}"


def apart(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Places in [low, high] near those wanted, in their order, no two nearer than ``gap``.

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


def _band(each: Series, most: float | None) -> tuple[list[float], list[float]]:
    pairs = [(y, d or 0.0) for y, d in zip(each.ys, each.deviations, strict=True)]
    low, high = [y - d for y, d in pairs], [y + d for y, d in pairs]
    if most is not None:
        low, high = [max(0.0, y) for y in low], [min(most, y) for y in high]
    return low, high


def _bare(each: Series) -> Series:
    return each._replace(deviations=[None] * len(each.xs))


def _points(kind: str, look: str, path: Sequence[tuple[float, float]], name: str = "") -> Markup:
    places = " ".join(f"{x:.1f},{y:.1f}" for x, y in path)
    title = Markup("<title>{}</title>").format(name) if name else ""
    return Markup('<{} class="{}" points="{}">{}</{}>').format(kind, look, places, title, kind)

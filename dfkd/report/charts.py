"""Line and column charts as inline SVG: no scripts, colours from the page's stylesheet."""

import math
from collections.abc import Sequence

from markupsafe import Markup, escape

WIDTH, HEIGHT = 340, 190
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 12, 36
POINTS = 300  # more than a chart of this width can show; neighbours are averaged


def line_chart(
    xs: Sequence[float], ys: Sequence[float | None], *, name: str, x_label: str
) -> Markup:
    """``ys`` over ``xs`` with labelled axes; the vertical one is logarithmic from a factor 50 on.

    Args:
        xs: ascending, finite values.
        ys: as many values; None leaves a gap.
        name: what is drawn, for those who cannot see it.
        x_label: the horizontal axis, with its unit.
    """
    points = _thin(xs, ys)
    values = [y for _, y in points if y is not None]
    if not values:
        return Markup("")
    low, high = min(values), max(values)
    logarithmic = low > 0 and high / low > 50
    y_marks = log_ticks(low, high) if logarithmic else ticks(low, high)
    low, high = min(low, y_marks[0]), max(high, y_marks[-1])
    start, end = xs[0], max(xs[-1], xs[0] + 1e-9)

    def across(x: float) -> float:
        return LEFT + (x - start) / (end - start) * (WIDTH - LEFT - RIGHT)

    def up(y: float) -> float:
        share = (
            math.log(y / low) / math.log(high / low) if logarithmic else (y - low) / (high - low)
        )
        return HEIGHT - BOTTOM - share * (HEIGHT - BOTTOM - TOP)

    parts = [frame(f"{name}: from {values[0]:.3g} to {values[-1]:.3g}")]
    for mark in y_marks:
        parts.append(line(LEFT, up(mark), WIDTH - RIGHT, up(mark), "rule"))
        parts.append(text(LEFT - 6, up(mark) + 3.5, f"{mark:.4g}", "end"))
    for mark in (t for t in ticks(start, end) if start <= t <= end):
        parts.append(line(across(mark), HEIGHT - BOTTOM, across(mark), HEIGHT - BOTTOM + 4, "tick"))
        parts.append(text(across(mark), HEIGHT - BOTTOM + 15, f"{mark:.4g}", "middle"))
    parts.append(line(LEFT, HEIGHT - BOTTOM, WIDTH - RIGHT, HEIGHT - BOTTOM, "tick"))
    label = f"{x_label}, log scale upwards" if logarithmic else x_label
    parts.append(text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 5, label, "middle"))
    for stretch in _stretches(points):
        path = " ".join(f"{across(x):.1f},{up(y):.1f}" for x, y in stretch)
        if len(stretch) > 1:
            parts.append(Markup('<polyline class="curve" points="{}"/>').format(path))
        else:
            x, y = stretch[0]
            dot = Markup('<circle class="dot" cx="{:.1f}" cy="{:.1f}" r="2.5"/>')
            parts.append(dot.format(across(x), up(y)))
    return Markup("").join([*parts, Markup("</svg>")])


def column_chart(counts: Sequence[int], *, name: str) -> Markup:
    """One column a class, in the order of the classes, from zero up."""
    marks = ticks(0, max(1, *counts))
    top = max(marks[-1], *counts)
    width = (WIDTH - LEFT - RIGHT) / len(counts)
    tall = (HEIGHT - BOTTOM - TOP) / top
    base = HEIGHT - BOTTOM
    parts = [frame(f"{name}: {len(counts)} classes, {min(counts)} to {max(counts)} images each")]
    for mark in marks:
        parts.append(line(LEFT, base - mark * tall, WIDTH - RIGHT, base - mark * tall, "rule"))
        parts.append(text(LEFT - 6, base - mark * tall + 3.5, f"{mark:.4g}", "end"))
    column = Markup('<rect class="bar" x="{:.2f}" y="{:.2f}" width="{:.2f}" height="{:.2f}"/>')
    for index, count in enumerate(counts):
        x, y = LEFT + index * width, base - count * tall
        parts.append(column.format(x, y, 0.9 * width, count * tall))
    parts.append(text(LEFT, base + 15, "0", "start"))
    parts.append(text(WIDTH - RIGHT, base + 15, str(len(counts) - 1), "end"))
    parts.append(text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 5, "class index", "middle"))
    return Markup("").join([*parts, Markup("</svg>")])


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round values (1, 2 or 5 times a power of ten apart) that enclose [low, high]."""
    if high - low <= 1e-9 * max(abs(low), abs(high), 1e-9):
        pad = abs(low) / 2 or 0.5
        low, high = low - pad, high + pad
    rough = (high - low) / (most - 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-6), math.ceil(high / step - 1e-6)
    return [i * step for i in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten that enclose [low, high], thinned to at most six."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    every = max(1, math.ceil((last - first) / 5))
    return [10.0**p for p in range(first, last + every, every)]


def _thin(xs: Sequence[float], ys: Sequence[float | None]) -> list[tuple[float, float | None]]:
    size = max(1, math.ceil(len(xs) / POINTS))
    points: list[tuple[float, float | None]] = []
    for start in range(0, len(xs), size):
        known = [y for y in ys[start : start + size] if y is not None]
        middle = xs[min(start + size // 2, len(xs) - 1)]
        points.append((middle, sum(known) / len(known) if known else None))
    return points


def _stretches(points: Sequence[tuple[float, float | None]]) -> list[list[tuple[float, float]]]:
    """Runs of neighbours that have a value."""
    runs: list[list[tuple[float, float]]] = [[]]
    for x, y in points:
        if y is None:
            runs.append([])
        else:
            runs[-1].append((x, y))
    return [run for run in runs if run]


def frame(label: str, width: float = WIDTH, height: float = HEIGHT) -> Markup:
    """The opening of a drawing, with what it shows for those who cannot see it."""
    opening = '<svg viewBox="0 0 {} {}" role="img" aria-label="{}">'
    return Markup(opening).format(width, height, label)


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Markup:
    """A straight line; ``kind`` is its class in the stylesheet."""
    drawn = '<line class="{}" x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"/>'
    return Markup(drawn).format(kind, x1, y1, x2, y2)


def text(x: float, y: float, words: str, anchor: str, kind: str = "") -> Markup:
    """Words at a place; ``anchor`` is ``start``, ``middle`` or ``end``."""
    look = Markup(' class="{}"').format(kind) if kind else ""
    opening = Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}"{}>').format(x, y, anchor, look)
    return opening + escape(words) + Markup("</text>")

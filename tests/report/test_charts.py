"""Charts: what they show, and how they become part of a page."""

import itertools
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure

from dfkd.report import charts, palette
from dfkd.report.charts import Metric, plot_balance, plot_metric, plot_run
from dfkd.report.curves import GAP, HEIGHT, MOST_BANDS, Series, apart, plot_curves
from dfkd.report.palette import COLOURS, series_style
from dfkd.report.svg import inline

ROWS: list[dict[str, Any]] = [
    {"step": i, "seconds": 2.0 * i, "kd": 1 / (1 + i), "synthesis/a<b>$x_1$": 300.0 * 0.8**i}
    for i in range(40)
]
AXES: dict[str, Any] = {"x_label": "x", "y_label": "y"}


def curve(figure: Figure, gid: str = "curve") -> tuple[list[float], list[float]]:
    """The points of the line of that name."""
    (line,) = (line for line in figure.axes[0].lines if line.get_gid() == gid)
    xs, ys = (np.asarray(data, dtype=float).tolist() for data in line.get_data())
    return xs, ys


# Values


@pytest.mark.parametrize(("low", "high"), [(0, 1), (3, 3), (-2e-7, 5e-7), (0.2, 1234), (0, 0)])
def test_ticks_enclose_their_values(low: float, high: float) -> None:
    marks = charts.ticks(low, high)
    assert 2 <= len(marks) <= 7
    assert marks[0] <= low <= high <= marks[-1]
    assert marks == sorted(set(marks))


@pytest.mark.parametrize(("low", "high"), [(1, 100), (0.02, 7), (1e-9, 1e9), (3.0, 160.0)])
def test_ticks_of_a_log_axis_are_powers_of_ten_that_enclose_its_values(
    low: float, high: float
) -> None:
    marks = charts.log_ticks(low, high)
    assert 2 <= len(marks) <= 7
    assert marks[0] <= low < high <= marks[-1]
    assert np.allclose(np.log10(marks), np.round(np.log10(marks)))


def test_a_chart_shows_the_values_at_their_times_and_its_axis_encloses_them() -> None:
    figure = plot_metric(Metric("kd", [60.0, 120.0, 180.0], [0.5, 0.3, 0.4]))
    assert curve(figure) == ([1.0, 2.0, 3.0], [0.5, 0.3, 0.4])
    axes = figure.axes[0]
    assert axes.get_xlabel() == "time, minutes"
    assert axes.get_xlim() == (1.0, 3.0)
    assert axes.get_ylim()[0] <= 0.3 < 0.5 <= axes.get_ylim()[1]
    assert axes.get_yscale() == "linear"


def test_the_axis_is_logarithmic_from_a_factor_50_on() -> None:
    for high, scale in ((0.49, "linear"), (0.51, "log")):
        axes = plot_metric(Metric("n", [0, 1], [0.01, high])).axes[0]
        assert axes.get_yscale() == scale
        assert ("logarithmic" in axes.get_xlabel()) == (scale == "log")
    assert plot_metric(Metric("n", [0, 1], [-1, 99])).axes[0].get_yscale() == "linear"


def test_what_is_not_finite_is_a_gap_and_a_point_alone_is_a_dot() -> None:
    figure = plot_metric(Metric("n", [0, 1, 2, 3, 4], [1, None, 3, None, 4]))
    assert np.isnan(curve(figure)[1]).tolist() == [False, True, False, True, False]
    assert curve(figure, "dots") == ([0, 2, 4], [1, 3, 4])
    whole = plot_metric(Metric("n", [0, 1, 2], [1, 2, 3]))
    assert [line.get_gid() for line in whole.axes[0].lines] == ["curve"]


def test_many_values_are_averaged_by_neighbours_without_what_is_not_finite() -> None:
    values: list[float | None] = [1.0, None, 2.0, 4.0] * 250
    xs, ys = curve(plot_metric(Metric("n", [float(i) for i in range(1000)], values)))
    assert len(xs) == 250
    assert ys == pytest.approx([7 / 3] * 250)
    assert xs[0] * 60 == pytest.approx(1.5)
    with_rest = curve(plot_metric(Metric("n", [float(i) for i in range(601)], [0.0] * 600 + [9.0])))
    assert with_rest[1][-1] == 9.0


def test_a_run_is_one_figure_with_a_chart_for_each_metric() -> None:
    figure = plot_run(ROWS)
    assert [axes.get_title("left") for axes in figure.axes] == ["kd", "synthesis · a<b>$x 1$"]
    assert [axes.get_title("right") for axes in figure.axes] == ["0.025", f"{300 * 0.8**39:.3g}"]
    assert plot_run([]).axes == []
    assert plot_run([{"step": 0, "seconds": 1.0, "kd": None, "text": "x"}]).axes == []


def test_columns_are_as_high_as_the_counts() -> None:
    (patch,) = plot_balance([3, 0, 7]).axes[0].patches
    values, edges, _ = patch.get_data()  # type: ignore[attr-defined]
    assert values.tolist() == [3, 0, 0, 0, 7]
    assert edges.tolist() == [0, 0.9, 1, 1.9, 2, 2.9]


# Many curves


def many(count: int) -> list[Series]:
    return [Series(f"m{i}", [1, 2], [50, 60 + i / 50], [1.0, 0.5]) for i in range(count)]


def labels(drawing: str) -> list[tuple[float, str]]:
    """(baseline, words) of every direct label."""
    group = r'<g class="label">.*?<text [^>]*y="([\d.-]+)"[^>]*>([^<]*)</text>'
    return [(float(y), words) for y, words in re.findall(group, drawing)]


@pytest.mark.parametrize("count", [1, 8, 14, 40])
def test_labels_do_not_overlap_and_stay_in_the_chart(count: int) -> None:
    drawing = inline(plot_curves(many(count), **AXES, reference=("teacher", 60.0)), "n")
    names = [words for _, words in sorted(labels(drawing)) if words != "teacher"]
    assert names == [f"m{i}" for i in reversed(range(count))]  # the highest curve's on top
    found = sorted(y for y, _ in labels(drawing))
    assert len(found) == count + 1
    assert all(b - a >= GAP - 0.11 for a, b in itertools.pairwise(found))
    height = float(re.findall(r'viewBox="0 0 \d+ ([\d.]+)"', drawing)[0])
    assert height >= HEIGHT
    assert 0 < found[0] <= found[-1] < height


@pytest.mark.parametrize(
    ("count", "bands"), [(1, 1), (MOST_BANDS, MOST_BANDS), (MOST_BANDS + 1, 0)]
)
def test_bands_are_drawn_while_they_can_be_told_apart(count: int, bands: int) -> None:
    figure = plot_curves(many(count), **AXES)
    names = [line.get_gid() for line in figure.axes[0].lines]
    assert [f"curve-{i}" for i in range(count)] == [name for name in names if name]
    assert len(figure.axes[0].collections) == bands


def test_a_band_is_the_deviation_cut_at_the_bounds() -> None:
    series = [Series("m", [1, 2], [50.0, 99.0], [2.0, 3.0]), Series("low", [1], [1.0], [2.0])]
    first, second = plot_curves(series, **AXES, most=100.0).axes[0].collections
    points = np.concatenate([path.vertices for path in first.get_paths()])
    assert {(1.0, 48.0), (1.0, 52.0), (2.0, 96.0), (2.0, 100.0)} <= set(map(tuple, points.tolist()))
    assert points[:, 1].max() == 100.0
    assert np.asarray(second.get_paths()[0].vertices)[:, 1].min() == 0.0


def test_apart_keeps_order_distance_and_bounds() -> None:
    assert apart([50, 10, 12], 5, 0, 100) == [50, 10, 15]
    assert apart([99, 98, 100], 5, 0, 100) == [95, 90, 100]
    assert apart([-3.0, 1], 5, 0, 100) == [0, 5]
    assert apart([], 5, 0, 100) == []


def test_no_two_of_many_curves_look_alike() -> None:
    assert len({series_style(index) for index in range(70)}) == 70


def test_an_empty_curve_keeps_its_colour_free_and_no_curve_is_no_axes() -> None:
    figure = plot_curves([Series("a", [], [], []), Series("b", [1.0], [5.0], [None])], **AXES)
    drawing = inline(figure, "n")
    assert [text for _, text in labels(drawing)] == ["b"]
    assert 'class="curve-1"' in drawing
    assert "var(--series-1)" in drawing
    assert "var(--series-0)" not in drawing
    assert [axes.get_xlabel() + axes.get_title("left") for axes in figure.axes] == ["xy"]
    assert plot_curves([], **AXES).axes == []


# Inside a page


def drawings() -> Sequence[str]:
    series = [Series("<b>$x$&", [1, 2], [3, 4], [0.1, 0.2])]
    figures = [
        plot_run(ROWS), plot_balance(range(1, 40)),
        plot_curves(series, **AXES, reference=("teacher", 60.0)),
    ]  # fmt: skip
    return [inline(figure, 'a "<i>') for figure in figures]


def test_drawings_take_the_colours_of_the_page_and_bring_nothing_else() -> None:
    for drawing in drawings():
        root = ElementTree.fromstring(drawing)
        assert root.attrib.keys() == {"viewBox", "role", "aria-label"}
        assert root.get("aria-label") == 'a "<i>'
        assert {each.tag for each in root.iter()} <= {"svg", "g", "path", "text", "title"}
        assert not re.search(r"#[0-9a-fA-F]{3,6}|url\(|https?:|href|font|\bid=", drawing)
        assert set(re.findall(r"var\(--([^)]*)\)", drawing)) <= set(COLOURS)
        for path in root.iter("path"):
            assert "var(--" in path.get("style", ""), "a black or white path"


def test_text_stays_text_and_is_escaped() -> None:
    run, balance, curves = drawings()
    assert "synthesis · a&lt;b&gt;$x 1$" in run
    assert "class index" in balance
    assert curves.count("&lt;b&gt;$x$&amp;") == 2  # label and title
    assert "<title>&lt;b&gt;$x$&amp;</title>" in curves


def test_drawings_are_the_same_every_time_whatever_the_users_settings() -> None:
    first = drawings()
    before = dict(matplotlib.rcParams)
    settings = {"font.size": 30, "text.usetex": True, "axes.grid": False, "lines.linewidth": 9,
                "svg.fonttype": "path", "savefig.bbox": "tight", "figure.dpi": 300}  # fmt: skip
    with matplotlib.rc_context(settings):  # type: ignore[arg-type]
        assert drawings() == first
        assert matplotlib.rcParams["font.size"] == 30
    assert dict(matplotlib.rcParams) == before


def test_no_two_colours_are_alike_on_light_paper() -> None:
    lights = [light for light, _ in COLOURS.values()]
    assert len(set(lights)) == len(lights)
    assert len(palette.SERIES) % len(palette.DASHES)


def test_twelve_charts_take_less_than_two_seconds() -> None:
    rows = [{"step": i, "seconds": float(i)} | {f"m{k}": 1 / (1 + i) for k in range(12)}
            for i in range(2000)]  # fmt: skip
    start = time.process_time()
    for metric in charts.metrics_over_time(rows):
        inline(plot_metric(metric), metric.name)
    assert time.process_time() - start < 2


@pytest.mark.parametrize("module", ["dfkd", "dfkd.cli.entry", "dfkd.report.page"])
def test_charts_are_imported_when_one_is_drawn(module: str) -> None:
    code = f"import sys, {module}; assert 'matplotlib.figure' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)

"""A comparison as one HTML page: nothing is fetched, nothing is executed."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from markupsafe import Markup

from dfkd.comparison import standings
from dfkd.comparison.tally import Record, RunKey
from dfkd.report import html
from dfkd.report.palette import series_style
from dfkd.report.units import percent, time_unit, whole
from dfkd.training.files import write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def write_comparison(directory: Path | str, record: Record) -> Path:
    """Write ``comparison.html`` into a comparison's directory.

    Args:
        directory: holds the runs; the page shows ``grid.png`` of those of the first seed.
        record: what ``comparison.json`` holds.
    """
    directory = Path(directory)
    rows: Sequence[Record] = record["methods"]
    cost = standings.titled(standings.COST, record)
    chart, banded = _chart(record)
    template = html.environment().get_template("comparison.html.j2")
    document = template.render(
        title=f"{len(rows)} {standings.noun(record)}, one clock",
        lead=standings.summary(record),
        warning=standings.caveats(record),
        quality=standings.ranks(record),
        cost=(cost, [standings.cost(row) for row in rows]),
        chart=chart,
        banded=banded,
        legend=list(_legend(rows)),
        grids=list(_grids(directory, record)),
        seed=record["settings"]["seeds"][0],
        memory=standings.MEMORY,
        command=record["command"],
        settings=_settings(record),
        details=html.details(record),
    )
    path = directory / "comparison.html"
    write_text(path, document)
    return path


def plot_comparison(record: Record) -> "Figure":
    """Draw accuracy over time: a line for each method, its mean over the seeds.

    Up to ``curves.MOST_BANDS`` methods have a band, one standard deviation to either side.

    Args:
        record: what ``comparison.json`` holds; without a curve the figure has no axes.
    """
    # matplotlib is slow to import.
    from dfkd.report.curves import Series, plot_curves

    rows: Sequence[Record] = record["methods"]
    ends = [row["curve"][-1]["seconds"] for row in rows if row["curve"]]
    unit, scale = time_unit(max(ends, default=0.0))
    series = [
        Series(
            f"{row['method']} {100 * row['curve'][-1]['accuracy']:.1f}" if row["curve"] else "",
            [point["seconds"] / scale for point in row["curve"]],
            [100 * point["accuracy"] for point in row["curve"]],
            [None if point["std"] is None else 100 * point["std"] for point in row["curve"]],
        )
        for row in rows
    ]
    teacher = 100 * (record["teacher_accuracy"] or 0.0)
    reference = (f"teacher {teacher:.1f}", teacher) if teacher else None
    labels = {"x_label": f"time, {unit}", "y_label": "accuracy, %"}
    return plot_curves(series, **labels, reference=reference, most=100.0)


def _chart(record: Record) -> tuple[Markup, bool]:
    """Draw the comparison for the page, and say whether it has bands; nothing without a curve."""
    from dfkd.report.curves import MOST_BANDS
    from dfkd.report.svg import inline

    count = sum(bool(row["curve"]) for row in record["methods"])
    if not count:
        return Markup(""), False
    return inline(
        plot_comparison(record), f"Accuracy over time: {count} curves"
    ), count <= MOST_BANDS


def _legend(rows: Sequence[Record]) -> Iterator[tuple[str, str, str, str]]:
    """Yield (colour, dashes, method, accuracy) of every curve."""
    for index, row in enumerate(rows):
        if row["curve"]:
            colour, dashes = series_style(index)
            pattern = " ".join(f"{length:g}" for length in dashes) or "none"
            yield colour, pattern, row["method"], standings.plus_minus(row["accuracy"])


def _grids(directory: Path, record: Record) -> Iterator[tuple[str, str, str, int]]:
    """Yield (method, flag, picture, its width) of every method with one for the first seed."""
    seed = record["settings"]["seeds"][0]
    for row in record["methods"]:
        path = directory / RunKey(row["method"], seed).folder / "grid.png"
        if seed in row["seeds"] and path.is_file():
            flags = ["collapsed"] if seed in row["collapsed"] else []
            flags += ["chance"] if row["chance"] else []
            yield row["method"], ", ".join(flags), html.data_uri(path), html.width(path)


def _settings(record: Record) -> list[tuple[str, str]]:
    """Return what was compared: the settings that were given, and the two networks' sizes."""
    given = {key: value for key, value in record["settings"].items() if value not in (None, [])}
    sizes = {
        "teacher’s parameters": whole(record["teacher_parameters"]),
        "student’s parameters": whole(record["student_parameters"]),
        "teacher’s accuracy": percent(record["teacher_accuracy"], 2),
        "teacher’s hash": record["teacher_hash"],
    }
    words = {k: " ".join(map(str, v)) if isinstance(v, list) else v for k, v in given.items()}
    return html.pairs({**words, **sizes})

"""A comparison as one HTML page: nothing is fetched, nothing is executed."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from dfkd.comparison import standings
from dfkd.comparison.tally import Run
from dfkd.report import html
from dfkd.report.curves import COLOURS, DASHES, MOST_BANDS, Series, curve_chart, style
from dfkd.report.units import percent, whole
from dfkd.training.files import write_text

Record = Mapping[str, Any]


def write_comparison(directory: Path | str, record: Record) -> Path:
    """Write ``comparison.html`` into a comparison's directory.

    Args:
        directory: holds the runs, whose ``grid.png`` of the first seed are embedded.
        record: what ``comparison.json`` holds.
    """
    directory = Path(directory)
    rows: Sequence[Record] = record["methods"]
    cost = standings.titled(standings.COST, record)
    template = html.environment().get_template("comparison.html.j2")
    document = template.render(
        title=f"{len(rows)} {standings.noun(record)}, one clock",
        lead=standings.lead(record),
        warning=standings.warning(record),
        colours=COLOURS,
        dashes=DASHES,
        quality=standings.ranks(record),
        cost=(cost, [standings.cost(row) for row in rows]),
        chart=_chart(record),
        banded=sum(bool(row["curve"]) for row in rows) <= MOST_BANDS,
        legend=[
            (style(place), row["method"], standings.plus_minus(row["accuracy"]))
            for place, row in enumerate(rows)
            if row["curve"]
        ],
        grids=list(_grids(directory, record)),
        seed=record["settings"]["seeds"][0],
        memory=standings.MEMORY,
        command=record["command"],
        settings=_settings(record),
        details=[
            (name, html.pairs(record[key]))
            for name, key in (("Versions", "versions"), ("Hardware", "hardware"), ("Git", "git"))
            if record.get(key)
        ],
    )
    path = directory / "comparison.html"
    write_text(path, document)
    return path


def _chart(record: Record) -> Markup:
    curves = [row["curve"] for row in record["methods"]]
    times = [point["seconds"] for curve in curves for point in curve]
    if not times:
        return Markup("")
    unit, scale = html.time_unit(max(times))
    series = [
        Series(
            f"{row['method']} {100 * row['curve'][-1]['accuracy']:.1f}"
            if row["curve"]
            else row["method"],
            [point["seconds"] / scale for point in row["curve"]],
            [100 * point["accuracy"] for point in row["curve"]],
            [None if point["std"] is None else 100 * point["std"] for point in row["curve"]],
        )
        for row in record["methods"]
    ]
    return curve_chart(
        series,
        name="Accuracy over time",
        x_label=f"time, {unit}",
        y_label="accuracy, %",
        reference=(
            f"teacher {100 * record['teacher_accuracy']:.1f}",
            100 * record["teacher_accuracy"],
        ),
        most=100.0,
    )


def _grids(directory: Path, record: Record) -> Any:
    """(method, flag, picture, its width) of every method that has one for the first seed."""
    seed = record["settings"]["seeds"][0]
    for row in record["methods"]:
        path = directory / Run(row["method"], seed).folder / "grid.png"
        if seed in row["seeds"] and path.is_file():
            flags = ["collapsed"] if seed in row["collapsed"] else []
            flags += ["chance"] if row["chance"] else []
            yield row["method"], ", ".join(flags), html.data_uri(path), html.width(path)


def _settings(record: Record) -> list[tuple[str, str]]:
    """What was compared: the settings that were given, and the two networks' sizes."""
    given = {key: value for key, value in record["settings"].items() if value not in (None, [])}
    sizes = {
        "teacher’s parameters": whole(record["teacher_parameters"]),
        "student’s parameters": whole(record["student_parameters"]),
        "teacher’s accuracy": percent(record["teacher_accuracy"], 2),
        "teacher’s hash": record["teacher_hash"],
    }
    words = {k: " ".join(map(str, v)) if isinstance(v, list) else v for k, v in given.items()}
    return html.pairs({**words, **sizes})

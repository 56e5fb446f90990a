"""A run as one HTML page: nothing is fetched, nothing is executed."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from dfkd.report import html, sentences, units
from dfkd.report.charts import column_chart, line_chart
from dfkd.report.log import read_metrics
from dfkd.training.files import write_text

MOST_BARS = 24  # classes that are listed by name; more become one chart


def write_page(directory: Path | str) -> Path:
    """Write ``report.html`` into a run's directory from the files that lie there.

    Reads ``manifest.json``, ``result.json``, ``metrics.jsonl`` and ``grid.png``; what
    is absent is left out of the page or said to be unknown.

    Raises:
        json.JSONDecodeError: the manifest or the result is no JSON.
    """
    directory = Path(directory)
    manifest, result = (
        html.read(directory / "manifest.json"),
        html.read(directory / "result.json"),
    )
    rows = sentences.models(result)
    headings, cells = units.comparison(rows)
    measured = any(row.get("accuracy") is not None for row in rows)
    counts = result.get("class_counts") or []
    document = html.environment().get_template("report.html.j2").render(
        title=sentences.title(manifest, result),
        lead=sentences.lead(result),
        warning=sentences.warning(manifest, result),
        highlights=sentences.highlights(result),
        headings=headings,
        cells=cells,
        unmeasured="" if measured else "Accuracy not measured: no --eval.",
        grid=html.data_uri(directory / "grid.png"),
        grid_width=html.width(directory / "grid.png"),
        charts=list(_charts(read_metrics(directory))),
        account=sentences.account(result),
        balance=_balance(counts, manifest.get("class_names") or []),
        balance_chart=column_chart(counts, name="Class balance")
        if len(counts) > MOST_BARS
        else Markup(""),
        balance_note=sentences.balance_note(counts),
        provenance=sentences.provenance(manifest),
        command=html.command(manifest.get("command")),
        details=[
            (name, html.pairs(manifest[key]))
            for name, key in (("Versions", "versions"), ("Hardware", "hardware"), ("Git", "git"))
            if manifest.get(key)
        ],
        recipe=json.dumps(manifest["recipe"], indent=2, ensure_ascii=False)
        if manifest.get("recipe")
        else "",
    )  # fmt: skip
    path = directory / "report.html"
    write_text(path, document)
    return path


def _charts(rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str, str, Markup]]:
    """(group, name, last value, drawing) of every metric, in order of first appearance."""
    names = dict.fromkeys(key for row in rows for key in row if key not in ("step", "seconds"))
    for name in names:
        # A row without a metric says nothing; a row with null says that it was not finite.
        points = [
            (x, units.number(row[name]))
            for row in rows
            if name in row and (x := units.number(row.get("seconds"))) is not None
        ]
        # A resumed run may report moments again that the interrupted one had reached.
        points.sort(key=lambda point: point[0])
        finite = [y for _, y in points if y is not None]
        if finite:
            unit, scale = html.time_unit(points[-1][0])
            xs, ys = [x / scale for x, _ in points], [y for _, y in points]
            drawing = line_chart(xs, ys, name=name, x_label=f"time, {unit}")
            group, _, short = name.rpartition("/")
            yield group, short.replace("_", " "), f"{finite[-1]:.3g}", drawing


def _balance(counts: Sequence[int], names: Sequence[Any]) -> list[tuple[str, str, str]]:
    """(class, count, length of its bar in percent), for few enough classes to list."""
    if not counts or len(counts) > MOST_BARS:
        return []
    top = max(*counts, 1)
    labels = [str(n) for n in names] if len(names) == len(counts) else map(str, range(len(counts)))
    return [
        (label, units.whole(count), f"{100 * count / top:.1f}")
        for label, count in zip(labels, counts, strict=True)
    ]

"""A run as one HTML page: nothing is fetched, nothing is executed."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from dfkd.report import html, sentences, units
from dfkd.report.gallery import Gallery
from dfkd.report.log import read_metrics
from dfkd.training.files import write_text

MOST_BARS = 24  # classes that are listed by name; more become one chart


def write_page(
    directory: Path,
    manifest: Mapping[str, Any],
    result: Mapping[str, Any],
    gallery: Gallery | None = None,
) -> Path:
    """Write ``report.html`` into a run's directory.

    Args:
        directory: its ``metrics.jsonl`` and ``grid.png`` are shown if they are there.
        manifest: what ``manifest.json`` holds; what is absent is left out or said to be unknown.
        result: what ``result.json`` holds; likewise.
        gallery: its pictures, in place of ``grid.png``.
    """
    rows = sentences.models(result)
    headings, cells = units.comparison(rows)
    measured = any(row.get("accuracy") is not None for row in rows)
    counts = result.get("class_counts") or []
    recipe = manifest.get("recipe")
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
        decisions=[html.coded(line) for line in result.get("decisions") or ()],
        account=sentences.account(result),
        balance=_balance(counts, manifest.get("class_names") or []),
        balance_chart=_balance_chart(counts),
        balance_note=sentences.balance_note(counts),
        provenance=sentences.provenance_rows(manifest),
        command=html.command(manifest.get("command")),
        details=html.details(manifest),
        recipe=json.dumps(recipe, indent=2, ensure_ascii=False) if recipe else "",
        **({"gallery": None} if gallery is None else gallery.parts()),
    )  # fmt: skip
    path = directory / "report.html"
    write_text(path, document)
    return path


def _charts(rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str, str, Markup]]:
    """Yield (group, name, last value, drawing) of every metric, in order of first appearance."""
    from dfkd.report import charts, svg  # matplotlib is slow to import, and needed at the end

    for metric in charts.metrics_over_time(rows):
        finite = metric.finite
        label = f"{metric.name}: from {finite[0]:.3g} to {finite[-1]:.3g}"
        group, _, short = metric.name.rpartition("/")
        drawing = svg.inline(charts.plot_metric(metric), label)
        yield group, short.replace("_", " "), f"{finite[-1]:.3g}", drawing


def _balance_chart(counts: Sequence[int]) -> Markup:
    """Draw the images of each class, for classes too many to list."""
    if len(counts) <= MOST_BARS:
        return Markup("")
    from dfkd.report import charts, svg

    label = f"Class balance: {len(counts)} classes, {min(counts)} to {max(counts)} images each"
    return svg.inline(charts.plot_balance(counts), label)


def _balance(counts: Sequence[int], names: Sequence[Any]) -> list[tuple[str, str, str]]:
    """Return (class, count, length of its bar in percent), for few enough classes to list."""
    if not counts or len(counts) > MOST_BARS:
        return []
    top = max(*counts, 1)
    labels = [str(n) for n in names] if len(names) == len(counts) else map(str, range(len(counts)))
    return [
        (label, units.whole(count), f"{100 * count / top:.1f}")
        for label, count in zip(labels, counts, strict=True)
    ]

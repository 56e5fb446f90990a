"""The page of a visualisation: nothing is fetched, nothing is executed."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from dfkd.report import html, sentences
from dfkd.report.thumbnails import Thumbnail
from dfkd.training.files import write_text


class Card(NamedTuple):
    """An image with a line under it."""

    picture: Thumbnail
    caption: str


class CardRow(NamedTuple):
    """Images under one heading, with a remark beside it."""

    name: str
    note: str
    cards: Sequence[Card]


def write_exhibit(
    directory: Path,
    title: str,
    lead: str,
    rows: Sequence[CardRow],
    animation: Path | None,
    record: Mapping[str, Any],
) -> Path:
    """Write ``report.html`` into a visualisation's directory.

    Args:
        directory: of the page.
        title: its heading.
        lead: a sentence or two under it.
        rows: of images.
        animation: an animated PNG, which a click shows.
        record: what ``manifest.json`` holds.
    """
    settings = {key: value for key, value in record["recipe"].items() if value is not None}
    document = html.environment().get_template("exhibit.html.j2").render(
        title=title,
        lead=lead,
        rows=rows,
        animation=html.data_uri(animation) if animation else "",
        animation_width=html.width(animation) if animation else 0,
        settings=html.pairs(settings),
        provenance=sentences.provenance_rows(record),
        command=html.command(record.get("command")),
        details=html.details(record),
    )  # fmt: skip
    path = directory / "report.html"
    write_text(path, document)
    return path

"""What set is exported in a directory, by its own word."""

from pathlib import Path

from dfkd.errors import DfkdError
from dfkd.sets.exports.parquet import NOTE_KEY, arrow
from dfkd.sets.exports.samples import NOTE, ExportNote, parse_note

_LONGEST = 50_000_000


def note_in(place: Path) -> ExportNote | None:
    """Return the note of the export in a directory; None where there is no export.

    Raises:
        DfkdError: there is one, and it is damaged.
    """
    path = place / NOTE
    tables = sorted(place.glob("train-*.parquet")) if place.is_dir() else []
    if not path.is_file() or path.is_symlink():
        return note_in_table(tables[0]) if tables else None
    if path.stat().st_size > _LONGEST:
        raise DfkdError(f"{path} has {path.stat().st_size:,} bytes: no note on a set")
    return parse_note(path.read_text("utf-8", errors="replace"), place)


def note_in_table(path: Path) -> ExportNote | None:
    """Return the note in the schema of a parquet file; None where it has none or is none."""
    try:
        metadata = arrow().parquet.read_schema(path).metadata or {}
    except (DfkdError, OSError, ValueError):
        return None
    text = metadata.get(NOTE_KEY)
    return None if text is None else parse_note(text.decode("utf-8", errors="replace"), path)


def known_export(place: Path) -> bool:
    """Tell whether a directory holds an export of a set."""
    try:
        return note_in(place) is not None
    except (DfkdError, OSError):
        return False

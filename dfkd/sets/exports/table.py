"""The forms that a set can be exported in, one row each."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from dfkd.datasets.written import WrittenSet
from dfkd.errors import DfkdError, nearest, unwritable
from dfkd.runs import run_directory
from dfkd.runs.run_entries import DirectoryLayout
from dfkd.sets.exports.calibration import write_calibration
from dfkd.sets.exports.croissant import CROISSANT, describe, write_croissant
from dfkd.sets.exports.folder import write_folder
from dfkd.sets.exports.known import known_export, note_in
from dfkd.sets.exports.parquet import write_parquet
from dfkd.sets.exports.samples import content_hash
from dfkd.sets.exports.staging import staged
from dfkd.sets.exports.tar_shards import write_tar_shards


class Exporter(NamedTuple):
    """A form of export.

    Attributes:
        line: what it is, for ``--help``.
        write: the set, an empty directory and a number of images -> remarks for the user.
        counted: whether it takes a number of images.
    """

    line: str
    write: Callable[[WrittenSet, Path, int | None], list[str]]
    counted: bool = False


EXPORTERS: dict[str, Exporter] = {
    "folder": Exporter("one directory a class (ImageFolder), with metadata.jsonl", write_folder),
    "webdataset": Exporter("tar shards", write_tar_shards),
    "parquet": Exporter("Hugging Face's columns; needs pyarrow", write_parquet),
    "croissant": Exporter(
        "croissant.json, in a folder or parquet export that is there or in a new folder",
        write_croissant,
    ),
    "calibration": Exporter("normalised float32 inputs for a quantiser", write_calibration, True),
}
EXPORT = DirectoryLayout(
    r"metadata\.jsonl|croissant\.json|calibration\.json|dfkd_set\.json|shard-\d{5}\.tar"
    r"|train-\d{5}-of-\d{5}\.parquet",
    {
        "inputs": DirectoryLayout(r"\d{7}\.npy"),
        r"\d+(_[A-Za-z0-9_-]*)?": DirectoryLayout(r"\d+\.(png|npy)"),
    },
    known_export,
    ("dfkd_set.json", "train-00000-of-00001.parquet"),
)
"""What an exporter can have written."""


def export_set(
    data: WrittenSet,
    kind: str,
    output: Path | str,
    *,
    count: int | None = None,
    overwrite: bool = False,
) -> list[str]:
    """Write a set in the form of another tool, whole or not at all; every pixel stays as it is.

    Args:
        data: the set.
        kind: a name of ``EXPORTERS``.
        output: a directory that is absent or empty; of ``croissant`` also an export of this set.
        count: images of a calibration set, as many of each class as can be.
        overwrite: replace an earlier export there.

    Returns:
        What is out of the ordinary, in a sentence each.

    Raises:
        DfkdError: an unknown kind, no room, something else in ``output``, or a package that is
            not installed.
    """
    place = Path(output)
    if kind not in EXPORTERS:
        raise DfkdError(f"unknown export {kind!r}{nearest(kind, EXPORTERS)}")
    row = EXPORTERS[kind]
    if count is not None and not row.counted:
        raise DfkdError(f"`count` belongs to calibration; {kind} has all images")
    try:
        if kind == "croissant" and not overwrite and note_in(place):
            _add_croissant(data, place)
            return []
        run_directory.prepare(place, overwrite, layout=EXPORT, reads=[data.directory])
        data.check_bytes()
        with staged(place, EXPORT, overwrite) as made:
            return row.write(data, made, count)
    except OSError as error:
        raise unwritable(error, place) from error


def _add_croissant(data: WrittenSet, place: Path) -> None:
    note = note_in(place)
    if note is None or note.content != content_hash(data):
        raise DfkdError(f"`output` {place} holds an export of another set; choose another")
    if (place / CROISSANT).exists():
        raise DfkdError(f"`output` {place} has a {CROISSANT}; add `overwrite` or remove it")
    describe(data, place)

"""Pictures in one directory a class, or those that a ``metadata.jsonl`` names."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from dfkd.datasets.listing import Listing, look_into
from dfkd.errors import DfkdError
from dfkd.sets.exports.folder import METADATA
from dfkd.sets.exports.known import note_in
from dfkd.sets.imports.arrays import as_vector
from dfkd.sets.imports.incoming import (
    MOST_BYTES,
    IncomingSample,
    IncomingSet,
    PictureReader,
    as_label,
)
from dfkd.tasks.labels import REMEDY, directory_names, match, why_not
from dfkd.tasks.words import shown

_LINE = 1 << 20


def open_folder(source: Path, reader: PictureReader, class_names: Sequence[str]) -> IncomingSet:
    """Open a folder of pictures.

    Args:
        source: the folder.
        reader: of its pictures.
        class_names: the model's; directories are matched with them.

    Raises:
        DfkdError: no pictures, or directories that are no classes.
    """
    if (source / METADATA).exists():
        note = note_in(source)
        names = note.manifest.class_names if note else None
        return IncomingSet("folder", _listed_rows(source, reader, note is not None), names, note)
    listing = look_into(source)
    if listing.beside or not any(listing.classes.values()):
        what = "pictures without a class" if listing.beside else "no pictures"
        raise DfkdError(f"{shown(source, 100)} holds {what}: put them in one directory a class")
    labels, how = _classes(listing, class_names, shown(source, 80))
    return IncomingSet("folder", _by_class(source, listing, labels, reader), None, None, (how,))


def _classes(
    listing: Listing, class_names: Sequence[str], source: str
) -> tuple[dict[str, int], str]:
    """Return the class of each directory, and how it was found."""
    names = list(listing.classes)
    ours = {name: index for index, name in enumerate(directory_names(class_names))}
    if all(name in ours for name in names):
        return {name: ours[name] for name in names}, "classes by directory"
    found = match(names, class_names)
    if found is None:
        seen = why_not(names, class_names, ("directory", "directories"))
        raise DfkdError(f"{source}: {seen}; {REMEDY}")
    return dict(zip(names, found.indices, strict=True)), f"classes by {found.how}"


def _by_class(
    source: Path, listing: Listing, labels: dict[str, int], reader: PictureReader
) -> Iterator[IncomingSample]:
    for directory, paths in listing.classes.items():
        for path in paths:
            name = path.relative_to(source).as_posix()
            yield IncomingSample(name, _read(path, name, reader), labels[directory], {})


def _read(path: Path, name: str, reader: PictureReader) -> Any:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise DfkdError(f"{shown(name, 100)} has {path.stat().st_size:,} bytes: too many")
        content = path.read_bytes()
    except OSError as error:
        raise DfkdError(f"{shown(name, 100)} cannot be read ({error.strerror})") from None
    return reader.read(name, content)


def _listed_rows(source: Path, reader: PictureReader, ours: bool) -> Iterator[IncomingSample]:
    """Read the pictures that the metadata names, in its order."""
    seen: set[str] = set()
    for number, line in enumerate(_lines(source / METADATA), 1):
        facts = _row(line, f"{METADATA}, line {number}")
        name = facts.pop("file_name")
        path = inside(source, name)
        if str(path) in seen:
            raise DfkdError(f"{METADATA} names {shown(name, 100)} twice")
        seen.add(str(path))
        label = as_label(facts.get("label"), name)
        image, targets = _read(path, name, reader), facts.pop("targets", None)
        # What others call targets need not be what an image was made for.
        targets = as_vector(name, targets, "targets") if ours else None
        yield IncomingSample(name, image, label, facts, None, targets)


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            yield from iter(lambda: file.readline(_LINE), b"")
    except OSError as error:
        raise DfkdError(f"{shown(path, 100)} cannot be read ({error.strerror})") from None


def _row(line: bytes, where: str) -> dict[str, Any]:
    try:
        facts = json.loads(line)
    except (ValueError, RecursionError):
        facts = None
    if not isinstance(facts, dict) or not isinstance(facts.get("file_name"), str):
        raise DfkdError(f"{where} names no file: each line is an object with file_name and label")
    return facts


def inside(source: Path, name: str) -> Path:
    """Return the file of a name within a folder.

    Raises:
        DfkdError: the name leads out of the folder, or to what is no plain file there.
    """
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or "\\" in name or "\0" in name:
        raise DfkdError(f"{METADATA} names {shown(name, 100)}, which lies outside the folder")
    path = source.joinpath(*parts)
    try:
        plain = path.is_file() and path.resolve().is_relative_to(source.resolve())
    except (OSError, ValueError):
        plain = False
    if not plain:
        raise DfkdError(f"{METADATA} names {shown(name, 100)}, and no such file is in the folder")
    return path

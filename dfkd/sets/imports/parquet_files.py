"""Parquet files with a column of pictures and one of labels, as Hugging Face writes them."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dfkd.errors import DfkdError
from dfkd.sets.exports.known import note_in_table
from dfkd.sets.exports.parquet import arrow
from dfkd.sets.exports.samples import VECTORS
from dfkd.sets.imports.arrays import as_vector
from dfkd.sets.imports.incoming import (
    IncomingSample,
    IncomingSet,
    PictureReader,
    as_label,
)
from dfkd.tasks.words import first_few, shown

_MOST_GROUP = 512 << 20
"""Bytes of a group of rows, unpacked; Hugging Face makes them of a fifth of that."""
_ROWS = 4
"""Read at once: a dictionary can make many large values of a single one."""


def open_parquet(source: Path, reader: PictureReader) -> IncomingSet:
    """Open a parquet file, or a directory of them.

    Args:
        source: a file, or a directory with ``*.parquet``.
        reader: of the pictures.

    Raises:
        DfkdError: pyarrow is not installed, or there are no such columns.
    """
    arrow()
    paths = sorted(source.glob("*.parquet")) if source.is_dir() else [source]
    note, features = note_in_table(paths[0]), _features(paths[0])
    names = note.manifest.class_names if note else _class_names(features)
    return IncomingSet("parquet", _samples(paths, reader, features, note is not None), names, note)


def _file(path: Path) -> Any:
    try:
        return arrow().parquet.ParquetFile(path)
    except Exception as error:  # its own errors are OSError, ValueError and others, by chance
        raise DfkdError(
            f"{shown(path, 100)} is no parquet file that can be read ({shown(error, 80)})"
        ) from None


def _features(path: Path) -> Mapping[str, Any]:
    """Return what Hugging Face says of the columns; nothing where it says nothing."""
    try:
        text = (_file(path).schema_arrow.metadata or {}).get(b"huggingface", b"{}")
        found = json.loads(text)["info"]["features"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        if isinstance(error, DfkdError):
            raise
        return {}
    return (
        {k: v for k, v in found.items() if isinstance(v, dict)} if isinstance(found, dict) else {}
    )


def _of_type(features: Mapping[str, Any], kind: str, otherwise: str) -> str:
    return next((name for name, one in features.items() if one.get("_type") == kind), otherwise)


def _class_names(features: Mapping[str, Any]) -> tuple[str, ...] | None:
    names = features.get(_of_type(features, "ClassLabel", "label"), {}).get("names")
    return tuple(map(str, names)) if isinstance(names, list) and names else None


def _samples(
    paths: list[Path], reader: PictureReader, features: Mapping[str, Any], ours: bool
) -> Iterator[IncomingSample]:
    image, label = (
        _of_type(features, kind, name)
        for kind, name in (("Image", "image"), ("ClassLabel", "label"))
    )
    for path in paths:
        file = _file(path)
        columns = file.schema_arrow.names
        if image not in columns or label not in columns:
            raise DfkdError(
                f"{shown(path, 100)} has {first_few(columns, 4)}, and no columns image and label"
            )
        _check_groups(file, path)
        for place, row in enumerate(_rows(file, path)):
            if not ours:  # what others call targets need not be what an image was made for
                row.pop("targets", None)
            yield _sample(f"{path.name}, row {place}", row, image, label, reader)


def _check_groups(file: Any, path: Path) -> None:
    found = file.metadata
    sizes = (found.row_group(i).total_byte_size for i in range(found.num_row_groups))
    if (largest := max(sizes, default=0)) > _MOST_GROUP:
        raise DfkdError(
            f"{shown(path, 100)} has a group of rows of {largest:,} bytes: write smaller groups"
        )


def _rows(file: Any, path: Path) -> Iterator[dict[str, Any]]:
    try:
        for batch in file.iter_batches(_ROWS):
            yield from batch.to_pylist()
    except DfkdError:
        raise
    except Exception as error:  # damaged pages, by whatever name
        raise DfkdError(f"{shown(path, 100)} is damaged ({shown(error, 100)})") from None


def _sample(
    name: str, row: dict[str, Any], image: str, label: str, reader: PictureReader
) -> IncomingSample:
    value = row.pop(image)
    content = value.get("bytes") if isinstance(value, dict) else value
    inner = value.get("path") if isinstance(value, dict) else None
    if not isinstance(content, bytes):
        raise DfkdError(f"{name} has no picture in it: the files' bytes must be in the table")
    ending = ".npy" if isinstance(inner, str) and inner.endswith(".npy") else ""
    own = as_label(row.pop(label), name)
    logits, targets = (row.pop(what, None) for what in VECTORS)
    answers, made_for = as_vector(name, logits, "logits"), as_vector(name, targets, "targets")
    picture = reader.read(f"{name}{ending}", content)
    return IncomingSample(name, picture, own, row, answers, made_for)

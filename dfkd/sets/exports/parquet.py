"""Parquet files with the columns that Hugging Face's ``datasets`` takes for images and classes."""

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from dfkd.datasets.written import WrittenSet
from dfkd.errors import DfkdError
from dfkd.sets.exports.folder import channel_remarks
from dfkd.sets.exports.naming import distinct_names
from dfkd.sets.exports.samples import (
    PICTURE_MODES,
    RESERVED,
    ExportedSample,
    ExportNote,
    exported_samples,
    picture,
)
from dfkd.sets.exports.tar_shards import images_of_a_file

NOTE_KEY = b"dfkd"
"""Of a schema's metadata: what ``NOTE`` is elsewhere."""
_FILE_BYTES = 500_000_000
_GROUP_BYTES = 64_000_000
_GROUP_IMAGES = 1000


def arrow() -> Any:
    """Import pyarrow.

    Raises:
        DfkdError: it is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise DfkdError(
            "parquet needs pyarrow, which is not installed: pip install 'dfkd[data]'"
        ) from None
    return pyarrow


def write_parquet(data: WrittenSet, place: Path, count: int | None) -> list[str]:
    """Write ``train-00000-of-0000N.parquet`` and so on; return what is out of the ordinary.

    Args:
        data: the set.
        place: an empty directory.
        count: not asked for: all images are written.

    Raises:
        DfkdError: pyarrow is not installed.
    """
    pa = arrow()
    schema = _schema(pa, data)
    size = images_of_a_file(data, _FILE_BYTES, len(data))
    group = images_of_a_file(data, _GROUP_BYTES, _GROUP_IMAGES)
    files = -(-len(data) // size)
    samples = exported_samples(data)
    for index in range(files):
        own = islice(samples, size)
        path = place / f"train-{index:05d}-of-{files:05d}.parquet"
        with pa.parquet.ParquetWriter(path, schema) as writer:
            while rows := [_row(sample) for sample in islice(own, group)]:
                writer.write_table(pa.Table.from_pylist(rows, schema))
    return channel_remarks(data)


def _row(sample: ExportedSample) -> dict[str, Any]:
    ending, content = picture(sample.image)
    image = {"bytes": content, "path": f"{sample.key}{ending}"}
    vectors = {name: values.tolist() for name, values in sample.vectors.items()}
    return {"image": image, **sample.facts, **vectors}


def _columns(data: WrittenSet) -> Iterator[tuple[str, str]]:
    """Yield the columns beside the image and the label, with the type of their values."""
    first = next(exported_samples(data))
    yield "class_name", "string"
    if any(one.synset for one in data.manifest.classes):
        yield "synset", "string"
    for name, value in first.facts.items():
        if name not in RESERVED:
            yield name, "int64" if isinstance(value, int) else "float32"
    yield from ((name, "list") for name in first.vectors)


def _schema(pa: Any, data: WrittenSet) -> Any:
    """Return the columns; Hugging Face reads their meaning from the schema's metadata."""
    types = {
        "string": pa.string(), "int64": pa.int64(), "float32": pa.float32(),
        "list": pa.list_(pa.float32()),
    }  # fmt: skip
    columns = dict(_columns(data))
    struct = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    fields = [("image", struct), ("label", pa.int64())]
    fields += [(name, types[kind]) for name, kind in columns.items()]
    features = {
        "image": _image_feature(data),
        "label": {"names": distinct_names(data.manifest.class_names), "_type": "ClassLabel"},
        **{name: _feature(kind) for name, kind in columns.items()},
    }
    metadata = {
        b"huggingface": json.dumps({"info": {"features": features}}),
        NOTE_KEY: ExportNote.of(data).to_text(),
    }
    return pa.schema(fields, metadata)


def _feature(kind: str) -> Any:
    if kind == "list":
        return {"feature": _feature("float32"), "_type": "Sequence"}
    return {"dtype": kind, "_type": "Value"}


def _image_feature(data: WrittenSet) -> Any:
    if data.manifest.image.channels in PICTURE_MODES:
        return {"_type": "Image"}
    return {"bytes": _feature("binary"), "path": _feature("string")}

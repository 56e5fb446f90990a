"""``croissant.json``: what a folder or parquet export holds, as MLCommons' Croissant 1.0 says it.

The names of the vocabulary are those of http://mlcommons.org/croissant/1.0 and schema.org.
"""

import json
from pathlib import Path
from typing import Any

from dfkd.datasets.written import WrittenSet
from dfkd.datasets.written.shards import digest
from dfkd.errors import DfkdError
from dfkd.sets.exports.folder import METADATA, write_folder
from dfkd.sets.exports.samples import PICTURE_MODES, exported_samples
from dfkd.training.files import write_text

CROISSANT = "croissant.json"
_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
_TYPES: dict[type, str] = {int: "sc:Integer", float: "sc:Float", str: "sc:Text"}
_PICTURES, _FILES, _TABLE = "pictures", "parquet-files", "metadata"


def write_croissant(data: WrittenSet, place: Path, count: int | None) -> list[str]:
    """Write a folder export with ``croissant.json``; return what is out of the ordinary.

    Args:
        data: the set.
        place: an empty directory.
        count: not asked for: all images are written.

    Raises:
        DfkdError: images that are no pictures.
    """
    _check_pictures(data)
    remarks = write_folder(data, place, None)
    describe(data, place)
    return remarks


def describe(data: WrittenSet, place: Path) -> None:
    """Write ``croissant.json`` into a folder or parquet export of the set.

    Raises:
        DfkdError: neither of them is there, or images that are no pictures.
    """
    _check_pictures(data)
    if (place / METADATA).is_file():
        found = _of_folder(data, place)
    elif any(place.glob("train-*.parquet")):
        found = _of_parquet(data)
    else:
        raise DfkdError(f"{place} holds no folder or parquet export for croissant to describe")
    write_text(place / CROISSANT, json.dumps(found, indent=1, ensure_ascii=False) + "\n")


def _check_pictures(data: WrittenSet) -> None:
    if (channels := data.manifest.image.channels) not in PICTURE_MODES:
        raise DfkdError(
            f"croissant describes pictures, and images of {channels} channels are none: export "
            "them as webdataset"
        )


def _of_folder(data: WrittenSet, place: Path) -> dict[str, Any]:
    table = {
        "@type": "cr:FileObject", "@id": _TABLE, "name": _TABLE, "contentUrl": METADATA,
        "encodingFormat": "application/jsonlines", "sha256": digest(place / METADATA),
    }  # fmt: skip
    pictures = _file_set(_PICTURES, "*.png", "image/png")
    # Both names of a file are the same text; the expression makes text of a path.
    name = _field("file_name", "sc:Text", _PICTURES, {"fileProperty": "fullpath"})
    name["source"]["transform"] = {"regex": "^(.*)$"}
    name["references"] = {"fileObject": {"@id": _TABLE}, "extract": {"column": "file_name"}}
    image = _field("image", "sc:ImageObject", _PICTURES, {"fileProperty": "content"})
    facts = _facts(data, _TABLE, "fileObject")
    return _metadata(data, [table, pictures], [name, image, *facts])


def _of_parquet(data: WrittenSet) -> dict[str, Any]:
    files = _file_set(_FILES, "train-*.parquet", "application/x-parquet")
    image = _field("image", "sc:ImageObject", _FILES, {"column": "image"})
    image["source"]["transform"] = {"jsonPath": "bytes"}
    logits = _field("logits", "sc:Float", _FILES, {"column": "logits"})
    logits["repeated"] = True
    return _metadata(data, [files], [image, *_facts(data, _FILES, "fileSet"), logits])


def _file_set(name: str, includes: str, kind: str) -> dict[str, Any]:
    return {
        "@type": "cr:FileSet", "@id": name, "name": name, "includes": includes,
        "encodingFormat": kind,
    }  # fmt: skip


def _facts(data: WrittenSet, source: str, kind: str) -> list[dict[str, Any]]:
    facts = next(exported_samples(data)).facts
    return [
        _field(name, _TYPES.get(type(value), "sc:Float"), source, {"column": name}, kind)
        for name, value in facts.items()
    ]


def _field(
    name: str, data_type: str, source: str, extract: dict[str, str], kind: str = "fileSet"
) -> dict[str, Any]:
    return {
        "@type": "cr:Field", "@id": f"images/{name}", "name": name, "dataType": data_type,
        "source": {kind: {"@id": source}, "extract": extract},
    }  # fmt: skip


def _metadata(data: WrittenSet, files: list[Any], fields: list[Any]) -> dict[str, Any]:
    manifest = data.manifest
    made = "real images had a part in it" if manifest.real_data_used else "no real image had a part"
    filled = sum(one.count > 0 for one in manifest.classes)
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": "synthetic-images",
        "description": f"{len(data):,} synthetic images of {filled:,} classes, made from a "
        f"network; {made}.",
        "distribution": files,
        "recordSet": [
            {"@type": "cr:RecordSet", "@id": "images", "name": "images", "field": fields}
        ],
    }

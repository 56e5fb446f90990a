"""One directory a class: torchvision's ImageFolder, with Hugging Face's ``metadata.jsonl``."""

import json
from pathlib import Path

from dfkd.datasets.written import WrittenSet
from dfkd.sets.exports.samples import PICTURE_MODES, exported_samples, picture, write_note
from dfkd.tasks.labels import directory_names

METADATA = "metadata.jsonl"


def write_folder(data: WrittenSet, place: Path, count: int | None) -> list[str]:
    """Write every image as a file of its class's directory; return what is out of the ordinary.

    Args:
        data: the set.
        place: an empty directory.
        count: not asked for: all images are written.
    """
    names = directory_names(data.manifest.class_names)
    with (place / METADATA).open("w", encoding="utf-8") as metadata:
        for sample in exported_samples(data):
            directory = place / names[sample.label]
            directory.mkdir(exist_ok=True)
            ending, content = picture(sample.image)
            path = directory / f"{sample.key}{ending}"
            path.write_bytes(content)
            row = {"file_name": path.relative_to(place).as_posix(), **sample.facts}
            if "targets" in sample.vectors:
                row["targets"] = sample.vectors["targets"].tolist()
            metadata.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")
    write_note(place, data)
    return [*channel_remarks(data), *_empty_classes(data)]


def channel_remarks(data: WrittenSet) -> list[str]:
    """Say where a set's images are no PNGs, or pictures that some readers turn into others."""
    channels = data.manifest.image.channels
    if channels not in PICTURE_MODES:
        return [
            f"images of {channels} channels are NumPy arrays (.npy): PNG holds 1, 3 or 4; read "
            "them with numpy.load"
        ]
    if channels == 4:
        return [
            "images of 4 channels are RGBA; ImageFolder drops the last unless a loader is given"
        ]
    return []


def _empty_classes(data: WrittenSet) -> list[str]:
    missing = [i for i, one in enumerate(data.manifest.classes) if not one.count]
    if not missing or missing[0] > max(
        i for i, one in enumerate(data.manifest.classes) if one.count
    ):
        return []
    return [
        f"class {missing[0]} has no images: ImageFolder numbers the directories that are there, "
        f"{METADATA} has the labels"
    ]

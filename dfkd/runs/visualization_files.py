"""What a visualisation leaves behind: pictures, an animation, a page, a manifest."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from dfkd.report.animation import write_animation
from dfkd.report.exhibit_page import Card, CardRow, write_exhibit
from dfkd.report.grid import CELL, leading, to_uint8, write_grid
from dfkd.report.thumbnails import thumbnails
from dfkd.runs import run_records
from dfkd.runs.exhibit import Exhibit, Group
from dfkd.runs.run_entries import DirectoryLayout
from dfkd.training.files import replacing


def _is_visualization(path: Path) -> bool:
    try:
        return "visualized" in run_records.read_json(path / "manifest.json")
    except (OSError, ValueError, RecursionError):
        return False


VISUALIZATION = DirectoryLayout(
    r"manifest\.json|report\.html|(pictures|animation)\.png",
    {"images": DirectoryLayout(r"\d{5}\.png")},
    _is_visualization,
    ("manifest.json",),
)
"""A visualisation's directory."""


def write_visualization(directory: Path, exhibit: Exhibit, record: Mapping[str, Any]) -> list[Path]:
    """Write pictures first: whatever fails after them costs none. Returns the files to open.

    Args:
        directory: is there.
        exhibit: what to write.
        record: where it came from, for ``manifest.json``.
    """
    images = torch.cat([group.images for group in exhibit.groups]).float()
    _write_single(directory / "images", images)
    run_records.write_json(directory / "manifest.json", record)
    several = len(exhibit.groups) > 1
    captions = [
        f"{group.name}{' ' if chr(10) in caption else chr(10)}{caption}" if several else caption
        for group in exhibit.groups
        for caption in group.captions
    ]
    widths = {len(group.images) for group in exhibit.groups}
    columns = widths.pop() if several and len(widths) == 1 else None
    factor = max(1, math.ceil(CELL / max(images.shape[2:])))  # names of layers want room
    enlarged = images.repeat_interleave(factor, 2).repeat_interleave(factor, 3)
    grid = write_grid(directory / "pictures.png", enlarged, captions, columns, exhibit.title)
    animation = None
    if exhibit.animation is not None:
        animation = write_animation(directory / "animation.png", exhibit.animation)
    rows = [CardRow(group.name, group.note, _cards(group)) for group in exhibit.groups]
    page = write_exhibit(directory, exhibit.title, exhibit.lead, rows, animation, record)
    return [page, grid, *([animation] if animation else [])]


def _cards(group: Group) -> list[Card]:
    made = thumbnails(group.images, list(group.captions))
    return [Card(one, caption) for one, caption in zip(made, group.captions, strict=True)]


def _write_single(folder: Path, images: Tensor) -> None:
    folder.mkdir(exist_ok=True)
    for index, picture in enumerate(to_uint8(images)):
        with replacing(folder / f"{index:05d}.png") as part:
            Image.fromarray(leading(picture)).save(part, "PNG")

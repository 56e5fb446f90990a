"""The user's own images to learn from: DATA URIs whose labels may be missing."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dfkd.datasets.sources import LabelledImages, check_fits, load_data, pixels, read_picture
from dfkd.errors import DfkdError
from dfkd.spec import ImageSpec
from dfkd.teacher import Teacher

CLASS = re.compile(r"_class(\d{1,9})$")
PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".tif", ".tiff")


@dataclass(frozen=True)
class GivenImages:
    """``images`` uint8 N x C x H x W; ``labels`` int64 N, or None; the URI they came from."""

    images: Tensor
    labels: Tensor | None
    name: str

    def __len__(self) -> int:
        return len(self.images)


def load_images(uri: str, teacher: Teacher) -> GivenImages:
    """What a DATA URI names, with labels where it has any.

    Beyond ``load_data``: an ``.npz`` without ``labels``, and a folder with pictures directly in it,
    whose labels are those of names such as ``00012_class7.png``, as ``dfkd invert`` writes them.

    Raises:
        DfkdError: see ``load_data``; images or labels that do not fit ``teacher``.
    """
    kind, _, place = uri.partition(":")
    found = None
    if kind == "npz" and place:
        found = _without_labels(Path(place).expanduser(), uri)
    if kind == "folder" and place:
        found = _flat(Path(place).expanduser(), teacher.spec, uri)
    if found is None:
        data = load_data(uri, spec=teacher.spec, class_names=teacher.class_names)
        check_fits(data, teacher.spec, teacher.num_classes)
        return GivenImages(data.images, data.labels, uri)
    if found.labels is not None:
        labelled = LabelledImages(found.images, found.labels, uri)
        check_fits(labelled, teacher.spec, teacher.num_classes)
    if tuple(found.images.shape[1:]) != teacher.spec.shape:
        have, want = (
            "x".join(map(str, shape)) for shape in (found.images.shape[1:], teacher.spec.shape)
        )
        raise DfkdError(f"{uri} holds {have} images and the teacher takes {want}")
    return found


def _without_labels(path: Path, name: str) -> GivenImages | None:
    """None where there are labels, or where ``load_data`` knows better what is wrong."""
    try:
        with np.load(path, allow_pickle=False) as file:
            if "labels" in file or "images" not in file:
                return None
            images = file["images"]
    except Exception:
        return None
    return GivenImages(pixels(images, name), None, name)


def _flat(folder: Path, spec: ImageSpec, name: str) -> GivenImages | None:
    """The pictures of a folder without directories of classes; None where there are no such."""
    if not folder.is_dir():
        return None
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in PICTURES)
    if not paths:
        return None
    nested = next((p for p in folder.glob("*/*") if p.suffix.lower() in PICTURES), None)
    if nested is not None:
        raise DfkdError(
            f"{name} holds pictures ({paths[0].name}) and directories of pictures "
            f"({nested.parent.name}): are they classes? leave one kind there"
        )
    pictures = np.stack([read_picture(str(path), spec) for path in paths])
    made_for = [CLASS.search(path.stem) for path in paths]
    labels = [int(found[1]) for found in made_for if found]
    known = torch.tensor(labels) if len(labels) == len(paths) else None
    return GivenImages(pixels(pictures, name), known, name)

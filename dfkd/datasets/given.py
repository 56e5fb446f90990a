"""The user's own images to learn from: DATA URIs whose labels may be missing."""

import os
from pathlib import Path

import numpy as np

from dfkd.datasets.folder import read_folder
from dfkd.datasets.images import GivenImages, LabelledImages, Reading, check_fits, pixels
from dfkd.datasets.sources import load_data, path_of
from dfkd.errors import DfkdError
from dfkd.teacher import Teacher


def load_images(uri: str, teacher: Teacher) -> GivenImages:
    """Load the images that a DATA URI names, with labels where it has any.

    Beyond ``load_data``: an ``.npz`` without ``labels``, and a folder with pictures directly in it
    whose names do not say their class.

    Raises:
        DfkdError: see ``load_data``; images or labels that do not fit ``teacher``.
    """
    found = _load(uri, teacher)
    if found.labels is not None:
        labelled = LabelledImages(found.images, found.labels, uri)
        check_fits(labelled, teacher.spec, teacher.num_classes)
    if tuple(found.images.shape[1:]) != teacher.spec.shape:
        have, want = (
            "x".join(map(str, shape)) for shape in (found.images.shape[1:], teacher.spec.shape)
        )
        raise DfkdError(f"{uri} holds {have} images and the teacher takes {want}")
    return found


def _load(uri: str, teacher: Teacher) -> GivenImages:
    kind, _, place = uri.partition(":")
    if kind == "folder" and place:
        return read_folder(path_of(place), teacher.spec, teacher.class_names, uri)
    if kind == "npz" and place and (found := _without_labels(path_of(place), uri)):
        return found
    data = load_data(uri, spec=teacher.spec, class_names=teacher.class_names)
    return GivenImages(data.images, data.labels, uri, data.reading)


def _without_labels(path: Path, name: str) -> GivenImages | None:
    """None where there are labels, or where ``load_data`` knows better what is wrong."""
    if not os.path.isfile(path):  # a pipe would be waited for
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            if "labels" in file or "images" not in file:
                return None
            images = file["images"]
    except Exception:
        return None
    return GivenImages(pixels(images, name), None, name, Reading("nothing"))

"""The user's own images to learn from: DATA URIs whose labels may be missing."""

from dataclasses import replace

import torch

from dfkd.datasets.images import GivenImages, LabelledImages, check_fits
from dfkd.datasets.sources import in_subset, read_data
from dfkd.errors import DfkdError
from dfkd.loading.data_uri import parse_data_uri
from dfkd.teacher import Teacher
from dfkd.teacher.spec import quantize


def load_images(uri: str, teacher: Teacher) -> GivenImages:
    """Load the images that a DATA URI names, as bytes, with labels where it has any.

    Beyond ``load_data``: an ``.npz`` without labels, a folder with pictures directly in it whose
    names do not say their class, images that are foreign to the task (``folder:DIR?foreign=True``)
    and random crops of one picture (``crops:FILE?count=N``), which are foreign as well.

    Raises:
        DfkdError: see ``load_data``; images or labels that do not fit ``teacher``.
    """
    parsed, subset = parse_data_uri(uri), teacher.subset
    found = read_data(parsed, uri, teacher.spec, subset.of if subset else teacher.class_names)
    if found.foreign:
        found = replace(found, labels=None)
    found = in_subset(found, parsed, subset)
    if found.labels is not None:
        labelled = LabelledImages(found.images, found.labels, uri)
        check_fits(labelled, teacher.spec, teacher.num_classes)
    if tuple(found.images.shape[1:]) != teacher.spec.shape:
        have, want = (
            "x".join(map(str, shape)) for shape in (found.images.shape[1:], teacher.spec.shape)
        )
        raise DfkdError(f"{uri} holds {have} images and the teacher takes {want}")
    if found.images.dtype == torch.uint8:
        return found
    reading = replace(found.reading, notes=(*found.reading.notes, "kept as bytes"))
    return replace(found, images=quantize(found.images), reading=reading)

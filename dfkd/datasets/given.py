"""The user's own images to learn from: DATA URIs whose labels may be missing."""

from dataclasses import replace

import torch

from dfkd.datasets.images import GivenImages, LabelledImages, check_fits
from dfkd.datasets.sources import in_subset, read_data
from dfkd.errors import DfkdError
from dfkd.loading.data_uri import DATA_OPTIONS, DataURI, parse_data_uri
from dfkd.teacher import Teacher
from dfkd.teacher.spec import quantize


def load_images(uri: str, teacher: Teacher, labels: bool = True) -> GivenImages:
    """Load the images that a DATA URI names, as bytes, with labels where it has any.

    Beyond ``load_data``: an ``.npz`` without labels, a folder with pictures directly in it whose
    names do not say their class, images that are foreign to the task (``folder:DIR?foreign=True``)
    and random crops of one picture (``crops:FILE?count=N``), which are foreign as well.

    Args:
        uri: DATA.
        teacher: whose size, and classes, they are brought to.
        labels: False: whatever labels there are is not looked at, unless the teacher was told to
            know some of its model's classes, whose images these then are.

    Raises:
        DfkdError: see ``load_data``; images or labels that do not fit ``teacher``.
    """
    parsed, subset = parse_data_uri(uri), teacher.subset
    labels = labels or subset is not None
    asked = parsed if labels else _without_labels(parsed)
    found = read_data(asked, uri, teacher.spec, subset.of if subset else teacher.class_names)
    if found.foreign or not labels:
        found = replace(found, labels=None, foreign=parsed.foreign or parsed.kind == "crops")
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


def _without_labels(uri: DataURI) -> DataURI:
    """The same images, read as foreign ones are: without a look at their labels."""
    if "foreign" not in DATA_OPTIONS[uri.kind]:
        return uri
    return replace(uri, options={**uri.options, "foreign": "True"})

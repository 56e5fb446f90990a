"""Images from DATA URIs."""

from dfkd.datasets.given import load_images
from dfkd.datasets.images import (
    GivenImages,
    LabelledImages,
    check_fits,
    check_labels,
    evenly,
    relabelled,
)
from dfkd.datasets.sources import load_data
from dfkd.datasets.streams import ImageData, StreamedImages, as_given_images, as_images

__all__ = [
    "GivenImages",
    "ImageData",
    "LabelledImages",
    "StreamedImages",
    "as_given_images",
    "as_images",
    "check_fits",
    "check_labels",
    "evenly",
    "load_data",
    "load_images",
    "relabelled",
]

"""Images from DATA URIs."""

from dfkd.datasets.given import load_images
from dfkd.datasets.images import GivenImages, LabelledImages, check_fits
from dfkd.datasets.sources import load_data

__all__ = ["GivenImages", "LabelledImages", "check_fits", "load_data", "load_images"]

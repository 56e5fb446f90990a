"""Images from DATA URIs."""

from dfkd.datasets.given import GivenImages, load_images
from dfkd.datasets.sources import LabelledImages, check_fits, load_data

__all__ = ["GivenImages", "LabelledImages", "check_fits", "load_data", "load_images"]

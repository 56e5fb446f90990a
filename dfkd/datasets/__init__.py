"""Labelled images from DATA URIs."""

from dfkd.datasets.sources import LabelledImages, check_fits, load_data

__all__ = ["LabelledImages", "check_fits", "load_data"]

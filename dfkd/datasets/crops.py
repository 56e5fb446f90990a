"""Random crops of one picture (Asano & Saeed, "Extrapolating from a single image", 2022)."""

import math
from pathlib import Path

import numpy as np
import torch
from torchvision.transforms import v2

from dfkd.datasets.images import GivenImages, Reading
from dfkd.datasets.pictures import Wanted, read_picture
from dfkd.errors import DfkdError
from dfkd.loading.data_uri import DataURI
from dfkd.tasks.words import shown
from dfkd.teacher.spec import ImageSpec, dequantize, quantize

COUNT = 5000
"""Crops of a picture where nobody says how many."""
_TURN = 30.0
"""Degrees to either side."""
_AREA = (0.005, 1.0)
"""Share of the picture that a crop shows."""


def read_crops(path: Path, uri: DataURI, spec: ImageSpec | None, name: str) -> GivenImages:
    """Cut a picture into random crops: scaled, turned and mirrored, without corners of no picture.

    Args:
        path: a picture, better a large one that shows many things.
        uri: its options: ``count`` of crops, and their ``seed``: the same gives the same crops.
        spec: size and channels of the crops.
        name: what messages call them.

    Returns:
        Foreign images, bytes, without labels.

    Raises:
        DfkdError: no picture that can be read, or nobody says the crops' size.
    """
    if spec is None:
        raise DfkdError(f"{shown(name, 100)} has no size of its own: give `spec`, the model's")
    count, seed = uri.whole("count", COUNT, 1), uri.whole("seed", 0, 0)
    own = ImageSpec(spec.channels, 1, 1)
    pixels, changes = read_picture(path, Wanted(own), fit=False)
    whole = torch.from_numpy(np.array(pixels.transpose(2, 0, 1)))
    picture = dequantize(whole) if whole.dtype == torch.uint8 else whole
    # The middle of a square that is turned by up to a is free of its corners from this size on;
    # two more pixels are what interpolation at its edges takes.
    angle = math.radians(_TURN)
    side = math.ceil(max(spec.height, spec.width) * (math.sin(angle) + math.cos(angle))) + 2
    cut = v2.Compose(
        [
            v2.RandomResizedCrop(side, _AREA, antialias=True),
            v2.RandomHorizontalFlip(),
            v2.RandomRotation(_TURN, v2.InterpolationMode.BILINEAR),
            v2.CenterCrop([spec.height, spec.width]),
        ]
    )
    images = torch.empty(count, *spec.shape, dtype=torch.uint8)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for place in range(count):
            images[place] = quantize(cut(picture))
    height, width = picture.shape[1:]
    notes = (f"random crops of one picture of {height} x {width} pixels", *changes)
    return GivenImages(images, None, name, Reading("nothing", notes=notes), foreign=True)

"""One picture: its own channels and range, upright, brought to a model's size."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from dfkd.datasets.intensity import scaled_picture
from dfkd.datasets.listing import ENDINGS
from dfkd.datasets.many_channels import UNREADABLE, quiet, read_stack
from dfkd.errors import DfkdError
from dfkd.tasks.words import shown
from dfkd.teacher.spec import ImageSpec

_FORMATS = tuple(sorted(set(ENDINGS.values())))
"""What Pillow may take a file for, whatever its ending: some other formats start programs."""

_BILINEAR = Image.Resampling.BILINEAR
_TURNED = 0x0112
"""The EXIF tag that says how a camera was held."""
_SAMPLES = 0x0115
"""The TIFF tag that says how many numbers a pixel has."""

ALPHA = "had an alpha channel: composed on white"


@dataclass(frozen=True)
class Wanted:
    """How pictures are to be brought to a model.

    Attributes:
        spec: size and channels; None: as they are, grey pictures in three channels.
        white: what stands for 1, where the user says it.
    """

    spec: ImageSpec | None = None
    white: float | None = None

    @property
    def channels(self) -> int:
        """Three where nobody says."""
        return 3 if self.spec is None else self.spec.channels


class Picture(NamedTuple):
    """A picture that was read.

    Attributes:
        pixels: H x W x C, uint8, or float32 in [0, 1] where the file holds more than bytes.
        changes: what was done to it beyond what every picture needs, in a few words each.
    """

    pixels: Any
    changes: Sequence[str]


def read_picture(path: Path, wanted: Wanted, fit: bool = True) -> Picture:
    """Read a picture, upright, scaled to cover the model's size and cropped around its centre.

    Transparent pictures are composed on white, unless the model takes as many channels as they
    have. 16 bits are divided by 65,535 and floats lie in [0, 1]: nothing is clipped.

    Args:
        path: of the file.
        wanted: what it is to become.
        fit: bring it to the model's size; else it keeps its own.

    Raises:
        DfkdError: no picture that can be read, channels or numbers that say nothing to the model.
    """
    try:
        with quiet(), Image.open(path, formats=_FORMATS) as picture:
            changes: list[str] = []
            array = _array(picture, path, wanted, changes)
    except DfkdError:
        raise
    except UnidentifiedImageError:
        array, changes = read_stack(path, wanted.channels, wanted.white)
    except UNREADABLE as error:
        raise DfkdError(
            f"{shown(path, 100)} is no picture that can be read ({shown(error, 100)})"
        ) from None
    return Picture(_fitted(array, wanted.spec) if fit else array, changes)


def _array(picture: Image.Image, path: Path, wanted: Wanted, changes: list[str]) -> Any:
    """H x W x C of the channels that are wanted."""
    frames = getattr(picture, "n_frames", 1)
    # Of some planes and pages Pillow hands on the first ones, and says nothing of the others.
    samples = picture.tag_v2.get(_SAMPLES, 1) if isinstance(picture, TiffImageFile) else 0
    stacked = samples > 0 and frames == wanted.channels > 1
    if stacked or (samples > 0 and samples != len(picture.getbands())):
        array, notes = read_stack(path, wanted.channels, wanted.white)
        changes += notes
        return array
    if frames > 1:
        changes.append("had several frames: the first was read")
    if picture.getexif().get(_TURNED, 1) not in (0, 1):
        changes.append("were turned upright, as their EXIF says")
        picture = ImageOps.exif_transpose(picture)
    if picture.mode in ("F", "I") or picture.mode.startswith("I;16"):
        return _deep(picture, path, wanted, changes)
    if wanted.white is not None:
        raise DfkdError(
            f"{shown(path, 100)} holds bytes, whose white is 255: `?max` is for 16 bits and floats"
        )
    return np.asarray(_converted(picture, path, wanted.channels, changes)).reshape(
        picture.height, picture.width, wanted.channels
    )


def _converted(picture: Image.Image, path: Path, channels: int, changes: list[str]) -> Image.Image:
    """A picture of bytes in the mode whose channels are wanted."""
    if picture.mode in ("PA", "La", "RGBa") or (
        picture.mode in ("P", "L", "RGB", "1") and picture.has_transparency_data
    ):
        picture = picture.convert("LA" if picture.mode in ("La", "L", "1") else "RGBA")
    bands = len(picture.getbands())
    if bands == channels and channels not in (1, 3):
        return picture
    if channels not in (1, 3):
        raise DfkdError(
            f"{shown(path, 100)} has {bands} channels ({picture.mode}), and the model takes "
            f"{channels}"
        )
    if picture.mode in ("LA", "RGBA"):
        changes.append(ALPHA)
        plain = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(plain, picture.convert("RGBA"))
    elif picture.mode not in ("1", "L", "P", "RGB", "RGBX"):
        changes.append(f"were {picture.mode}: converted to RGB")
    # Of a CMYK picture, grey is what is seen: by way of RGB.
    return picture.convert("RGB").convert("L") if channels == 1 else picture.convert("RGB")


def _deep(picture: Image.Image, path: Path, wanted: Wanted, changes: list[str]) -> Any:
    """A grey picture of more than 8 bits in [0, 1], once for each channel that is wanted."""
    if wanted.channels not in (1, 3):
        raise DfkdError(
            f"{shown(path, 100)} has 1 channel ({picture.mode}), and the model takes "
            f"{wanted.channels}"
        )
    values = np.asarray(picture).astype(np.float32)
    # Pillow reads 16 bits of PNG and PGM as 32 in some versions.
    sixteen = picture.mode != "F" and (picture.mode != "I" or picture.format in ("PNG", "PPM"))
    scaled, note = scaled_picture(
        values, "uint16" if sixteen else picture.mode, wanted.white, shown(path, 100)
    )
    changes += [note] if note else []
    return np.repeat(scaled[..., None], wanted.channels, axis=2)


def _fitted(array: Any, spec: ImageSpec | None) -> Any:
    if spec is None or array.shape[:2] == (spec.height, spec.width):
        return array
    size, bleed = (spec.width, spec.height), (1 - spec.crop) / 2
    if array.dtype == np.uint8:
        planes = array[..., 0] if array.shape[2] == 1 else array
        if array.shape[2] in (1, 3):
            fitted = ImageOps.fit(Image.fromarray(planes), size, _BILINEAR, bleed)
            return np.asarray(fitted).reshape(spec.height, spec.width, array.shape[2])
    made = [
        np.asarray(ImageOps.fit(Image.fromarray(plane), size, _BILINEAR, bleed))
        for plane in np.ascontiguousarray(array.transpose(2, 0, 1), np.float32)
    ]
    stacked = np.stack(made, axis=2)
    if array.dtype == np.uint8:
        return stacked.round().clip(0, 255).astype(np.uint8)
    return stacked.clip(0, 1)

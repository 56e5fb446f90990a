"""What comes in from a source, and pictures and arrays of which no byte is trusted."""

import io
import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from dfkd.datasets.listing import ENDINGS
from dfkd.errors import DfkdError
from dfkd.sets.exports.samples import PICTURE_MODES, ExportNote
from dfkd.sets.imports.arrays import decode_array
from dfkd.tasks.words import shown

MOST_PIXELS = 1 << 24
"""Of a picture: 4096 x 4096. Read from its header, before anything is unpacked."""
MOST_BYTES = 128 << 20
"""Of a picture's file: more than that many pixels take in any format."""
_FORMATS = tuple(sorted(set(ENDINGS.values())))
_SAME = {"1": "L", "P": "RGB"}
"""Modes that hold the same pixels as a plain one."""

_Shape = tuple[int, ...]


class IncomingSample(NamedTuple):
    """An image on its way in.

    Attributes:
        name: what messages call it.
        image: uint8, C x H x W.
        label: as the source counts its classes.
        facts: what else is said of it.
        logits: a teacher's answers, one a class; None where there are none.
        targets: what the image was made for, one probability a class; likewise.
    """

    name: str
    image: Tensor
    label: int
    facts: dict[str, Any]
    logits: Tensor | None = None
    targets: Tensor | None = None


@dataclass(frozen=True)
class IncomingSet:
    """An opened source.

    Attributes:
        kind: ``folder``, ``webdataset`` or ``parquet``.
        samples: its images, each read when it is asked for.
        class_names: what its labels mean, in their order; None: the labels are the model's.
        note: what our own export says of it; None for any other source.
        remarks: how it was read, in a sentence each.
    """

    kind: str
    samples: Iterator[IncomingSample]
    class_names: tuple[str, ...] | None = None
    note: ExportNote | None = None
    remarks: tuple[str, ...] = ()


@dataclass
class PictureReader:
    """Reads pictures and arrays of one shape; that of the first where none is given.

    Attributes:
        shape: channels, height and width that all must have.
        whose: who has that shape, in messages.
        fits: whether pictures of other sizes are brought to it, as ``folder:DIR`` brings them:
            scaled to cover it, then cropped around the centre.
        fitted: how many were.
    """

    shape: _Shape | None = None
    whose: str = field(default="the model takes")
    fits: bool = False
    fitted: int = 0

    def remarks(self) -> list[str]:
        """Say what was done to pictures of other sizes, if there were any."""
        if not self.fitted or self.shape is None:
            return []
        size = "x".join(map(str, self.shape))
        return [
            f"{self.fitted:,} pictures of other sizes were brought to {size}: scaled to cover it, "
            "cropped around the centre"
        ]

    def read(self, name: str, content: bytes) -> Tensor:
        """Return an image, uint8 C x H x W.

        Args:
            name: of the file; the ending ``.npy`` says that it is an array.
            content: its bytes.

        Raises:
            DfkdError: it is too large, of another shape, or cannot be read.
        """
        if len(content) > MOST_BYTES:
            raise DfkdError(f"{shown(name, 100)} has {len(content):,} bytes: no picture has")
        if name.endswith(".npy"):
            return torch.from_numpy(self._array(name, content))
        return torch.from_numpy(self._picture(name, content))

    def _array(self, name: str, content: bytes) -> Any:
        values = decode_array(name, content)
        if values.dtype != np.uint8 or values.ndim != 3:
            raise DfkdError(
                f"{shown(name, 100)} holds {values.dtype} of {values.shape}, not uint8 of "
                "channels x height x width"
            )
        self._check(name, values.shape)
        return values

    def _picture(self, name: str, content: bytes) -> Any:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                with Image.open(io.BytesIO(content), formats=_FORMATS) as picture:
                    mode = self._mode(name, picture.mode)
                    channels = {mode: n for n, mode in PICTURE_MODES.items()}[mode]
                    found = (channels, picture.height, picture.width)
                    self._check(name, found, self.fits)
                    values = np.array(self._fitted(picture.convert(mode)))
        except DfkdError:
            raise
        except Exception as error:  # a damaged file makes Pillow raise whatever its bytes lead to
            kind = "" if isinstance(error, UnidentifiedImageError) else f" ({error})"
            raise DfkdError(
                f"{shown(name, 100)} is no picture that can be read{shown(kind, 80)}"
            ) from None
        return values[None] if values.ndim == 2 else values.transpose(2, 0, 1).copy()

    def _mode(self, name: str, mode: str) -> str:
        plain = _SAME.get(mode, mode)
        if plain not in PICTURE_MODES.values():
            raise DfkdError(
                f"{shown(name, 100)} is a {shown(mode, 10)} picture: save it as grey, RGB or RGBA"
            )
        wanted = None if self.shape is None else PICTURE_MODES.get(self.shape[0])
        if (plain, wanted) == ("L", "RGB") or (self.fits and (plain, wanted) == ("RGB", "L")):
            return str(wanted)
        return plain

    def _fitted(self, picture: Image.Image) -> Image.Image:
        if not self.fits or self.shape is None:
            return picture
        size = self.shape[2], self.shape[1]
        if picture.size == size:
            return picture
        self.fitted += 1
        return ImageOps.fit(picture, size, Image.Resampling.BILINEAR)

    def _check(self, name: str, shape: _Shape, fits: bool = False) -> None:
        said = "x".join(map(str, shape))
        if math.prod(shape[1:]) > MOST_PIXELS or math.prod(shape) > 4 * MOST_PIXELS:
            raise DfkdError(f"{shown(name, 100)} is {said}: more than {MOST_PIXELS:,} pixels")
        if 0 in shape:
            raise DfkdError(f"{shown(name, 100)} is {said}: no image")
        if self.shape is None:
            self.shape, self.whose = shape, "those before it are"
        if shape != tuple(self.shape) and not (fits and shape[0] == self.shape[0]):
            wanted = "x".join(map(str, self.shape))
            raise DfkdError(
                f"{shown(name, 100)} is {said} and {self.whose} {wanted}: bring all images to "
                f"one size, or give `teacher` and `image={wanted}`, which resizes pictures"
            )


def as_label(value: Any, name: str) -> int:
    """Return a label as an index.

    Raises:
        DfkdError: it is none.
    """
    if isinstance(value, (bytes, str)):
        text = value.decode("ascii", "replace") if isinstance(value, bytes) else value
        value = int(text) if text.strip().isdecimal() and len(text) < 10 else text
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 31:
        raise DfkdError(f"{shown(name, 100)} has the label {shown(value, 30)}, which is no index")
    return value

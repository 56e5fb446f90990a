"""TIFF files of many channels: satellite bands, stacks of pages (through ``tifffile``)."""

import logging
import math
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dfkd.datasets.intensity import scaled_picture
from dfkd.errors import DfkdError
from dfkd.tasks.words import shown

UNREADABLE = (
    OSError, ValueError, SyntaxError, EOFError, IndexError, KeyError, OverflowError, TypeError,
    MemoryError, zlib.error, Image.DecompressionBombError,
)  # fmt: skip
"""What a damaged picture makes its readers raise."""

MOST_STACKED = 1 << 30
"""Of a stack, all channels together; Pillow takes a picture of 179 million pixels."""

_ENDINGS = (".tif", ".tiff")


@contextmanager
def quiet() -> Iterator[None]:
    """Keep what readers print about a damaged file to themselves: it is said in one line."""
    logger = logging.getLogger("tifffile")
    before = logger.disabled
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logger.disabled = True
        try:
            yield
        finally:
            logger.disabled = before


def read_stack(path: Path, channels: int, white: float | None) -> tuple[Any, list[str]]:
    """Read a TIFF file of many channels: interleaved, plane by plane, or a page each.

    Args:
        path: of the file.
        channels: how many there are to be.
        white: what stands for 1, where the user says it.

    Returns:
        H x W x C, uint8, or float32 in [0, 1]; and what was done to it.

    Raises:
        DfkdError: no such file, another number of channels, or ``tifffile`` is not there.
    """
    label = shown(path, 100)
    if path.suffix.lower() not in _ENDINGS:
        raise DfkdError(f"{label} is no picture that can be read")
    try:
        import tifffile
    except ImportError:
        raise DfkdError(
            f"{label} is no picture that Pillow can read; for TIFF files of many channels, "
            "pip install 'dfkd[tiff]'"
        ) from None
    try:
        with quiet(), tifffile.TiffFile(path) as file:
            planes = _planes(file.series[0], label)
    except DfkdError:
        raise
    except Exception as error:
        reason = shown(error, 100)
        raise DfkdError(f"{label} is no picture that can be read ({reason})") from None
    if planes.shape[2] != channels:
        raise DfkdError(f"{label} has {planes.shape[2]} channels, and the model takes {channels}")
    if planes.dtype == np.uint8 and white is None:
        return planes, []
    scaled, note = scaled_picture(planes.astype(np.float32), planes.dtype.name, white, label)
    return scaled, [note] if note else []


def _planes(series: Any, label: str) -> Any:
    """The first series of a file as H x W x C; nothing is read before its size is known."""
    axes, shape = str(series.axes), tuple(map(int, series.shape))
    others = [i for i, axis in enumerate(axes) if axis not in "YX"]
    deep = [i for i in others if shape[i] > 1]
    if not axes:
        raise ValueError("it holds no picture")
    if "Y" not in axes or "X" not in axes or len(deep) > 1 or series.dtype.kind not in "uif":
        raise DfkdError(f"{label} is no stack of planes (its axes are {axes}, {shape})")
    if math.prod(shape) > MOST_STACKED:
        raise DfkdError(f"{label} holds {math.prod(shape):,} values: more than a picture has")
    array = np.asarray(series.asarray())
    order = [axes.index("Y"), axes.index("X"), *others]
    return array.transpose(order).reshape(shape[order[0]], shape[order[1]], -1)

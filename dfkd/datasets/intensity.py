"""From an array's numbers to intensities in [0, 1]: by its type, its range, or what was said."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dfkd.errors import DfkdError
from dfkd.tasks.words import shown

_SLACK = 1e-6
"""By which floats in [0, 1] may miss it: they were computed."""


@dataclass(frozen=True)
class White:
    """What stands for 1: numbers are divided by it.

    Attributes:
        value: positive.
        note: what is to be said of it; "" where nothing was decided.
    """

    value: float
    note: str = ""


def white_of(dtype: Any, low: float, high: float, given: float | None, name: str) -> White:
    """Decide what numbers are divided by.

    Bytes are divided by 255 and 16 bits by 65,535, whatever is reached; other integers by 255 where
    they reach no further; floats lie in [0, 1].

    Args:
        dtype: of the array.
        low, high: its least and its largest number.
        given: what the user says.
        name: what messages call the array.

    Raises:
        DfkdError: no such numbers, or nothing says what they mean.
    """
    kind, label = np.dtype(dtype).kind, shown(name, 90)
    if kind not in "buif":
        raise DfkdError(f"the images of {label} must be numbers, not {dtype}")
    seen = f"the images of {label} are {dtype} from {low:.4g} to {high:.4g}"
    if not low <= high < float("inf") or low == -float("inf"):
        raise DfkdError(f"{seen}: leave out what is not finite")
    if given is not None:
        if low < -_SLACK or high > given * (1 + _SLACK):
            raise DfkdError(f"{seen}, outside 0 to `?max={given:g}`")
        return White(given, f"divided by {given:g}")
    if kind == "b":
        return White(1.0, "true is white")
    if low < (-_SLACK if kind == "f" else 0):
        raise DfkdError(f"{seen}: give them before they are normalised, from 0 on")
    if kind == "f":
        if high <= 1 + _SLACK:
            return White(1.0)
        raise DfkdError(f"{seen}, not in [0, 1]: say what is white, `?max={_guess(high)}`")
    return _white_of_integers(np.dtype(dtype), high, seen)


def _white_of_integers(dtype: Any, high: float, seen: str) -> White:
    if dtype == np.uint8:
        dark = 0 < high <= 1
        return White(255.0, "none brighter than 1 of 255: `?max=1` where 1 is white" * dark)
    if dtype == np.uint16 and high > 255:
        return White(65535.0, "16 bits: divided by 65535")
    if dtype != np.uint16 and 1 < high <= 255:
        return White(255.0, f"{dtype} up to {high:g}: divided by 255")
    choices = f"`?max={_guess(high)}`" + (" or `?max=65535`" if dtype == np.uint16 else "")
    raise DfkdError(f"{seen}: say what is white, {choices}")


def _guess(high: float) -> int:
    """The likely one of the usual ranges, for an example in a message."""
    return next((most for most in (1, 255, 4095, 10000, 65535) if high <= most), int(high) + 1)


def to_intensities(
    chunks: Iterable[Any], shape: tuple[int, ...], dtype: Any, given: float | None, name: str
) -> tuple[Tensor, White]:
    """Bring an array that comes in pieces to uint8, or to float32 in [0, 1].

    Only the result and a piece are in memory. Bytes stay bytes, and so does what has no more than
    256 steps of 255.

    Args:
        chunks: n x C x H x W each, of ``dtype``, one after the other.
        shape: of all of them.
        dtype: theirs.
        given: what stands for 1, where the user says it.
        name: what messages call them.
    """
    if np.dtype(dtype).kind not in "buif":
        raise DfkdError(f"the images of {shown(name, 90)} must be numbers, not {dtype}")
    plain = np.dtype(dtype) == np.uint8
    out = np.empty(shape, np.uint8 if plain else np.float32)
    low, high, start = float("inf"), -float("inf"), 0
    for chunk in chunks:
        # NaN wins a comparison here, so that it is seen.
        low, high = float(np.minimum(low, chunk.min())), float(np.maximum(high, chunk.max()))
        out[start : start + len(chunk)] = chunk
        start += len(chunk)
    white = white_of(dtype, low, high, given, name)
    if white.value == 255 and np.dtype(dtype).kind in "ui":
        return torch.from_numpy(out if plain else out.astype(np.uint8)), white
    if plain:
        out = out.astype(np.float32)
    if white.value != 1:
        out /= np.float32(white.value)
    return torch.from_numpy(out.clip(0, 1, out=out)), white


def scaled_picture(values: Any, kind: str, white: float | None, label: str) -> tuple[Any, str]:
    """Bring a picture's numbers to [0, 1], and say how.

    Unlike an array of many images, a picture is not asked how far it reaches: some are dark.

    Args:
        values: of the picture.
        kind: their type; ``F`` and ``I`` are Pillow's 32 bits, of floats and integers.
        white: what stands for 1, where the user says it.
        label: what messages call the picture.

    Raises:
        DfkdError: numbers outside the range, or no range is known.
    """
    low, high = float(values.min()), float(values.max())
    limit, note = white, f"hold numbers: divided by {white:g}" if white else ""
    if limit is None and kind == "uint16":
        limit, note = 65535.0, "have 16 bits: divided by 65535"
    if limit is None and kind in ("F", "float16", "float32", "float64"):
        limit = 1.0
    where = f"{label} holds numbers from {low:.4g} to {high:.4g}"
    if limit is None:
        raise DfkdError(f"{where} in 32 bits: say what is white, `?max=N`")
    if not (low >= 0 and high <= limit):
        raise DfkdError(f"{where}, not from 0 to {limit:g}: say what is white, `?max=N`")
    return values / np.float32(limit), note

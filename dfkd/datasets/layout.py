"""Which axes of an array are channels, rows and columns: what fits the model, or what was said."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dfkd.errors import DfkdError
from dfkd.tasks.words import shown
from dfkd.teacher.spec import ImageSpec


@dataclass(frozen=True)
class Arrangement:
    """How the axes of an array are those of images.

    Attributes:
        axes: three sizes of an image as it lies in the array.
        last: whether the channels are the last of them, else the first.
        note: what is to be said of it; "" where nothing was decided.
    """

    axes: tuple[int, int, int]
    last: bool = False
    note: str = ""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width."""
        a, b, c = self.axes
        return (c, a, b) if self.last else (a, b, c)

    def arrange(self, array: Any) -> Any:
        """Return N x C x H x W of N images; a view where that is possible."""
        found = array.reshape(len(array), *self.axes)
        return found.transpose(0, 3, 1, 2) if self.last else found


def find_arrangement(
    sizes: Sequence[int], spec: ImageSpec | None, wanted: str, name: str
) -> Arrangement:
    """Decide what the axes of one image are.

    Args:
        sizes: one to three: H x W x C or C x H x W; H x W of grey images, or channels and length
            where the model's images are one row; all values of an image in a row.
        spec: of the model; without it, the channels are where 1 or 3 stands, else last.
        wanted: ``first``, ``last``, or "" for what fits.
        name: what messages call the array.

    Raises:
        DfkdError: both would fit, or it cannot be images.
    """
    held = "x".join(["N", *map(str, sizes)])
    every = [
        one
        for one in _candidates(tuple(sizes), spec)
        if not wanted or len(sizes) == 2 or one.last == (wanted == "last")
    ]
    if not every:
        raise DfkdError(f"the images of {shown(name, 100)} must be N x H x W (x C), not {held}")
    found = _fitting(every, spec)
    if len(found) > 1:
        raise DfkdError(
            f"{shown(name, 100)} holds {held}, whose channels may be first or last: "
            "add `?layout=first` or `?layout=last` to it"
        )
    return found[0]


def _candidates(sizes: tuple[int, ...], spec: ImageSpec | None) -> list[Arrangement]:
    if len(sizes) == 3:
        a, b, c = sizes
        return [Arrangement((a, b, c), note="channels first"), Arrangement((a, b, c), last=True)]
    if len(sizes) == 2:
        a, b = sizes
        grey = [Arrangement((1, a, b))]
        if spec is None or spec.channels == 1 or 1 not in (spec.height, spec.width):
            return grey
        row = (a, 1, b) if spec.height == 1 else (a, b, 1)
        column = (1, a, b) if spec.height == 1 else (a, 1, b)
        series = [Arrangement(row, note="channels first"), Arrangement(column, True, "series")]
        return [one for one in series if one.shape[0] == spec.channels] or grey
    if len(sizes) == 1 and spec is not None and sizes[0] == math.prod(spec.shape):
        channels, height, width = spec.shape
        first = Arrangement(spec.shape, note=f"rows of {sizes[0]} values are {height} x {width}")
        last = Arrangement((height, width, channels), True, f"{first.note} x {channels}")
        return [first] if channels == 1 else [first, last]
    return []


def _fitting(every: list[Arrangement], spec: ImageSpec | None) -> list[Arrangement]:
    """Those whose images are the model's; else those with its channels; else the usual one."""
    if len(every) == 1:
        return every
    if spec is not None:
        exact = [one for one in every if one.shape == spec.shape]
        alike = exact or [one for one in every if one.shape[0] == spec.channels]
        if alike:
            return alike
    usual = [one for one in every if one.shape[0] in (1, 3)]
    return usual or [one for one in every if one.last]

"""Single images inside a page: small files, every pixel of a small image kept."""

import base64
import io
from collections.abc import Sequence
from typing import NamedTuple

from PIL import Image
from torch import Tensor

from dfkd.report.grid import showable, shown_channels, to_uint8
from dfkd.report.wrapped import PixelArray

THUMBNAIL_SIDE = 160
"""Pixels of a longer side on a page; larger images are reduced."""
LOSSLESS = 96
"""Longer side up to which an image stays as it is, pixel by pixel."""


class Thumbnail(NamedTuple):
    """An image of a page.

    Attributes:
        address: a ``data:`` address.
        title: what is known of it, for a pointer that rests on it and for who cannot see it.
        pixelated: whether it is enlarged, and its pixels are to stay squares.
    """

    address: str
    title: str
    pixelated: bool


def thumbnails(images: Tensor, titles: Sequence[str]) -> list[Thumbnail]:
    """Embed images in a page.

    Args:
        images: N x C x H x W, float in [0, 1] or uint8; of other than 1 or 3 channels the leading
            ones are shown.
        titles: N texts.
    """
    pixels = images.permute(0, 2, 3, 1).cpu().numpy() if images.dtype.itemsize == 1 else None
    arrays = to_uint8(images) if pixels is None else pixels
    if part := shown_channels(images.shape[1]):
        titles = [f"{title} ({part})" for title in titles]
    return [_thumbnail(one, title) for one, title in zip(arrays, titles, strict=True)]


def _thumbnail(array: PixelArray, title: str) -> Thumbnail:
    image = Image.fromarray(showable(array))
    small = max(image.size) <= LOSSLESS
    if not small:
        image.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    if small:
        image.save(buffer, "PNG", optimize=True)
    else:
        image.save(buffer, "JPEG", quality=88, subsampling=0)
    kind = "png" if small else "jpeg"
    text = base64.b64encode(buffer.getvalue()).decode("ascii")
    return Thumbnail(f"data:image/{kind};base64,{text}", title, small)

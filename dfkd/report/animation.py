"""Animated PNG: a grid of images that changes; whoever cannot play it sees the first frame."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image
from torch import Tensor

from dfkd.report.grid import showable
from dfkd.report.thumbnails import THUMBNAIL_SIDE
from dfkd.report.wrapped import PixelArray
from dfkd.training.files import replacing

MOST_FRAMES = 60
ROUND_SECONDS = 4.0
"""Of one round, before the last frame rests."""
REST = 1500
"""Milliseconds that the last frame rests."""
_CELL, _GAP, _PAPER = 112, 8, (255, 255, 255)


def write_animation(path: Path | str, frames: Tensor, columns: int | None = None) -> Path:
    """Write frames as an APNG that repeats for ever.

    Args:
        path: the file; by the name ``.png`` every viewer opens it.
        frames: F x N x C x H x W, uint8: N images change together. Equal neighbours become one
            frame of twice the time.
        columns: images in a row; a grid about as wide as high when left out.

    Raises:
        ValueError: no frame, or more than ``MOST_FRAMES``.
    """
    if not 0 < len(frames) <= MOST_FRAMES:
        raise ValueError(f"an animation has 1 to {MOST_FRAMES} frames, not {len(frames)}")
    pages = [_composed(list(frame), columns) for frame in frames.permute(0, 1, 3, 4, 2).numpy()]
    step = round(1000 * ROUND_SECONDS / len(pages))
    path = Path(path)
    with replacing(path) as part:
        pages[0].save(
            part, "PNG", save_all=True, append_images=pages[1:], loop=0,
            duration=[*[step] * (len(pages) - 1), REST], disposal=0, blend=0,
        )  # fmt: skip
    return path


def _composed(cells: Sequence[PixelArray], columns: int | None) -> Image.Image:
    """Lay images out in a grid; small ones are enlarged by a whole factor, large ones reduced."""
    tiles = [_tile(cell) for cell in cells]
    wide, high = tiles[0].size
    columns = columns or max(1, round((len(tiles) * high / wide) ** 0.5))
    columns = min(columns, len(tiles))
    rows = -(-len(tiles) // columns)
    size = (columns * (wide + _GAP) + _GAP, rows * (high + _GAP) + _GAP)
    page = Image.new("RGB", size, _PAPER)
    for place, tile in enumerate(tiles):
        row, column = divmod(place, columns)
        page.paste(tile, (_GAP + column * (wide + _GAP), _GAP + row * (high + _GAP)))
    return page


def _tile(cell: PixelArray) -> Image.Image:
    image = Image.fromarray(showable(cell)).convert("RGB")
    factor = max(1, _CELL // max(image.size))
    if factor > 1:
        return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
    image.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.LANCZOS)
    return image

"""Images of a few long rows, cut into pieces that lie under each other."""

import numpy as np
import numpy.typing as npt

LONGEST_SIDES = 16
"""Times that an image may be as long as it is high; beyond, its rows are wrapped."""
_RULE = 200
"""Brightness of the lines between pieces."""

PixelArray = npt.NDArray[np.uint8]


def wrapped(picture: PixelArray) -> PixelArray:
    """Wrap a picture that is far longer than it is high, as a text is wrapped.

    Lines of one pixel separate the pieces; the last one is filled up with white. A picture that is
    far higher than it is long is laid on its side first.

    Args:
        picture: H x W x C bytes.

    >>> wrapped(np.zeros((1, 1024, 1), np.uint8)).shape
    (45, 45, 1)
    """
    if picture.shape[0] > LONGEST_SIDES * picture.shape[1]:
        picture = picture.transpose(1, 0, 2)
    height, width, channels = picture.shape
    if width <= LONGEST_SIDES * height:
        return picture
    # As many pieces as make it about as high as it is wide, with a line under each.
    pieces = max(1, round((width / (height + 1)) ** 0.5))
    long = -(-width // pieces)
    pieces = -(-width // long)
    page = np.full((pieces, height + 1, long, channels), 255, np.uint8)
    page[:, height] = _RULE
    for place in range(pieces):
        piece = picture[:, place * long : (place + 1) * long]
        page[place, :height, : piece.shape[1]] = piece
    return page.reshape(pieces * (height + 1), long, channels)[:-1]

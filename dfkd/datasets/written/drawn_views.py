"""The numbers of a set's views, from (seed, epoch, image) alone: nothing of them need be stored.

Random words come from a counter (``dfkd.datasets.written.philox``). What is made of them is whole
numbers, or float64 by ``+ - * /`` and square roots, which IEEE 754 rounds in one way: no version
of a library and no machine draws another view.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dfkd.datasets.written.philox import words_at
from dfkd.datasets.written.views import UNIT, ViewConfig, Views

_STRETCH = 0.28768207245178085
"""Logarithm of 4 / 3, the largest ratio of a crop's sides to each other, in the image's units."""
_BLOCKS = 3

_Floats = npt.NDArray[np.float64]


def draw_views(count: int, config: ViewConfig, seed: int, epoch: int) -> Views:
    """Draw the views of a set's images for one epoch.

    Crops have an area uniform in [``crop``, 1] and sides that differ by a ratio log-uniform in
    [3/4, 4/3] (Szegedy et al., CVPR 2015, section 6). A patch has an area uniform in [0, 1]
    (CutMix, Yun et al., ICCV 2019), and its partner is another image of the set.

    Args:
        count: images of the set.
        config: what is allowed.
        seed: of the set's views, in [0, 2**63).
        epoch: of the pass, from 0.
    """
    own = np.arange(count, dtype=np.uint64)
    words = words_at(seed, epoch, own, _BLOCKS)
    uniform = words.astype(np.float64) / 2.0**32  # exact: in [0, 1), 32 bits
    area = np.sqrt(config.crop + (1 - config.crop) * uniform[:, 0])
    spread = 0.0 if config.crop == 1 else _STRETCH
    stretch = _exponential((uniform[:, 1] - 0.5) * spread)
    box = _placed(area * stretch, area / stretch, uniform[:, 2:4])
    side = np.sqrt(1 - uniform[:, 4])
    patch = _placed(side, side, uniform[:, 5:7])
    others = np.uint64(max(1, count - 1))
    step = 1 + ((words[:, 7].astype(np.uint64) * others) >> np.uint64(32))
    partner = np.where(uniform[:, 8] < config.mix, (own + step) % np.uint64(count), own)
    light = 1 + config.light * (2 * uniform[:, 9:11] - 1)
    flip = uniform[:, 11] < config.flip
    kinds = (np.int32, np.uint8, np.float16, np.int32, np.int32)
    columns = zip((box, flip, light, partner, patch), kinds, strict=True)
    return Views.of(*(_tensor(values.astype(kind)) for values, kind in columns))


def _tensor(values: Any) -> Tensor:
    return torch.from_numpy(values)


def _exponential(powers: _Floats) -> _Floats:
    """Return e to small powers, to six digits, by arithmetic that is rounded alike everywhere."""
    squares = powers * powers
    found: _Floats = (12 + 6 * powers + squares) / (12 - 6 * powers + squares)
    return found


def _placed(widths: _Floats, heights: _Floats, places: _Floats) -> _Floats:
    """Put parts of given sides, in units of the image's, somewhere: left, top, right, bottom."""
    sides = np.minimum(np.stack([widths, heights], 1), 1.0)
    corners = (1 - sides) * places
    found: _Floats = np.rint(np.concatenate([corners, corners + sides], 1) * UNIT)
    return found

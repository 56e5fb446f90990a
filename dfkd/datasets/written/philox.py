"""Philox4x32-10: random numbers by a counter, the same in every version, machine and batch.

Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (SC 2011), section 3.3. A number
follows from a key and a counter alone, so none depends on how many were drawn before it.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint32]
_ROUNDS = 10
_MULTIPLIERS = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_WEYL = 0x9E3779B9, 0xBB67AE85
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)


def philox(counters: Words, key: int) -> Words:
    """Return four random words for each counter.

    Args:
        counters: uint32, N x 4.
        key: in [0, 2**64).
    """
    a, b, c, d = (counters[:, i].astype(np.uint64) for i in range(4))
    first, second = key & 0xFFFFFFFF, key >> 32
    for _ in range(_ROUNDS):
        left, right = a * _MULTIPLIERS[0], c * _MULTIPLIERS[1]
        a, c = (right >> _HALF) ^ b ^ np.uint64(first), (left >> _HALF) ^ d ^ np.uint64(second)
        b, d = right & _LOW, left & _LOW
        first, second = (first + _WEYL[0]) & 0xFFFFFFFF, (second + _WEYL[1]) & 0xFFFFFFFF
    return np.stack([a, b, c, d], 1).astype(np.uint32)


def words_at(key: int, epoch: int, rows: Any, blocks: int) -> Words:
    """Return the random words of some rows in an epoch, N x 4 blocks.

    The counter of a block is (row, epoch, block, 0).

    Args:
        key: in [0, 2**64).
        epoch: in [0, 2**32).
        rows: N whole numbers in [0, 2**32).
        blocks: of four words each.
    """
    parts = []
    for block in range(blocks):
        counters = np.zeros((len(rows), 4), np.uint32)
        counters[:, 0], counters[:, 1], counters[:, 2] = rows, epoch, block
        parts.append(philox(counters, key))
    return np.concatenate(parts, 1)

"""Random numbers by a counter: fixed vectors, and views that no version of a library changes."""

import hashlib

import numpy as np
import pytest
import torch

from dfkd.datasets.written.drawn_views import draw_views
from dfkd.datasets.written.philox import philox, words_at
from dfkd.datasets.written.views import ViewConfig

# Known answers of Random123's own tests (kat_vectors: philox4x32, 10 rounds).
VECTORS = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000",
     "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff",
     "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0",
     "d16cfe09 94fdcceb 5001e420 24126ea1"),
]  # fmt: skip
PINNED = "df3717405f2bb424fe08d470b4d3aa15ab2e7106abd19cb5b244b3f469c6b17c"


def numbers(text):
    return [int(word, 16) for word in text.split()]


@pytest.mark.parametrize(("counter", "key", "wanted"), VECTORS)
def test_philox_gives_the_published_words(counter, key, wanted):
    low, high = numbers(key)
    found = philox(np.array([numbers(counter)], np.uint32), low | high << 32)
    assert found[0].tolist() == numbers(wanted)


def test_a_word_depends_on_no_other_row():
    rows = np.array([9, 0, 4_000_000_000], np.uint64)
    found = words_at(2**63 - 1, 7, rows, 3)
    for place in range(3):
        assert np.array_equal(words_at(2**63 - 1, 7, rows[place : place + 1], 3)[0], found[place])
    assert len({tuple(row) for row in found.tolist()}) == 3


def test_views_are_these_numbers_for_ever():
    views = draw_views(1000, ViewConfig(0.5, 0.3, 0.2, 0.5), seed=2**40 + 3, epoch=5)
    sums = hashlib.sha256()
    for column in views[:5]:
        sums.update(column.numpy().tobytes())
    assert sums.hexdigest() == PINNED
    assert [column.dtype for column in views[:5]] == [
        torch.int32, torch.uint8, torch.float16, torch.int32, torch.int32,
    ]  # fmt: skip


def test_the_views_of_an_image_do_not_know_how_many_follow():
    few, many = (draw_views(n, ViewConfig(mix=0.0), 1, 2) for n in (10, 50))
    for one, other in zip(few, many, strict=True):
        assert torch.equal(one, other[:10])

"""Images that are there twice: equal, alike to the eye, or alike to the teacher.

Alike to the eye: the low frequencies of two grey thumbnails (a discrete cosine transform, DCT)
point in one direction, and their signs, the perceptual hash, are nearly all the same. Brightness
and contrast change neither. Bounds were measured: of 3,000 photographs of clothes, 797 digits and
1,000 images made from teachers no two different ones correlated by more than .9976; copies whose
values were all moved by noise of 4 of 255 did by .9988 and more, in 19 of 20 cases, at most 8 of
63 signs apart. Alike to the teacher: its features' cosine was at most .99966 between different
images, and .9999 and more to copies that were moved by 1 of 255.
"""

from collections.abc import Iterator

import numpy as np
import torch
from scipy.fft import dctn
from torch import Tensor
from torch.nn import functional

SIDE = 32
"""Of the thumbnails."""
LOW = 8
"""Frequencies each way that are compared; the mean is not."""
CORRELATION = 0.998
BITS = 8
"""Of the hash that may differ."""
COSINE = 0.9998
_BLOCK = 2048
_WHOLE = 60_000
"""Images up to which all are compared with all; beyond, those of a label."""
_WIDEST = 512
"""Features that are compared; more are projected to so many, which keeps small distances."""


def low_frequencies(images: Tensor) -> Tensor:
    """Compute the low part of the DCT of grey thumbnails; all zero where an image is constant.

    Args:
        images: N x C x H x W, uint8.

    Returns:
        N x (LOW * LOW - 1), float32.
    """
    grey = images.float().mean(1, keepdim=True)
    small = functional.interpolate(grey, (SIDE, SIDE), mode="bilinear", antialias=True)[:, 0]
    small = small - small.mean((1, 2), keepdim=True)
    spectrum = dctn(small.numpy(), axes=(1, 2), norm="ortho")[:, :LOW, :LOW]
    found = torch.from_numpy(np.ascontiguousarray(spectrum)).flatten(1)[:, 1:]
    return torch.where(found.abs().amax(1, keepdim=True) < 1e-2, 0.0, found)


def perceptual_hash(frequencies: Tensor) -> Tensor:
    """Return the bits of a hash: which frequencies are above the image's median.

    Args:
        frequencies: N x D of ``low_frequencies``.

    Returns:
        N x D, bool.
    """
    return frequencies > frequencies.median(1, keepdim=True).values


def nearest_earlier(vectors: Tensor, block: int = _BLOCK) -> tuple[Tensor, Tensor]:
    """Find for every vector the earlier one of largest cosine, block by block.

    Args:
        vectors: N x D; a vector of zeros is near to none.
        block: vectors that are compared with as many others at once: the memory is its square.

    Returns:
        N cosines, -1 for the first, and N places.
    """
    units = functional.normalize(vectors.float())
    best, place = torch.full((len(units),), -1.0), torch.zeros(len(units), dtype=torch.long)
    for start in range(0, len(units), block):
        rows = units[start : start + block]
        mine, where = best[start : start + block], place[start : start + block]
        for other in range(0, start + 1, block):
            cosines = rows @ units[other : other + block].T
            if other == start:
                cosines.masked_fill_(torch.ones_like(cosines, dtype=torch.bool).triu(), -1.0)
            value, index = cosines.max(1)
            better = value > mine
            mine[better], where[better] = value[better], index[better] + other
    return best, place


def look_alikes(frequencies: Tensor, labels: Tensor) -> dict[int, int]:
    """Find the images that look like an earlier one; returns which, by image.

    Args:
        frequencies: N x D of ``low_frequencies``.
        labels: N classes.
    """
    bits = perceptual_hash(frequencies)
    found: dict[int, int] = {}
    for members in _groups(labels):
        correlation, place = nearest_earlier(frequencies[members])
        for row in (correlation >= CORRELATION).nonzero()[:, 0].tolist():
            one, other = int(members[row]), int(members[place[row]])
            if int((bits[one] != bits[other]).sum()) <= BITS:
                found[one] = other
    return found


def think_alikes(features: Tensor, labels: Tensor) -> dict[int, int]:
    """Find the images that a teacher sees as an earlier one; returns which, by image.

    Args:
        features: N x D, the teacher's.
        labels: N classes.
    """
    found: dict[int, int] = {}
    for members in _groups(labels):
        cosine, place = nearest_earlier(features[members])
        for row in (cosine >= COSINE).nonzero()[:, 0].tolist():
            found[int(members[row])] = int(members[place[row]])
    return found


def narrowed(features: Tensor) -> Tensor:
    """Project features to at most ``_WIDEST`` numbers; the same features give the same.

    Distances change by some percent (Johnson and Lindenstrauss), small ones by as little as large.
    """
    flat = features.flatten(1).float()
    if flat.shape[1] <= _WIDEST:
        return flat
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(flat.shape[1], _WIDEST, generator=generator)
    found: Tensor = flat @ directions / _WIDEST**0.5
    return found


def copies(signs: list[bytes]) -> dict[int, int]:
    """Find the images whose hashes are equal to an earlier one's; returns the first, by image.

    >>> copies([b"a", b"b", b"a", b"a"])
    {2: 0, 3: 0}
    """
    first: dict[bytes, int] = {}
    places = ((place, first.setdefault(sign, place)) for place, sign in enumerate(signs))
    return {place: earlier for place, earlier in places if earlier != place}


def _groups(labels: Tensor) -> Iterator[Tensor]:
    """All images, or, of very many, those of each label."""
    if len(labels) <= _WHOLE:
        yield torch.arange(len(labels))
        return
    order = labels.argsort(stable=True)
    yield from torch.split(order, torch.unique(labels, return_counts=True)[1].tolist())

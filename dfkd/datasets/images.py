"""Images in memory, with labels or without, and what is wrong with arrays that should be such."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dfkd.errors import DfkdError
from dfkd.teacher.spec import ImageSpec


@dataclass(frozen=True)
class Assigned:
    """A directory, the index of the class that it was found to be, and that class's name."""

    directory: str
    label: int
    name: str


@dataclass(frozen=True)
class Reading:
    """How files became labelled images.

    Attributes:
        how: what gave the labels: ``number`` (they are in the data), ``name``, ``spelling``
            (names but for case and what joins words), ``directory`` (as an export calls them),
            ``synset``, ``file name`` or ``nothing``.
        classes: the directories of a folder.
        skipped: how many files of a folder were not read, by their ending or what they are.
    """

    how: str = "number"
    classes: tuple[Assigned, ...] = ()
    skipped: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class LabelledImages:
    """``images`` N x C x H x W, bytes or float in [0, 1]; ``labels`` int64 N; their URI, how."""

    images: Tensor
    labels: Tensor
    name: str
    reading: Reading = field(default_factory=Reading)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def shape(self) -> tuple[int, ...]:
        """Channels, height and width."""
        return tuple(self.images.shape[1:])

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Go through all once: images and their labels."""
        return zip(torch.split(self.images, 256), torch.split(self.labels, 256), strict=True)

    @property
    def highest(self) -> int:
        """The largest label."""
        return int(self.labels.max())

    def select(self, places: Tensor) -> "LabelledImages":
        """Return the images at these places."""
        return replace(self, images=self.images[places], labels=self.labels[places])


@dataclass(frozen=True)
class GivenImages:
    """``images`` uint8 N x C x H x W; ``labels`` int64 N, or None; the URI they came from, how."""

    images: Tensor
    labels: Tensor | None
    name: str
    reading: Reading = field(default_factory=Reading)

    def __len__(self) -> int:
        return len(self.images)


def evenly(total: int, count: int) -> Tensor:
    """Choose ``count`` of ``total`` indices at even distances: many data sets are sorted by class.

    >>> evenly(10, 4).tolist(), evenly(2, 4).tolist()
    ([0, 2, 5, 7], [0, 1])
    """
    most = min(count, total)
    return torch.arange(most) * total // max(1, most)


def check_fits(data: Any, spec: ImageSpec, num_classes: int | None = None) -> None:
    """Raise unless a network of ``spec`` and ``num_classes`` can be measured on ``ImageData``."""
    if data.shape != spec.shape:
        have, want = ("x".join(map(str, numbers)) for numbers in (data.shape, spec.shape))
        raise DfkdError(f"{data.name} holds {have} images and the model takes {want}")
    if num_classes is not None and data.highest >= num_classes:
        raise DfkdError(
            f"{data.name} has label {data.highest} and the model has {num_classes} classes"
        )


def relabelled(data: LabelledImages, columns: Sequence[int] | None) -> LabelledImages:
    """Return ``data`` with labels that index a model's ``columns``; None: in the same order."""
    if columns is None:
        return data
    return replace(data, labels=torch.tensor(columns)[data.labels])


def pixels(images: Any, name: str) -> Tensor:
    """Check an array N x H x W (x C) and return it as uint8 N x C x H x W."""
    if images.dtype != np.uint8:
        raise DfkdError(f"the images of {name} must be uint8 (0 to 255), not {images.dtype}")
    if images.ndim not in (3, 4) or 0 in images.shape:
        raise DfkdError(f"the images of {name} must be N x H x W (x C), not {images.shape}")
    if images.ndim == 4 and images.shape[1] in (1, 3) and images.shape[3] not in (1, 3):
        raise DfkdError(f"the images of {name} must have channels last, not {images.shape}")
    first = images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2)
    return torch.from_numpy(np.array(first))


def labelled(images: Any, labels: Any, name: str) -> LabelledImages:
    """Check images as ``pixels`` takes them, and N labels, and return both."""
    found = pixels(images, name)
    if labels.dtype.kind not in "iu" or labels.ndim != 1:
        raise DfkdError(
            f"the labels of {name} must be N integers, not {labels.shape} {labels.dtype}"
        )
    if len(labels) != len(images):
        raise DfkdError(f"{name} holds {len(images)} images and {len(labels)} labels")
    if labels.min() < 0:
        raise DfkdError(f"{name} has a negative label ({labels.min()}); classes count from 0")
    return LabelledImages(found, torch.from_numpy(labels.astype(np.int64)), name)

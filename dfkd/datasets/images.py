"""Images in memory, with labels or without."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from dfkd.errors import DfkdError
from dfkd.tasks.subset import Subset
from dfkd.tasks.words import skipped_files
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
        notes: what was decided on the way from files to images, in a few words each.
        left_out: how many images are of classes that the teacher does not know.
    """

    how: str = "number"
    classes: tuple[Assigned, ...] = ()
    skipped: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    left_out: int = 0

    def lines(self) -> list[str]:
        """Return what is to be known of it: which directory is which class, and what was decided.

        Classes are left out where directories are called as they are, or by their numbers.
        """
        renamed = self.how in ("spelling", "synset", "directory")
        pairs = [f"{one.directory} = {one.name}" for one in self.classes] if renamed else []
        skipped = [skipped_files(self.skipped).strip(" ()")] if self.skipped else []
        return [*pairs, *skipped, *self.notes]


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
    """Images to learn from, or read and not yet known to have labels.

    Attributes:
        images: N x C x H x W, uint8; float32 in [0, 1] where files hold more than bytes.
        labels: int64 N, or None.
        name: the URI they came from.
        reading: how.
        foreign: whether they are other images than those of the task, and have no labels of it.
    """

    images: Tensor
    labels: Tensor | None
    name: str
    reading: Reading = field(default_factory=Reading)
    foreign: bool = False

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
        from_one = isinstance(data, LabelledImages) and int(data.labels.min()) == 1
        hint = "; do they count from 1?" if from_one and data.highest == num_classes else ""
        raise DfkdError(
            f"{data.name} has label {data.highest} and the model has {num_classes} classes{hint}"
        )


def check_labels(data: Any, num_classes: int, rows: int) -> None:
    """Raise unless labels are of the kind that a task has.

    Args:
        data: labelled images.
        num_classes: classes, or labels that are on or off.
        rows: of answers a sample: 1 where it has one class.
    """
    labels = data.labels
    if rows == 1 and labels.ndim == 2:
        raise DfkdError(
            f"{data.name} has {labels.shape[1]} labels of 0 and 1 for each image, and the model "
            "one class: give `task=multilabel` if its outputs are such labels"
        )
    if rows > 1 and tuple(labels.shape[1:]) != (num_classes,):
        found = f"{labels.shape[1]} labels" if labels.ndim == 2 else "one class"
        raise DfkdError(
            f"{data.name} has {found} for each image, and the model {num_classes} labels: labels "
            f"are wanted as N x {num_classes} of 0 and 1"
        )


def relabelled(data: LabelledImages, columns: Sequence[int] | None) -> LabelledImages:
    """Return ``data`` with labels that index a model's ``columns``; None: in the same order."""
    if columns is None:
        return data
    return replace(data, labels=torch.tensor(columns)[data.labels])


Images = TypeVar("Images", LabelledImages, GivenImages)


def of_subset(data: Images, subset: Subset | None) -> Images:
    """Return the images of some of a model's classes, with labels that count among these.

    Args:
        data: labels are indices of all classes; images without labels stay.
        subset: None: all.

    Raises:
        DfkdError: a label that is none of the model's, or no image left.
    """
    if subset is None or data.labels is None:
        return data
    if data.labels.ndim == 2:
        raise DfkdError(f"{data.name} has several labels an image: leave `only_classes` out")
    highest, classes = int(data.labels.max()), len(subset.of)
    if highest >= classes:
        raise DfkdError(f"{data.name} has label {highest} and the model has {classes} classes")
    places = torch.full((classes,), -1)
    places[list(subset.indices)] = torch.arange(len(subset.indices))
    labels = places[data.labels]
    kept = labels >= 0
    if not bool(kept.any()):
        raise DfkdError(f"{data.name} has no image of the classes of `only_classes`")
    reading = replace(data.reading, left_out=int((~kept).sum()))
    return replace(data, images=data.images[kept], labels=labels[kept], reading=reading)

"""Draws that favour no class: a class first, then an image of it."""

from typing import NamedTuple

import torch
from torch import Tensor


class ByClass(NamedTuple):
    """Stored images in the order of their classes, so that a class can be drawn, then an image.

    Attributes:
        order: indices of the images, those of one class side by side, (images,).
        classes: all classes, those that have images first, (classes,).
        present: how many have, ().
        counts, starts: images of a class, and where ``order`` has its first one, (classes,).
    """

    order: Tensor
    classes: Tensor
    present: Tensor
    counts: Tensor
    starts: Tensor

    def drawn(self, draws: Tensor) -> Tensor:
        """Draw indices of images; every class that has any is as likely, and every image within it.

        Whole numbers throughout: some devices have no float64, and in float32 the shares of a
        large bank do not add up. No value is read back from the device.

        Args:
            draws: 2 x N whole numbers, uniform over a range far above the number of images.
        """
        first, second = draws
        own = self.classes[first % self.present]
        return self.order[self.starts[own] + second % self.counts[own]]


def by_class(targets: Tensor, counts: Tensor) -> ByClass:
    """Sort ``targets`` (images,) for balanced draws.

    Args:
        targets: class indices.
        counts: how often each class occurs, (classes,).
    """
    absent = (counts == 0).int()
    return ByClass(
        torch.argsort(targets, stable=True),
        torch.argsort(absent, stable=True),
        len(counts) - absent.sum(),
        counts,
        counts.cumsum(0) - counts,
    )

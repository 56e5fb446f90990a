"""A bounded memory of images with the teacher's answers."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from dfkd.errors import DfkdError
from dfkd.protocols import Batch
from dfkd.teacher.spec import ImageSpec

_RANGE = 2**62  # of a draw: the rest of a division by a bank's size favours no image


def quantize(images: Tensor) -> Tensor:
    """Images in [0, 1] -> the uint8 values that the bank stores (rounded); uint8 passes through.

    ``dequantize`` gives the image as ``sample`` gives it back. Ask the teacher about *that*
    one: cached logits must be those of the stored image.
    """
    if images.dtype == torch.uint8:
        return images
    return images.detach().mul(255).round().clamp(0, 255).to(torch.uint8)


def dequantize(stored: Tensor) -> Tensor:
    """What ``quantize`` stored -> float images in [0, 1]."""
    return stored.float().div(255)


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
        """Indices of images; every class that has any is as likely, and every image within it.

        Whole numbers throughout: some devices have no float64, and in float32 the shares of a
        large bank do not add up. No value is read back from the device.

        Args:
            draws: 2 x N whole numbers, uniform over a range far above the number of images.
        """
        first, second = draws
        own = self.classes[first % self.present]
        return self.order[self.starts[own] + second % self.counts[own]]


def by_class(targets: Tensor, counts: Tensor) -> ByClass:
    """``targets`` (images,) sorted for balanced draws, given how often each class occurs."""
    absent = (counts == 0).int()
    return ByClass(
        torch.argsort(targets, stable=True),
        torch.argsort(absent, stable=True),
        len(counts) - absent.sum(),
        counts,
        counts.cumsum(0) - counts,
    )


class ImageBank:
    """Keeps the last ``capacity`` images; memory is allocated once.

    A pixel takes a byte, a teacher logit two (float16: 3 significant digits).
    Which images are drawn follows from ``seed`` alone, on any device.

    Args:
        capacity: how many images it holds.
        spec: their shape.
        num_classes: how many logits an image has.
        device: where the images lie.
    """

    def __init__(
        self,
        capacity: int,
        spec: ImageSpec,
        num_classes: int,
        seed: int,
        device: torch.device | str = "cpu",
    ) -> None:
        if capacity < 1:
            raise DfkdError(f"an image bank must hold at least one image, not {capacity}")
        self.capacity = capacity
        self.total = 0
        self._columns = {
            "images": torch.empty((capacity, *spec.shape), dtype=torch.uint8, device=device),
            "teacher_logits": torch.empty((capacity, num_classes), dtype=torch.half, device=device),
            "targets": torch.empty(capacity, dtype=torch.int64, device=device),
        }
        self._by_class: ByClass | None = None  # for balanced draws; new after an ``add``
        self._generator = torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        return min(self.total, self.capacity)

    def class_counts(self) -> Tensor:
        """How many stored images are meant for each class, (classes,), where the bank lies."""
        targets = self._columns["targets"][: len(self)]
        # Not bincount: its length depends on the values, so that a GPU would have to wait.
        counts = targets.new_zeros(self._columns["teacher_logits"].shape[1])
        return counts.index_add_(0, targets, torch.ones_like(targets))

    def _balanced(self, count: int) -> Tensor:
        """Indices drawn with probability 1 / (images of the same class), times a constant."""
        if self._by_class is None:
            self._by_class = by_class(self._columns["targets"][: len(self)], self.class_counts())
        draws = torch.randint(_RANGE, (2, count), generator=self._generator)
        return self._by_class.drawn(draws.to(self._columns["targets"].device))

    def add(self, images: Tensor, teacher_logits: Tensor, targets: Tensor) -> None:
        """Store copies; the oldest images make room.

        Args:
            images: N x C x H x W in [0, 1]; stored as ``quantize`` has them.
            teacher_logits: N x classes, of the images *as stored*.
            targets: N class indices.
        """
        largest = torch.finfo(torch.half).max  # an infinite logit would make NaN probabilities
        rows = {
            "images": quantize(images),
            "teacher_logits": teacher_logits.detach().clamp(-largest, largest),
            "targets": targets,
        }
        for name, values in rows.items():
            expected = (len(images), *self._columns[name].shape[1:])
            if values.shape != expected:
                raise DfkdError(f"the bank wants {name} of {expected}, not {tuple(values.shape)}")
        kept = range(max(0, len(images) - self.capacity), len(images))
        slots = torch.tensor([(self.total + i) % self.capacity for i in kept])
        for name, values in rows.items():
            column = self._columns[name]
            column[slots.to(column.device)] = values[kept.start :].to(column.device, column.dtype)
        self._by_class = None
        self.total += len(images)

    def sample(self, count: int, *, balanced: bool = False) -> Batch:
        """``count`` stored images; all different unless there are fewer in the bank.

        With ``balanced``, every class that the bank holds is drawn equally often on
        average, so that an image of a rare class may come twice.
        """
        filled = len(self)
        if not filled:
            raise DfkdError("the image bank is empty: update the synthesizer before sampling")
        if balanced:
            index = self._balanced(count)
        elif count > filled:
            index = torch.randint(filled, (count,), generator=self._generator)
        else:
            index = torch.randperm(filled, generator=self._generator)[:count]
        index = index.to(self._columns["images"].device)
        images, teacher_logits, targets = (values[index] for values in self._columns.values())
        return Batch(dequantize(images), teacher_logits.float(), targets)

    def state_dict(self) -> dict[str, Any]:
        """The filled part (copies), the count and the random generator."""
        filled = {name: values[: len(self)].clone() for name, values in self._columns.items()}
        return {**filled, "total": self.total, "generator": self._generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state_dict``: the same images, and the same draws from here on."""
        for name, column in self._columns.items():
            expected = (min(state["total"], self.capacity), *column.shape[1:])
            if state[name].shape != expected:
                found = tuple(state[name].shape)
                raise DfkdError(f"this bank holds {name} of {expected}, the saved one {found}")
            column[: expected[0]] = state[name]
        self._by_class = None
        self.total = state["total"]
        self._generator.set_state(state["generator"].cpu())

"""A teacher that is not there: its images and classes are known, and it can be asked nothing."""

from collections.abc import Sequence
from typing import NoReturn

import torch
from torch import Tensor, nn

from dfkd.errors import DfkdError
from dfkd.tasks import Prediction
from dfkd.teacher.spec import ImageSpec
from dfkd.teacher.teacher import Teacher
from dfkd.teacher.trace import Trace


class _Silent(nn.Module):
    """Stands where the network would: its answers have a shape and say nothing."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes

    def forward(self, images: Tensor) -> Tensor:
        return images.new_zeros(len(images), self.num_classes)


class AbsentTeacher(Teacher):
    """The teacher of a written dataset, whose stored answers stand in for it.

    Args:
        spec: the images of the set.
        class_names: in the order of its answers.
    """

    present = False

    def __init__(self, spec: ImageSpec, class_names: Sequence[str]) -> None:
        super().__init__(_Silent(len(class_names)), spec, class_names)

    def to(self, device: torch.device | str) -> "AbsentTeacher":
        """Note where its images would be."""
        self._at = torch.device(device)
        return self

    @property
    def device(self) -> torch.device:
        """Where it would be."""
        return getattr(self, "_at", torch.device("cpu"))

    def predict(self, images: Tensor) -> Prediction:
        """Raise a ``DfkdError``: nobody is there to answer."""
        self._missed()

    def trace(
        self, images: Tensor, statistics: bool = False, features: Sequence[str] = ()
    ) -> Trace:
        """Raise a ``DfkdError``: nobody is there to be looked into."""
        self._missed()

    def like(self, network: nn.Module) -> Teacher:
        """Return this one: there is no other."""
        return self

    @property
    def measurable(self) -> None:
        """The network to be measured; there is none."""

    @property
    def differentiable(self) -> bool:
        """Whether its answers have a gradient; there are none."""
        return False

    def _missed(self) -> NoReturn:
        raise DfkdError(
            "no teacher is present, only the answers in the set: what asks it anew needs the "
            "teacher as TEACHER, and the set as `images`"
        )

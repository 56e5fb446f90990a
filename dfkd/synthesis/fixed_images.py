"""Images that are given, not made: the user's own, shown to the student in the method's place."""

from typing import Any

import torch
from torch import Tensor, nn

from dfkd.protocols import Batch, Metrics
from dfkd.synthesis.bank import ImageBank
from dfkd.teacher import Teacher

_CHUNK = 256


class FixedImages:
    """A ``Synthesizer`` that makes nothing: a bank of images with the teacher's answers.

    Args:
        teacher: labels them.
        images: uint8 N x C x H x W.
        labels: N classes, or None; then the teacher's decisions stand in for them.
        seed: of the order in which they are shown.
    """

    def __init__(self, teacher: Teacher, images: Tensor, labels: Tensor | None, seed: int) -> None:
        task = teacher.task
        self.bank = ImageBank(
            len(images), teacher.spec, task.width, seed, teacher.device, targets=task.targets
        )
        for start in range(0, len(images), _CHUNK):
            part = images[start : start + _CHUNK].to(teacher.device)
            with torch.no_grad(), teacher.autocast():
                prediction = teacher.predict(teacher.spec.decode(part)).float()
            decided = teacher.task.decide(prediction)
            targets = decided if labels is None else labels[start : start + _CHUNK].to(decided)
            self.bank.add(part, prediction, targets)

    def update(self, student: nn.Module) -> Metrics:
        """Do nothing: the images are there."""
        return {}

    def sample(self, count: int) -> Batch:
        """Draw ``count`` images, all different unless there are fewer."""
        return self.bank.sample(count)

    @property
    def images_made(self) -> int:
        """None: a scheme that makes some besides counts its own."""
        return 0

    @property
    def teacher_images(self) -> int:
        """Every image once."""
        return len(self.bank)

    def state_dict(self) -> dict[str, Any]:
        """Return the bank's state."""
        return self.bank.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state_dict``."""
        self.bank.load_state_dict(state)

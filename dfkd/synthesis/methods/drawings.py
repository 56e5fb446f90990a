"""Drawings: images made by chance alone, answered by the teacher.

The teacher is asked for answers and for nothing else, so every classifier will
do, with batch-norm or without. ``default`` adds what the teacher remembers.
"""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from dfkd.protocols import Batch, Metrics
from dfkd.teacher import Teacher
from generators.procedural import Style, draw


@dataclass(frozen=True)
class DrawingsConfig:
    """One fixed style for the whole run; see ``generators.procedural.Style``."""

    style: Style = field(default_factory=Style)


class Drawings:
    """The ``Synthesizer`` of fresh drawings: there is nothing to update."""

    def __init__(self, teacher: Teacher, config: DrawingsConfig, seed: int) -> None:
        self.teacher, self.config = teacher, config
        self._generator = torch.Generator().manual_seed(seed)
        self._images_made = 0

    def update(self, student: nn.Module) -> Metrics:
        """Nothing to learn."""
        return {}

    def sample(self, count: int) -> Batch:
        """``count`` drawings that nobody has seen before."""
        self._images_made += count
        images = draw(
            count,
            self.teacher.spec.shape,
            self._generator,
            (self.config.style,),
            self.teacher.device,
        )
        return Batch(images)

    @property
    def images_made(self) -> int:
        """Drawings so far."""
        return self._images_made

    @property
    def teacher_images(self) -> int:
        """None: the teacher answers in the student's step."""
        return 0

    def state_dict(self) -> dict[str, Any]:
        """Generator and counter."""
        return {"generator": self._generator.get_state(), "images_made": self._images_made}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state_dict``."""
        self._generator.set_state(state["generator"])
        self._images_made = state["images_made"]

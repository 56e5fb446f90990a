"""Drawings: images made by chance alone, answered by the teacher.

The teacher is asked for answers and for nothing else, so every classifier will
do, with batch-norm or without. ``default`` adds what the teacher remembers.
"""

from dataclasses import dataclass, field

from torch import nn

from dfkd.protocols import Batch, Metrics
from dfkd.synthesis.method import Method
from generators.procedural import Style, draw


@dataclass(frozen=True)
class DrawingsConfig:
    """One fixed style for the whole run; see ``generators.procedural.Style``."""

    style: Style = field(default_factory=Style)


class Drawings(Method):
    """The ``Synthesizer`` of fresh drawings: there is nothing to update."""

    def update(self, student: nn.Module) -> Metrics:
        """Do nothing: there is nothing to learn."""
        return {}

    def sample(self, count: int) -> Batch:
        """Return ``count`` drawings that nobody has seen before."""
        self.images_made += count
        shape, styles = self.teacher.spec.shape, (self.config.style,)
        return Batch(draw(count, shape, self._rng, styles, self.device))

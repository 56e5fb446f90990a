"""How teacher and students stand to one another: the base of every training scheme."""

from abc import ABC, abstractmethod
from typing import Any

from torch import nn

from dfkd.distillation.learner import Learner
from dfkd.protocols import Batch, Metrics, Source, Stateful


class Scheme(ABC):
    """A ``Distiller`` whose file holds the step alone, readable from top to bottom.

    A subclass sets ``learners`` and writes ``update``. What a scheme with one student does not
    need has a default here: who trains more overrides ``finished`` and ``networks``, who keeps
    more state ``extras``.

    Attributes:
        learners: all that is trained; the first is the user's student.
    """

    learners: tuple[Learner, ...]

    @abstractmethod
    def update(self, batch: Batch) -> Metrics:
        """Take one step with everybody who learns; return scalars by name."""

    def set_progress(self, progress: float) -> None:
        """Set rates and temperatures for this point of the budget, in [0, 1]."""
        for learner in self.learners:
            learner.set_progress(progress)

    def finished(self) -> nn.Module:
        """Return the network to keep: a copy in eval mode."""
        return self.learners[0].finished()

    def networks(self) -> dict[str, nn.Module]:
        """Return what else is worth measuring, by name."""
        return {}

    def source(self) -> Source | None:
        """Return what builds the network to keep; None: what built the user's student."""
        return None

    def extras(self) -> dict[str, Stateful]:
        """Return what a resume needs besides the learners, by name."""
        return {}

    @property
    def images_made(self) -> int:
        """Images that the scheme itself has made so far."""
        return 0

    @property
    def student(self) -> nn.Module:
        """The network that is being trained (live)."""
        return self.learners[0].student

    @property
    def teacher_images(self) -> int:
        """Images shown to the teacher for want of cached answers."""
        return sum(learner.teacher_images for learner in self.learners)

    @property
    def pairs(self) -> tuple[str, ...]:
        """The layers that are compared, as ``teacher.LAYER=student.LAYER``."""
        return self.learners[0].pairs

    def class_counts(self) -> list[int]:
        """Count the teacher's answers by class so far: even is healthy, one is collapse."""
        return self.learners[0].class_counts()

    def state_dict(self) -> dict[str, Any]:
        """Return every learner's state, and the scheme's extras."""
        return {
            "learners": [learner.state_dict() for learner in self.learners],
            "extras": {name: part.state_dict() for name, part in self.extras().items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue exactly where ``state_dict`` was taken."""
        for learner, saved in zip(self.learners, state["learners"], strict=True):
            learner.load_state_dict(saved)
        for name, part in self.extras().items():
            part.load_state_dict(state["extras"][name])

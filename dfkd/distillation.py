"""The ``Distiller`` of any scheme: what all of them have in common, once."""

from typing import Any

from torch import nn

from dfkd.protocols import Batch, Metrics, Scheme


class Distillation:
    """A ``Scheme`` as the engine and the files of a run want it."""

    def __init__(self, scheme: Scheme) -> None:
        self.scheme = scheme

    def update(self, batch: Batch) -> Metrics:
        """One step of everybody who learns."""
        return self.scheme.update(batch)

    @property
    def student(self) -> nn.Module:
        """The network that is being trained (live)."""
        return self.scheme.learners[0].student

    @property
    def teacher_images(self) -> int:
        """Images shown to the teacher for want of cached answers."""
        return sum(learner.teacher_images for learner in self.scheme.learners)

    @property
    def pairs(self) -> tuple[str, ...]:
        """The layers that are compared, as ``teacher.LAYER=student.LAYER``."""
        return self.scheme.learners[0].pairs

    def set_progress(self, progress: float) -> None:
        """Rates and temperatures for this point of the budget."""
        self.scheme.set_progress(progress)

    def class_counts(self) -> list[int]:
        """How often the teacher answered each class so far: even is healthy, one is collapse."""
        return self.scheme.learners[0].class_counts()

    def finished(self) -> nn.Module:
        """The student to keep, a copy in eval mode."""
        return self.scheme.finished()

    def networks(self) -> dict[str, nn.Module]:
        """What else is worth measuring, by name."""
        return self.scheme.networks()

    def state_dict(self) -> dict[str, Any]:
        """Every learner's state, and the scheme's extras."""
        return {
            "learners": [learner.state_dict() for learner in self.scheme.learners],
            "extras": {name: part.state_dict() for name, part in self.scheme.extras().items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue exactly where ``state_dict`` was taken."""
        for learner, saved in zip(self.scheme.learners, state["learners"], strict=True):
            learner.load_state_dict(saved)
        for name, part in self.scheme.extras().items():
            part.load_state_dict(state["extras"][name])

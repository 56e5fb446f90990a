"""The ``Distiller`` of any scheme: what all of them have in common, once."""

from typing import Any

from torch import nn

from dfkd.protocols import (
    Batch,
    Choosing,
    Keeping,
    Making,
    Metrics,
    Scheduled,
    Scheme,
    Source,
    Sourced,
    Stateful,
)


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
    def images_made(self) -> int:
        """Images that the scheme itself has made."""
        return self.scheme.images_made if isinstance(self.scheme, Making) else 0

    @property
    def pairs(self) -> tuple[str, ...]:
        """The layers that are compared, as ``teacher.LAYER=student.LAYER``."""
        return self.scheme.learners[0].pairs

    def set_progress(self, progress: float) -> None:
        """Rates and temperatures for this point of the budget."""
        followers = (self.scheme,) if isinstance(self.scheme, Scheduled) else self.scheme.learners
        for follower in followers:
            follower.set_progress(progress)

    def class_counts(self) -> list[int]:
        """How often the teacher answered each class so far: even is healthy, one is collapse."""
        return self.scheme.learners[0].class_counts()

    def finished(self) -> nn.Module:
        """The student to keep, a copy in eval mode."""
        if isinstance(self.scheme, Choosing):
            return self.scheme.finished()
        return self.scheme.learners[0].finished()

    def networks(self) -> dict[str, nn.Module]:
        """What else is worth measuring, by name."""
        return self.scheme.networks() if isinstance(self.scheme, Choosing) else {}

    def source(self) -> Source | None:
        """What builds the student to keep; None: what built the user's."""
        return self.scheme.source() if isinstance(self.scheme, Sourced) else None

    def extras(self) -> dict[str, Stateful]:
        """What a resume needs besides the learners, by name."""
        return self.scheme.extras() if isinstance(self.scheme, Keeping) else {}

    def state_dict(self) -> dict[str, Any]:
        """Every learner's state, and the scheme's extras."""
        return {
            "learners": [learner.state_dict() for learner in self.scheme.learners],
            "extras": {name: part.state_dict() for name, part in self.extras().items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue exactly where ``state_dict`` was taken."""
        for learner, saved in zip(self.scheme.learners, state["learners"], strict=True):
            learner.load_state_dict(saved)
        for name, part in self.extras().items():
            part.load_state_dict(state["extras"][name])

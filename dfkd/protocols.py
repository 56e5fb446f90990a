"""The seams of the package: what makes images, and what consumes them.

The loop knows nothing else. A method is one class that fits ``Synthesizer``; a training scheme
derives from ``dfkd.distillation.scheme.Scheme``, which fits ``Distiller``.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from torch import Tensor, nn

from dfkd.tasks.prediction import Prediction

Metrics = dict[str, Tensor]
"""Scalars by name, still on the device: reading them is the logger's business, every k steps."""

Source = tuple[str | None, Mapping[str, Any]]
"""A factory (a MODEL URI without its query) and keywords, which build a network."""


class Batch(NamedTuple):
    """Samples for the student, with what is known of them.

    Attributes:
        inputs: of the teacher's space; images are float N x C x H x W in [0, 1].
        prediction: the teacher's answers where they are cached; else the distiller asks for them.
        target: what the samples were made for, where they were: N class indices.
        mirrorable: N booleans, of which images the mirror image may be shown in their place, where
            mirror images keep their class at all; None: of all.
    """

    inputs: Tensor
    prediction: Prediction | None = None
    target: Tensor | None = None
    mirrorable: Tensor | None = None


class Synthesizer(Protocol):
    """Makes images. The student's parameters and buffers do not change during ``update``."""

    def update(self, student: nn.Module) -> Metrics:
        """Work once on the images: one round, one step, whatever the method calls a unit."""

    def sample(self, count: int) -> Batch:
        """Return ``count`` samples to learn from; works before the first ``update`` is complete."""

    @property
    def images_made(self) -> int:
        """How many images this synthesizer has produced so far, for the run's account."""

    @property
    def teacher_images(self) -> int:
        """How many images the teacher has been shown so far (forward passes x batch)."""

    def state_dict(self) -> dict[str, Any]:
        """Return everything an exact resume needs, random generators included."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state_dict``."""


class Distiller(Protocol):
    """Consumes images, trains the student."""

    def update(self, batch: Batch) -> Metrics:
        """Take one optimiser step of the student; return scalars by name."""

    @property
    def student(self) -> nn.Module:
        """The network that is being trained (live)."""

    def set_progress(self, progress: float) -> None:
        """Tell where in [0, 1] the run's budget stands: schedules follow it."""

    def finished(self) -> nn.Module:
        """Return the student to keep: a copy in eval mode, with averaged weights where kept."""

    def networks(self) -> dict[str, nn.Module]:
        """Return what else is worth measuring, by name: peers, exits; in eval mode."""

    def source(self) -> Source | None:
        """Return what builds the network of ``finished``; None: what built the user's student."""

    def class_counts(self) -> list[int]:
        """Count the teacher's answers by class so far: even is healthy, one is collapse."""

    @property
    def teacher_images(self) -> int:
        """How many images the teacher has been shown so far for the student's sake."""

    @property
    def images_made(self) -> int:
        """How many images it has made itself so far."""

    def state_dict(self) -> dict[str, Any]:
        """Return everything an exact resume needs."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state_dict``."""


class Stateful(Protocol):
    """Modules, optimisers, and whatever else an exact resume needs."""

    def state_dict(self) -> dict[str, Any]:
        """Return everything needed for an exact resume."""

    def load_state_dict(self, state_dict: Any, /) -> Any:
        """Continue from ``state_dict``."""

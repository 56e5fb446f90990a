"""The seam: what a prior of the teacher's inputs has to offer."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn


class Recording(Protocol):
    """What a prior notes of one forward pass."""

    def finished(self) -> Any:
        """Return the record, or None where the pass must be repeated."""


class Prior(Protocol):
    """What a network reveals of the inputs it was trained on. No loss lives in a hook.

    A prior that can say so has a ``name`` as well (``name_of``), for lines and manifests.

    Attributes:
        layers: those of the teacher's layers that it reads, by name; empty where there is nothing.
    """

    layers: Mapping[str, nn.Module]

    def open(self) -> AbstractContextManager[Recording]:
        """Record while the block runs; a record is a plain value, part of the graph."""

    def distance(self, record: Any) -> Tensor:
        """Return how far a batch lies from what is remembered, a scalar."""

    def relative_distance(self, record: Any) -> Tensor:
        """Return the same free of the network's scale: weights carry over between networks."""


@runtime_checkable
class ImagePrior(Prior, Protocol):
    """A prior that looks at the images themselves, and not at what the teacher makes of them."""

    def open_on(self, images: Tensor) -> AbstractContextManager[Recording]:
        """Record for ``images`` in [0, 1], N x C x H x W, while the block runs."""


@runtime_checkable
class PortablePrior(Prior, Protocol):
    """A prior that can be read from another network that answers alike: a copy, or a folded one."""

    def on(self, network: nn.Module) -> Prior:
        """Return the same memory, read from the layers of ``network``."""


def opened(prior: Prior, images: Tensor) -> AbstractContextManager[Recording]:
    """Open a prior for one pass of ``images`` through the teacher."""
    return prior.open_on(images) if isinstance(prior, ImagePrior) else prior.open()


@runtime_checkable
class AnsweringPrior(Prior, Protocol):
    """A prior under which the teacher's answers are others."""

    def answering(self) -> AbstractContextManager[None]:
        """Make the teacher answer so while the block runs."""


def answering(prior: Prior) -> AbstractContextManager[None]:
    """Open what a prior does to the answers, if anything."""
    return prior.answering() if isinstance(prior, AnsweringPrior) else nullcontext()


def told_of(prior: Prior) -> str:
    """Return what a prior compares images with, in words."""
    return str(getattr(prior, "told", "what the user's own prior says"))


def name_of(prior: Prior) -> str:
    """Return what lines and manifests call a prior: its name, or that of its class."""
    return str(getattr(prior, "name", type(prior).__name__))


def remembers(prior: Prior) -> bool:
    """Tell whether there is anything that a batch can be compared with."""
    return bool(prior.layers) or isinstance(prior, ImagePrior)


def corrects(prior: Prior) -> bool:
    """Tell whether images that come nearer to what a prior says are better ones.

    A prior says ``corrects = False`` where they can come too near.
    """
    return remembers(prior) and bool(getattr(prior, "corrects", True))

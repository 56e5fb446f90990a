"""Batch-norms that follow a young student: their memory is no longer than its training.

torchvision's MobileNetV3 lets a step move its statistics by .01. After 400 steps they are still a
mixture with those of the start, and the student that answers right in training mode guesses in
eval mode: 52 % of pages where 94 % were right with statistics measured anew.
"""

from collections.abc import Iterable

from torch import nn


class NormMomentum:
    """Raises the momentum of batch-norms while they have seen few steps.

    At step n it is at least 9/(10 + n), the weight that the student's own average gives to a new
    step (``MovingAverage``), so that statistics and weights forget alike.

    Args:
        layers: with statistics; those whose ``momentum`` is None average all steps, and stay so.

    >>> norms = NormMomentum([nn.BatchNorm2d(3, momentum=0.01)])
    >>> [round(norms.set_step(n), 2) for n in (0, 80, 2000)]
    [0.9, 0.1, 0.01]
    """

    def __init__(self, layers: Iterable[nn.Module]) -> None:
        found = ((layer, getattr(layer, "momentum", None)) for layer in layers)
        self._own = [(layer, own) for layer, own in found if isinstance(own, float)]

    def set_step(self, step: int) -> float:
        """Set what suits a step, counted from 0; returns the least of them, or 0 without any."""
        young = 9 / (10 + step)
        for layer, own in self._own:
            layer.momentum = max(own, young)  # type: ignore[assignment]
        return min((max(own, young) for _, own in self._own), default=0.0)

    def restore(self) -> None:
        """Give every layer its own momentum back."""
        for layer, own in self._own:
            layer.momentum = own  # type: ignore[assignment]

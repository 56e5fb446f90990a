"""What an image is to a teacher: its shape, and the way from [0, 1] into the teacher's space."""

import math
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from dfkd.errors import DfkdError


@dataclass(frozen=True)
class ImageSpec:
    """Shape and normalisation of a network's input.

    Outside the teacher images are float in [0, 1], N x C x H x W, not normalised.
    ``normalize`` is applied once, inside ``Teacher``; ``denormalize`` is for
    generators whose paper emits normalised images. ``mean`` and ``std`` have one
    entry a channel, in units of [0, 1] intensity; left empty they are 0 and 1.
    """

    channels: int
    height: int
    width: int
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if min(self.channels, self.height, self.width) < 1:
            raise DfkdError(f"an image needs positive channels and size, not {self.shape}")
        # Lists come from JSON and YAML; tuples keep the value hashable.
        object.__setattr__(self, "mean", tuple(self.mean) or (0.0,) * self.channels)
        object.__setattr__(self, "std", tuple(self.std) or (1.0,) * self.channels)
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) != self.channels or not all(map(math.isfinite, values)):
                raise DfkdError(
                    f"{name} needs one finite number a channel ({self.channels}), not {values}"
                )
        if min(self.std) <= 0:
            raise DfkdError(f"std must be positive, not {self.std}")

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        return (self.channels, self.height, self.width)

    def normalize(self, images: Tensor) -> Tensor:
        """[0, 1] -> the network's space: (images - mean) / std per channel."""
        mean, std = self._constants(images)
        return (images - mean) / std

    def denormalize(self, images: Tensor) -> Tensor:
        """The network's space -> [0, 1], without clamping."""
        mean, std = self._constants(images)
        return images * std + mean

    def _constants(self, images: Tensor) -> tuple[Tensor, Tensor]:
        shape = (1, self.channels, 1, 1)
        return images.new_tensor(self.mean).view(shape), images.new_tensor(self.std).view(shape)


def parse_shape(text: str) -> tuple[int, int, int]:
    """``"1x28x28"`` -> (1, 28, 28); anything else is a ``DfkdError``."""
    parts = text.lower().split("x")
    if len(parts) != 3 or not all(part.isascii() and part.isdigit() for part in parts):
        raise DfkdError(f"--image wants CHANNELSxHEIGHTxWIDTH such as 3x224x224, not {text!r}")
    channels, height, width = (int(part) for part in parts)
    return channels, height, width


def spec_from_dict(facts: dict[str, Any]) -> ImageSpec:
    """The inverse of ``dataclasses.asdict`` after a trip through JSON."""
    try:
        return ImageSpec(**facts)
    except TypeError as error:
        raise DfkdError(f"not an image specification: {facts!r} ({error})") from None

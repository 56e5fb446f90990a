"""What a sample is: its shape, and the way from our space into the network's own."""

import math
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Protocol

import torch
from torch import Tensor

from dfkd.errors import DfkdError

BYTES_FROM = 16.0
"""What no image in [0, 1] reaches, however far a generator leaves it, and what bytes do reach."""


class Space(Protocol):
    """The domain of samples. Outside a ``Teacher`` samples lie in it; normalised only within.

    Attributes:
        shape: of one sample.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one sample."""

    def normalize(self, samples: Tensor) -> Tensor:
        """Map samples to what the network takes."""

    def denormalize(self, values: Tensor) -> Tensor:
        """Map what a network takes to samples, without ``project_``."""

    def project_(self, samples: Tensor) -> Tensor:
        """Bring samples that an optimiser moved back into the space, in place."""

    def encode(self, samples: Tensor) -> Tensor:
        """Turn samples into what a bank stores."""

    def decode(self, stored: Tensor) -> Tensor:
        """Turn what a bank stores into samples."""

    def example(self, count: int, device: torch.device | str) -> Tensor:
        """Make ``count`` samples that say nothing: for shapes and trial passes."""


@dataclass(frozen=True)
class ImageSpec:
    """Shape and normalisation of a network's input.

    Outside the teacher images are float in [0, 1], N x C x H x W, not normalised.
    ``normalize`` is applied once, inside ``Teacher``; ``denormalize`` is for
    generators whose paper emits normalised images. ``mean`` and ``std`` have one
    entry a channel, in units of [0, 1] intensity; left empty they are 0 and 1.
    ``crop`` is the share of a picture file's shorter side that its own transforms keep
    (224 of 256 pixels: .875); it says how files are cut, and nothing of the network.
    """

    channels: int
    height: int
    width: int
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    crop: float = field(default=1.0, compare=False, repr=False)

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
        if not 0 < self.crop <= 1:
            raise DfkdError(f"the share that is kept of a picture is in (0, 1], not {self.crop}")

    def project_(self, samples: Tensor) -> Tensor:
        """Clamp to [0, 1], in place."""
        return samples.clamp_(0, 1)

    def encode(self, samples: Tensor) -> Tensor:
        """Round images to uint8, a byte a value; uint8 passes through.

        Ask the teacher about what ``decode`` gives back: cached answers must be to the image as
        it is stored.
        """
        return quantize(samples)

    def decode(self, stored: Tensor) -> Tensor:
        """Turn uint8 values into floats in [0, 1]."""
        return dequantize(stored)

    def example(self, count: int, device: torch.device | str) -> Tensor:
        """Make ``count`` grey images."""
        return torch.full((count, *self.shape), 0.5, device=device)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        return (self.channels, self.height, self.width)

    def normalize(self, images: Tensor) -> Tensor:
        """Map [0, 1] to the network's space: (images - mean) / std per channel."""
        mean, std = self._constants(images)
        return (images - mean) / std

    def denormalize(self, images: Tensor) -> Tensor:
        """Map the network's space to [0, 1], without clamping."""
        mean, std = self._constants(images)
        return images * std + mean

    def _constants(self, images: Tensor) -> tuple[Tensor, Tensor]:
        shape = (1, self.channels, 1, 1)
        return images.new_tensor(self.mean).view(shape), images.new_tensor(self.std).view(shape)


def facts_of(space: Any) -> dict[str, Any]:
    """Return shape and normalisation of a space: what decides whether two networks see alike."""
    return {name: value for name, value in asdict(space).items() if name != "crop"}


def check_asked(space: Space, samples: Tensor, values: bool = False) -> None:
    """Raise where these cannot be images in [0, 1]; other spaces have their own ways.

    Args:
        space: of the teacher that is asked.
        samples: what it is asked about.
        values: look at the numbers as well, which a GPU waits for. Images that were made may leave
            [0, 1]; bytes that were made floats leave it far, and never below 0.
    """
    if not isinstance(space, ImageSpec):
        return
    if not samples.is_floating_point():
        raise DfkdError(
            f"the teacher takes images as floats in [0, 1], not {samples.dtype}: "
            "images.float() / 255 makes bytes such"
        )
    if values and samples.numel() and not samples.is_meta:
        low, high = (float(one) for one in samples.detach().aminmax())
        if low >= 0 and high > BYTES_FROM:
            raise DfkdError(
                f"the teacher takes images in [0, 1], and these reach from {low:.3g} to "
                f"{high:.4g}: divide them by 255"
            )


def quantize(images: Tensor) -> Tensor:
    """Round images in [0, 1] to uint8; uint8 passes through."""
    if images.dtype == torch.uint8:
        return images
    return images.detach().mul(255).round().clamp(0, 255).to(torch.uint8)


def dequantize(stored: Tensor) -> Tensor:
    """Turn uint8 values into floats in [0, 1]."""
    return stored.float().div(255)


def parse_shape(text: str) -> tuple[int, int, int]:
    """Read ``"1x28x28"`` as (1, 28, 28); anything else is a ``DfkdError``."""
    parts = text.lower().split("x")
    if len(parts) != 3 or not all(part.isascii() and part.isdigit() for part in parts):
        raise DfkdError(f"`image` wants CHANNELSxHEIGHTxWIDTH such as 3x224x224, not {text!r}")
    channels, height, width = (int(part) for part in parts)
    return channels, height, width


def spec_from_dict(facts: dict[str, Any]) -> ImageSpec:
    """Build a spec from what ``dataclasses.asdict`` gave, after a trip through JSON.

    What a later version says beyond that is left aside.
    """
    known = {one.name for one in fields(ImageSpec)}
    try:
        return ImageSpec(**{name: value for name, value in facts.items() if name in known})
    except TypeError as error:
        raise DfkdError(f"not an image specification: {facts!r} ({error})") from None

"""Figures of a set's images, and what they do not show."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from dfkd.evaluation.diversity import Diversity
from dfkd.evaluation.frechet import KernelDistance
from dfkd.evaluation.manifolds import NEIGHBOURS, ManifoldOverlap


class Distances(NamedTuple):
    """How far images are from real ones, in the features of one network.

    Attributes:
        frechet: squared Fréchet distance, biased by the number of images.
        kernel: squared kernel distance, unbiased.
        overlap: improved precision and recall; None where there are too few images.
    """

    frechet: float
    kernel: KernelDistance
    overlap: ManifoldOverlap | None


@dataclass(frozen=True)
class RealFigures:
    """Images beside real ones.

    Attributes:
        images: real ones.
        distances: of the set's images from them.
        floor: those of as many of the real images a class from the rest: what nothing but chance
            gives; None where there are too few.
        diversity: within the classes of as many real images a class.
    """

    images: int
    distances: Distances
    floor: Distances | None
    diversity: Diversity | None


@dataclass(frozen=True)
class NetworkFigures:
    """What one network sees in a set.

    Attributes:
        name: where it came from.
        role: ``teacher`` or ``judge``.
        circular: whether the images were made from this very network.
        layer: where its features were taken.
        top1: share of the images that it takes for what their label says, in [0, 1].
        top5: share whose label is among its five likeliest; None with five classes or fewer.
        confidence: mean probability that it gives to the label.
        diversity: within the classes; None where no class has two images.
        real: beside real images, where such were given.
    """

    name: str
    role: str
    circular: bool
    layer: str
    top1: float
    top5: float | None
    confidence: float
    diversity: Diversity | None
    real: RealFigures | None


@dataclass(frozen=True)
class SetQuality:
    """All figures of a set.

    Attributes:
        directory: of the set.
        images: that it has.
        classes: that have images.
        agreement: share of the stored answers that are the label, in [0, 1].
        confidence: mean probability that the stored answers give to the label.
        colour_noise: see ``dfkd.evaluation.colour``; None without colour or below 16 pixels.
        real_colour_noise: of the real images.
        networks: those that looked at it.
    """

    directory: Path
    images: int
    classes: int
    agreement: float
    confidence: float
    colour_noise: float | None
    real_colour_noise: float | None
    networks: tuple[NetworkFigures, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON; named tuples become mappings."""
        return {**_plain(asdict(self)), "notes": self.notes()}

    def notes(self) -> list[str]:
        """Say what the figures do not show."""
        lines = [
            f"the {one.role}'s figures are circular: the images were optimised against this very "
            "network, so that they look better to it than to any other"
            for one in self.networks
            if one.circular
        ]
        compared = [one.real for one in self.networks if one.real]
        if compared:
            width = "the fewer the images the larger the Fréchet distance: compare equal counts"
            lines.append(f"{width}; the kernel distance has no such bias and may be below 0")
        if any(real.distances.overlap is None for real in compared):
            lines.append(f"precision and recall need more than {NEIGHBOURS} images")
        return lines


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if hasattr(value, "_asdict"):
        return _plain(value._asdict())
    if isinstance(value, tuple | list):
        return [_plain(one) for one in value]
    return str(value) if isinstance(value, Path) else value

"""The prior of another network: what its batch-norms remember, of other data."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from dfkd.errors import DfkdError
from dfkd.losses.statistics import LayerStatistics
from dfkd.tasks.words import shown
from dfkd.teacher.priors.prior import Recording
from dfkd.teacher.spec import ImageSpec

GREY = (0.299, 0.587, 0.114)
"""Shares of red, green and blue in a grey value (ITU-R BT.601), as Pillow has them."""


class ExternalPrior:
    """Statistics of *another* network, whose data were other data: images that look like those.

    The images go through that network as well, scaled to its size and brought to its channels.

    Args:
        teacher: the other network; has a prior of its own.
        spec: the images that are compared.
        source: what it is called in lines and manifests.

    Raises:
        DfkdError: it remembers nothing itself, or its channels cannot be had.
    """

    layers: Mapping[str, nn.Module] = {}

    def __init__(self, teacher: Any, spec: ImageSpec, source: str) -> None:
        if not teacher.remembers:
            raise DfkdError(
                f"{shown(source, 80)} has no batch-norm statistics to compare images with: name "
                "another network as `prior=external:MODEL`"
            )
        channels = {spec.channels, teacher.spec.channels}
        if len(channels) > 1 and channels != {1, 3}:
            raise DfkdError(
                f"{shown(source, 80)} takes images of {teacher.spec.channels} channels, and the "
                f"teacher's have {spec.channels}: name another network as `prior=external:MODEL`"
            )
        self.teacher, self._source, self._spec = teacher, shown(source, 100), spec

    @property
    def name(self) -> str:
        """``external``, and which network it is, weights included."""
        return f"external {self._source} {self.teacher.fingerprint()[:12]}"

    @property
    def told(self) -> str:
        """What is compared, in words."""
        line = f"batch-norm statistics of {self._source}: another network, trained on other data"
        if self._spec.shape == self.teacher.spec.shape:
            return line
        own, theirs = ("x".join(map(str, s.shape)) for s in (self._spec, self.teacher.spec))
        return f"{line}; {own} images are brought to its {theirs}"

    def on(self, network: nn.Module) -> "ExternalPrior":
        """Return itself: it reads nothing of the teacher."""
        return self

    @contextmanager
    def open(self) -> Iterator[Recording]:
        """Raise a ``DfkdError``: without images there is nothing to record."""
        raise DfkdError("an external prior looks at the images: open it on them")
        yield

    @contextmanager
    def open_on(self, images: Tensor) -> Iterator[Recording]:
        """Show the other network the images, and record what its own prior does."""
        if self.teacher.device != images.device:
            self.teacher.to(images.device)
        trace = self.teacher.trace(self._converted(images), statistics=True)
        yield _Recorded(tuple(trace.statistics))

    def distance(self, record: Any) -> Tensor:
        """Return the other network's distance."""
        found: Tensor = self.teacher.prior.distance(record)
        return found

    def relative_distance(self, record: Any) -> Tensor:
        """Return the other network's, free of its scale."""
        found: Tensor = self.teacher.prior.relative_distance(record)
        return found

    def _converted(self, images: Tensor) -> Tensor:
        channels, *size = self.teacher.spec.shape
        if images.shape[1] == 3 and channels == 1:
            weights = images.new_tensor(GREY).view(1, 3, 1, 1)
            images = (images * weights).sum(1, keepdim=True)
        elif images.shape[1] == 1 and channels == 3:
            images = images.expand(-1, 3, -1, -1)
        if list(images.shape[2:]) == size:
            return images
        scaled = F.interpolate(images, size, mode="bilinear", antialias=True, align_corners=False)
        return scaled.clamp(0, 1)


class _Recorded:
    def __init__(self, record: tuple[LayerStatistics, ...]) -> None:
        self._record = record

    def finished(self) -> tuple[LayerStatistics, ...]:
        """Return the other network's record, its layers named as such."""
        return tuple(one._replace(name=f"external {one.name}") for one in self._record)

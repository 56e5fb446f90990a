"""Images from Python: tensors, data sets and loaders, checked at the first batch and streamed."""

from collections.abc import Iterable, Iterator
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dfkd.datasets.images import GivenImages, LabelledImages
from dfkd.errors import DfkdError
from dfkd.teacher.spec import ImageSpec

_LOADER_BATCH = 256
"""Images of a batch that a data set is read in."""

_DATA_FORMS = "tensors (images, labels), a Dataset, a DataLoader, or what dfkd.load_data returns"


class ImageData(Protocol):
    """Labelled images that can be read as often as need be.

    Attributes:
        name: what messages and the manifest call them.
        labels: int64 N, in the order of the latest reading.
    """

    @property
    def name(self) -> str: ...

    @property
    def labels(self) -> Tensor: ...

    @property
    def shape(self) -> tuple[int, ...]:
        """Channels, height and width."""

    @property
    def highest(self) -> int:
        """The largest label that has been read."""

    def __len__(self) -> int: ...

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Read all once: N x C x H x W images, uint8 or float in [0, 1], and N labels."""

    def select(self, places: Tensor) -> LabelledImages:
        """Return the images at these places of one reading."""


class StreamedImages:
    """``ImageData`` of a loader; of its images only one batch is in memory.

    Args:
        loader: batches of (images, labels), anew whenever it is iterated over.
        shape: that every image must have.
        name: what messages call them.

    Raises:
        DfkdError: the first batch is not images in [0, 1] of that shape with labels.
    """

    def __init__(self, loader: Iterable[Any], shape: tuple[int, ...], name: str) -> None:
        self.shape, self.name, self._loader = shape, name, loader
        self._labels: Tensor | None = None
        self.highest = 0
        if next(self._read(), None) is None:
            raise DfkdError(f"{name} holds no images")

    @property
    def labels(self) -> Tensor:
        """All labels; read once where nothing has been read yet."""
        if self._labels is None:
            for _ in self.batches():
                pass
        assert self._labels is not None
        return self._labels

    def __len__(self) -> int:
        return len(self.labels)

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Read all once, and remember the labels."""
        seen = []
        for images, labels in self._read():
            seen.append(labels)
            yield images, labels
        self._labels = torch.cat(seen)

    def select(self, places: Tensor) -> LabelledImages:
        """Return the images at these places of one reading."""
        images, labels, start = [], [], 0
        for batch, own in self.batches():
            here = places[(places >= start) & (places < start + len(own))] - start
            images.append(batch[here])
            labels.append(own[here])
            start += len(own)
        return LabelledImages(torch.cat(images), torch.cat(labels), self.name)

    def _read(self) -> Iterator[tuple[Tensor, Tensor]]:
        try:
            for batch in self._loader:
                images, labels = _pair(batch, self.name)
                _check(images, labels, self.shape, self.name)
                self.highest = max(self.highest, int(labels.max()))
                yield images, labels.long()
        except TypeError as error:  # of torch's collation: pictures that are no tensors yet
            reason = str(error).partition("\n")[0][:120]
            raise DfkdError(f"{self.name} cannot be read ({reason}): give tensors") from None


def as_images(data: Any, spec: ImageSpec, name: str = "evaluation") -> ImageData:
    """Return labelled images from whatever form Python has them in.

    Args:
        data: tensors (images, labels), images being uint8 or float in [0, 1] and N x C x H x W;
            a ``Dataset`` or ``DataLoader`` of such, which is streamed; or what ``load_data`` gives.
        spec: the images that the networks take.
        name: what messages call images without a name of their own.

    Raises:
        DfkdError: another form, no labels, another shape, or values outside [0, 1].
    """
    if isinstance(data, (LabelledImages, StreamedImages)):
        return data
    if isinstance(data, GivenImages) and data.labels is not None:
        return LabelledImages(data.images, data.labels, data.name, data.reading)
    if isinstance(data, tuple) and len(data) == 2 and all(map(torch.is_tensor, data)):
        images, labels = data
        _check(images, labels, spec.shape, name)
        return LabelledImages(images.cpu(), labels.cpu().long(), name)
    if isinstance(data, DataLoader):
        return StreamedImages(data, spec.shape, _name(data.dataset, name))
    if isinstance(data, Dataset):
        return StreamedImages(
            DataLoader(data, batch_size=_LOADER_BATCH), spec.shape, _name(data, name)
        )
    raise DfkdError(f"`{name}` takes {_DATA_FORMS}, not a {type(data).__name__}")


def as_given_images(data: Any, spec: ImageSpec, name: str = "images") -> GivenImages:
    """Return images to learn from, all of them in memory as bytes; see ``as_images``.

    Args:
        data: as there; a single tensor has no labels.
        spec: the shape that the images must have.
        name: what messages call them.
    """
    if isinstance(data, GivenImages):
        given = data
    elif torch.is_tensor(data):
        _check(data, None, spec.shape, name)
        given = GivenImages(_bytes(data), None, name)
    else:
        found = as_images(data, spec, name)
        parts = ((_bytes(batch), own) for batch, own in found.batches())
        images, labels = map(torch.cat, zip(*parts, strict=True))
        given = GivenImages(images, labels, found.name)
    _check(given.images, given.labels, spec.shape, given.name)
    return given


def _bytes(images: Tensor) -> Tensor:
    if images.dtype == torch.uint8:
        return images.cpu()
    return images.cpu().float().mul(255).round().to(torch.uint8)


def _name(dataset: Any, otherwise: str) -> str:
    kind = type(dataset).__name__
    return otherwise if kind in ("TensorDataset", "Subset") else kind


def _pair(batch: Any, name: str) -> tuple[Tensor, Tensor]:
    if isinstance(batch, (list, tuple)) and len(batch) == 2 and all(map(torch.is_tensor, batch)):
        return batch[0], batch[1]
    raise DfkdError(f"a batch of {name} must be (images, labels), not a {type(batch).__name__}")


def _check(images: Tensor, labels: Tensor | None, shape: tuple[int, ...], name: str) -> None:
    """Raise unless these are images of that shape in [0, 1], or bytes, and labels a class each."""
    if images.ndim != 4 or tuple(images.shape[1:]) != shape or not len(images):
        have, want = ("x".join(map(str, numbers)) for numbers in (images.shape, shape))
        raise DfkdError(f"{name} holds {have} images and the model takes N x {want}")
    if images.dtype != torch.uint8:
        if not images.is_floating_point():
            raise DfkdError(f"the images of {name} must be uint8 or float, not {images.dtype}")
        low, high = float(images.min()), float(images.max())
        if not 0 <= low <= high <= 1:
            raise DfkdError(
                f"the images of {name} must lie in [0, 1] and reach from {low:.3g} to {high:.3g}: "
                "give them before they are normalised"
            )
    if labels is None:
        return
    if labels.ndim == 2 and labels.shape[1] > 1 and len(labels) == len(images):
        if bool(((labels == 0) | (labels == 1)).all()):
            return
        raise DfkdError(f"the labels of {name} must be N classes, or N x labels of 0 and 1")
    if labels.shape != (len(images),) or labels.is_floating_point() or int(labels.min()) < 0:
        raise DfkdError(f"the labels of {name} must be N classes counted from 0, as integers")

"""DATA URIs: labelled images to evaluate on. Never used for training or selection."""

import gzip
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from dfkd.errors import DfkdError, nearest
from dfkd.loading.artefact import bundled_file
from dfkd.spec import ImageSpec

FORMS = "npz:FILE, folder:DIR, idx:DIR or bundled:NAME"


@dataclass(frozen=True)
class LabelledImages:
    """``images`` uint8 N x C x H x W, ``labels`` int64 N, and the URI they came from."""

    images: Tensor
    labels: Tensor
    name: str

    def __len__(self) -> int:
        return len(self.labels)


def load_data(
    uri: str, spec: ImageSpec | None = None, class_names: Sequence[str] = ()
) -> LabelledImages:
    """The labelled images that a DATA URI names, all of them in memory.

    Args:
        uri: ``npz:FILE``, ``folder:DIR``, ``idx:DIR`` or ``bundled:NAME``.
        spec: size and channels to which the pictures of a folder are brought
            (scaled to cover, then cropped around the centre).
        class_names: the order of the classes, for a folder whose directories are so named.

    Raises:
        DfkdError: not a DATA URI, nothing there, or malformed.
    """
    kind, _, place = uri.partition(":")
    if kind not in ("npz", "folder", "idx", "bundled") or not place:
        raise DfkdError(f"not DATA: {uri!r}; write {FORMS}")
    if kind == "folder":
        return read_folder(Path(place).expanduser(), spec, class_names, uri)
    if kind == "idx":
        images, labels = _read_idx_folder(Path(place).expanduser())
    else:
        path = bundled_file(place, "_test.npz") if kind == "bundled" else Path(place).expanduser()
        images, labels = _read_npz(path)
    return _labelled(images, labels, uri)


def check_fits(data: LabelledImages, spec: ImageSpec, num_classes: int | None = None) -> None:
    """Raise unless a network of ``spec`` and ``num_classes`` can be measured on ``data``."""
    shape = tuple(data.images.shape[1:])
    if shape != spec.shape:
        have, want = ("x".join(map(str, numbers)) for numbers in (shape, spec.shape))
        raise DfkdError(f"{data.name} holds {have} images and the model takes {want}")
    highest = int(data.labels.max())
    if num_classes is not None and highest >= num_classes:
        raise DfkdError(f"{data.name} has label {highest} and the model has {num_classes} classes")


def pixels(images: Any, name: str) -> Tensor:
    """An array N x H x W or N x H x W x C, checked, as uint8 N x C x H x W."""
    if images.dtype != np.uint8:
        raise DfkdError(f"the images of {name} must be uint8 (0 to 255), not {images.dtype}")
    if images.ndim not in (3, 4) or 0 in images.shape:
        raise DfkdError(f"the images of {name} must be N x H x W (x C), not {images.shape}")
    if images.ndim == 4 and images.shape[1] in (1, 3) and images.shape[3] not in (1, 3):
        raise DfkdError(f"the images of {name} must have channels last, not {images.shape}")
    first = images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2)
    return torch.from_numpy(np.array(first))


def _labelled(images: Any, labels: Any, name: str) -> LabelledImages:
    """Arrays as ``pixels`` takes them, and N labels, checked."""
    found = pixels(images, name)
    if labels.dtype.kind not in "iu" or labels.ndim != 1:
        raise DfkdError(
            f"the labels of {name} must be N integers, not {labels.shape} {labels.dtype}"
        )
    if len(labels) != len(images):
        raise DfkdError(f"{name} holds {len(images)} images and {len(labels)} labels")
    if labels.min() < 0:
        raise DfkdError(f"{name} has a negative label ({labels.min()}); classes count from 0")
    return LabelledImages(found, torch.from_numpy(labels.astype(np.int64)), name)


def _read_npz(path: Path) -> tuple[Any, Any]:
    if not path.is_file():
        raise DfkdError(f"no file {str(path)!r}")
    try:
        with np.load(path, allow_pickle=False) as file:
            absent = [key for key in ("images", "labels") if key not in file]
            if absent:
                held = ", ".join(file) or "nothing"
                raise DfkdError(f"{path} has no {' and no '.join(absent)}; it holds {held}")
            return file["images"], file["labels"]
    # Whatever a damaged header makes numpy and zipfile raise; the last of them is zipfile's word
    # for a compression or encryption that it cannot undo.
    except (OSError, ValueError, EOFError, TypeError, AttributeError, NotImplementedError) as error:
        raise DfkdError(f"{path} is no whole .npz of plain arrays ({error})") from None
    except (zipfile.BadZipFile, zlib.error) as error:
        raise DfkdError(f"{path} is damaged ({error}); fetch it again") from None


def _read_idx_folder(folder: Path) -> tuple[Any, Any]:
    """The test set of the MNIST layout, else its training set."""
    for part in ("t10k", "train"):
        found = [
            next((path for path in folder.glob(f"{part}-{kind}*") if path.is_file()), None)
            for kind in ("images", "labels")
        ]
        if found[0] is not None and found[1] is not None:
            return _read_idx(found[0]), _read_idx(found[1])
    raise DfkdError(
        f"{str(folder)!r} holds no MNIST layout: t10k-images-idx3-ubyte and "
        "t10k-labels-idx1-ubyte (or train-..., or .gz)"
    )


def _read_idx(path: Path) -> Any:
    """One IDX array of bytes: two zeros, type 8, dimensions, their sizes, then the data."""
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise DfkdError(f"{path} is no whole gzip file ({error}); fetch it again") from None
    start = 4 + 4 * content[3] if len(content) >= 4 else 4
    if content[:3] != b"\x00\x00\x08" or len(content) < start:
        raise DfkdError(f"{path} is no IDX file of bytes")
    shape = tuple(map(int, np.frombuffer(content[4:start], ">i4")))
    expected = int(np.prod(shape, dtype=object)) if min(shape, default=0) > 0 else -1
    if len(content) - start != expected:
        raise DfkdError(
            f"{path} should hold {shape} bytes and holds {len(content) - start}; fetch it again"
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def read_folder(
    folder: Path, spec: ImageSpec | None, class_names: Sequence[str], name: str
) -> LabelledImages:
    from torchvision.datasets import ImageFolder

    try:
        listing = ImageFolder(str(folder))
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise DfkdError(f"{name} holds no pictures in one directory a class ({reason})") from None
    numbers = _class_numbers(listing.classes, class_names)
    images = [read_picture(path, spec) for path, _ in listing.samples]
    odd = next((image.shape for image in images if image.shape != images[0].shape), None)
    if odd is not None:
        raise DfkdError(f"{name} holds pictures of several sizes, and no size was asked for")
    labels = [numbers[listing.classes[index]] for _, index in listing.samples]
    return _labelled(np.stack(images), np.array(labels), name)


def _class_numbers(folders: Sequence[str], class_names: Sequence[str]) -> dict[str, int]:
    """By name where classes are known by name, by number where all are numbers, else sorted."""
    known = {label: index for index, label in enumerate(class_names)}
    strangers = [folder for folder in folders if folder not in known]
    if known and not strangers:
        return {folder: known[folder] for folder in folders}
    if known and len(strangers) < len(folders):
        raise DfkdError(f"no class is called {strangers[0]!r}{nearest(strangers[0], known)}")
    if all(folder.isascii() and folder.isdigit() for folder in folders):
        return {folder: int(folder) for folder in folders}
    return {folder: index for index, folder in enumerate(folders)}


def read_picture(path: str, spec: ImageSpec | None) -> Any:
    try:
        with Image.open(path) as picture:
            mode = "L" if spec is not None and spec.channels == 1 else "RGB"
            image = picture.convert(mode)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DfkdError(f"{path} is no picture that can be read ({error})") from None
    if spec is not None:
        image = ImageOps.fit(image, (spec.width, spec.height), Image.Resampling.BILINEAR)
    return np.asarray(image)

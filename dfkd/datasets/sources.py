"""DATA URIs: labelled images to evaluate on. Never used for training or selection."""

import gzip
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dfkd.datasets.class_labels import class_indices
from dfkd.datasets.crops import read_crops
from dfkd.datasets.folder import read_folder
from dfkd.datasets.images import GivenImages, LabelledImages, Reading, of_subset
from dfkd.datasets.intensity import to_intensities
from dfkd.datasets.layout import find_arrangement
from dfkd.datasets.npz import read_npz
from dfkd.datasets.written import WrittenSet
from dfkd.errors import DfkdError
from dfkd.loading.artefact import bundled_file
from dfkd.loading.data_uri import DataURI, parse_data_uri
from dfkd.tasks.subset import Subset
from dfkd.tasks.words import shown
from dfkd.teacher.spec import ImageSpec

_UNLABELLED = {
    "folder": "holds pictures beside each other, and not all names say their class: make one "
    "directory a class, or name them like 00012_class7.png",
    "npz": "has no labels: name their array, `?labels=KEY`",
    "crops": "is foreign data, which has no labels: no accuracy is measured on it",
}


def load_data(
    uri: str,
    spec: ImageSpec | None = None,
    class_names: Sequence[str] = (),
    subset: Subset | None = None,
) -> LabelledImages:
    """Load the labelled images that a DATA URI names, all of them into memory.

    Args:
        uri: ``npz:FILE``, ``folder:DIR``, ``idx:DIR``, ``set:DIR`` (a written dataset) or
            ``bundled:NAME``; where a file does not say enough, with options
            (``npz:FILE?images=KEY&labels=KEY&layout=first&max=4095``).
        spec: size and channels to which the pictures of a folder are brought
            (scaled to cover, then cropped around the centre); it decides between layouts of arrays.
        class_names: the model's classes in their order. The directories of a folder are classes
            by name (``dfkd.tasks.labels``); without it only by number.
        subset: of the teacher's classes, as ``load_teacher(only_classes=...)`` chose them: images
            of others are left out, and labels count among those that stay.

    Returns:
        Images as bytes, or as float32 in [0, 1] where the files hold more than bytes.

    Raises:
        DfkdError: not a DATA URI, nothing there, malformed, without labels, or directories whose
            classes are not known.
    """
    parsed = parse_data_uri(uri)
    found = read_data(parsed, uri, spec, subset.of if subset else class_names)
    if found.foreign:
        raise DfkdError(f"{shown(uri, 150)} is foreign data: no accuracy is measured on it")
    if found.labels is None:
        raise DfkdError(f"{shown(found.name, 100)} {_UNLABELLED.get(uri.partition(':')[0], '')}")
    found = in_subset(found, parsed, subset)
    assert found.labels is not None
    return LabelledImages(found.images, found.labels, found.name, found.reading)


def read_data(
    uri: DataURI, name: str, spec: ImageSpec | None, class_names: Sequence[str]
) -> GivenImages:
    """Read what a DATA URI names, with labels where it has any; arguments as ``load_data``'s."""
    kind, place = uri.kind, path_of(uri.place)
    if kind == "folder":
        return read_folder(place, spec, class_names, name, uri)
    if kind == "crops":
        return read_crops(place, uri, spec, name)
    if kind == "set":
        data = WrittenSet(place).load()
        return GivenImages(data.images, data.labels, data.name, data.reading)
    if kind == "idx":
        return _read_idx_folder(place, uri, name)
    path = bundled_file(uri.place, "_test.npz") if kind == "bundled" else place
    return read_npz(path, uri, spec, class_names, name)


def in_subset(found: GivenImages, uri: DataURI, subset: Subset | None) -> GivenImages:
    """Leave out images of other classes; a set that was made of these counts among them already."""
    if subset is None:
        return found
    if uri.kind == "set" and WrittenSet(path_of(uri.place)).manifest.class_names == subset.names:
        return found
    return of_subset(found, subset)


def path_of(place: str) -> Path:
    """Return the path that a DATA URI names; ``~`` at its start is the user's home."""
    try:
        return Path(place).expanduser()
    except RuntimeError as error:
        raise DfkdError(f"{shown(place, 100)}: {error}") from None


def _read_idx_folder(folder: Path, uri: DataURI, name: str) -> GivenImages:
    """The test set of the MNIST layout, else its training set."""
    for part in ("t10k", "train"):
        found = [
            next((path for path in folder.glob(f"{part}-{kind}*") if path.is_file()), None)
            for kind in ("images", "labels")
        ]
        if found[0] is not None and found[1] is not None:
            return _of_arrays(_read_idx(found[0]), _read_idx(found[1]), uri, name)
    raise DfkdError(
        f"{str(folder)!r} holds no MNIST layout: t10k-images-idx3-ubyte and "
        "t10k-labels-idx1-ubyte (or train-..., or .gz)"
    )


def _of_arrays(images: Any, labels: Any, uri: DataURI, name: str) -> GivenImages:
    how = find_arrangement(images.shape[1:], None, "", name)
    first = how.arrange(images)
    found, white = to_intensities([first], first.shape, images.dtype, uri.white, name)
    indices, said = class_indices(labels, len(found), (), name)
    notes = tuple(filter(None, (white.note, said)))
    return GivenImages(
        found, torch.from_numpy(indices), name, Reading(notes=notes), foreign=uri.foreign
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

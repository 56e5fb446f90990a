"""DATA URIs: labelled images to evaluate on. Never used for training or selection."""

import gzip
import os
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dfkd.datasets.folder import read_folder
from dfkd.datasets.images import GivenImages, LabelledImages, labelled
from dfkd.datasets.written import WrittenSet
from dfkd.errors import DfkdError
from dfkd.loading.artefact import bundled_file
from dfkd.tasks.words import shown
from dfkd.teacher.spec import ImageSpec

_URI_FORMS = "npz:FILE, folder:DIR, idx:DIR, set:DIR or bundled:NAME"


def load_data(
    uri: str, spec: ImageSpec | None = None, class_names: Sequence[str] = ()
) -> LabelledImages:
    """Load the labelled images that a DATA URI names, all of them into memory.

    Args:
        uri: ``npz:FILE``, ``folder:DIR``, ``idx:DIR``, ``set:DIR`` (a written dataset) or
            ``bundled:NAME``.
        spec: size and channels to which the pictures of a folder are brought
            (scaled to cover, then cropped around the centre).
        class_names: the model's classes in their order. The directories of a folder are classes
            by name (``dfkd.tasks.labels``); without it only by number.

    Raises:
        DfkdError: not a DATA URI, nothing there, malformed, or directories whose classes are not
            known.
    """
    kind, _, place = uri.partition(":")
    if kind not in ("npz", "folder", "idx", "set", "bundled") or not place:
        raise DfkdError(f"not DATA: {uri!r}; write {_URI_FORMS}")
    if kind == "folder":
        return _with_labels(read_folder(path_of(place), spec, class_names, uri))
    if kind == "set":
        return WrittenSet(path_of(place)).load()
    if kind == "idx":
        images, labels = _read_idx_folder(path_of(place))
    else:
        path = bundled_file(place, "_test.npz") if kind == "bundled" else path_of(place)
        images, labels = _read_npz(path)
    return labelled(images, labels, uri)


def path_of(place: str) -> Path:
    """Return the path that a DATA URI names; ``~`` at its start is the user's home."""
    try:
        return Path(place).expanduser()
    except RuntimeError as error:
        raise DfkdError(f"{shown(place, 100)}: {error}") from None


def _with_labels(found: GivenImages) -> LabelledImages:
    if found.labels is None:
        raise DfkdError(
            f"{shown(found.name, 100)} holds pictures beside each other, and not all names say "
            "their class: make one directory a class, or name them like 00012_class7.png"
        )
    return LabelledImages(found.images, found.labels, found.name, found.reading)


def _read_npz(path: Path) -> tuple[Any, Any]:
    if not os.path.isfile(path):
        raise DfkdError(f"no file {shown(path, 200)!r}")
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

"""Arrays in ``.npz`` files: found by their names, read in pieces, converted on the way."""

import math
import os
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dfkd.datasets.class_labels import class_indices
from dfkd.datasets.images import GivenImages, Reading
from dfkd.datasets.intensity import to_intensities
from dfkd.datasets.layout import find_arrangement
from dfkd.errors import DfkdError, nearest
from dfkd.loading.data_uri import DataURI
from dfkd.tasks.words import first_few, shown
from dfkd.teacher.spec import ImageSpec

PIECE = 1 << 24
"""Bytes that are read at once."""

ARRAY_NAMES = (
    ("images", "labels"), ("x_test", "y_test"), ("X_test", "y_test"),
    ("test_images", "test_labels"), ("x_val", "y_val"), ("val_images", "val_labels"),
    ("x", "y"), ("X", "Y"), ("X", "y"), ("data", "target"), ("data", "targets"),
    ("data", "labels"), ("image", "label"), ("x_train", "y_train"),
    ("train_images", "train_labels"), ("arr_0", "arr_1"),
)  # fmt: skip
"""Names of images and labels, the first that are there; test sets come before training sets."""


@dataclass(frozen=True)
class Header:
    """What a file says of one of its arrays before anything of it is read."""

    shape: tuple[int, ...]
    dtype: Any
    columns: bool
    size: int


def read_npz(
    path: Path, uri: DataURI, spec: ImageSpec | None, class_names: Sequence[str], name: str
) -> GivenImages:
    """Read images, and labels where there are any.

    Args:
        path: the file.
        uri: its options say what arrays, layout and range are, where nothing else does.
        spec: of the model; its channels decide between layouts.
        class_names: of the model, for labels that are words.
        name: what messages call the file.

    Raises:
        DfkdError: no such file or arrays, or some that are no images or labels.
    """
    if not os.path.isfile(path):
        raise DfkdError(f"no file {shown(path, 200)!r}")
    try:
        with zipfile.ZipFile(path) as file:
            return _read(file, uri, spec, class_names, name)
    except DfkdError:
        raise
    # Whatever a damaged header makes numpy and zipfile raise; the last of them is zipfile's word
    # for a compression or encryption that it cannot undo.
    except (zipfile.BadZipFile, zlib.error) as error:
        if zipfile.is_zipfile(path):
            raise DfkdError(f"{path} is damaged ({error}); fetch it again") from None
        raise DfkdError(f"{path} is no whole .npz of plain arrays ({error})") from None
    except (
        OSError, ValueError, EOFError, TypeError, AttributeError, RuntimeError, SyntaxError,
        NotImplementedError,
    ) as error:  # fmt: skip
        raise DfkdError(f"{path} is no whole .npz of plain arrays ({shown(error, 80)})") from None
    except MemoryError:
        raise DfkdError(f"{path} holds more than memory takes: bring part of it") from None


def _read(
    file: zipfile.ZipFile,
    uri: DataURI,
    spec: ImageSpec | None,
    class_names: Sequence[str],
    name: str,
) -> GivenImages:
    headers = {
        member.filename.removesuffix(".npy"): _header(file, member)
        for member in file.infolist()
        if member.filename.endswith(".npy")
    }
    images, labels, note = _choose(headers, uri.options, name)
    header = headers[images]
    if any(headers[key].dtype.hasobject for key in (images, labels) if key):
        raise ValueError("it holds objects, which are not read")
    if not header.shape or 0 in header.shape:
        raise DfkdError(f"the images of {name} must be N x H x W (x C), not {header.shape}")
    how = find_arrangement(header.shape[1:], spec, uri.layout, name)
    pieces = (how.arrange(piece) for piece in _pieces(file, images, header))
    shape = (header.shape[0], *how.shape)
    found, white = to_intensities(pieces, shape, header.dtype, uri.white, name)
    notes = [note, how.note, white.note]
    indices = None
    if labels is not None and not uri.foreign:
        whole = np.concatenate([*_pieces(file, labels, headers[labels])])
        values, said = class_indices(whole, len(found), class_names, name)
        indices, notes = torch.from_numpy(values), [*notes, said]
    reading = Reading("nothing" if indices is None else "number", notes=tuple(filter(None, notes)))
    return GivenImages(found, indices, name, reading, uri.foreign)


def _header(file: zipfile.ZipFile, member: zipfile.ZipInfo) -> Header:
    with file.open(member) as stream:
        shape, columns, dtype = _next_header(stream)
        size = math.prod(shape) * dtype.itemsize
        if min(shape, default=0) < 0 or size > member.file_size:
            raise ValueError(f"{member.filename} is shorter than it says")
        return Header(shape, dtype, columns, size)


def _pieces(file: zipfile.ZipFile, key: str, header: Header) -> Iterator[Any]:
    """Yield an array some rows at a time; one that lies column by column, at once."""
    shape, dtype = header.shape, header.dtype
    if not shape:
        raise ValueError(f"{shown(key)} is a single value")
    if 0 in shape:
        yield np.empty(shape, dtype)
        return
    with file.open(f"{key}.npy") as stream:
        _next_header(stream)
        if header.columns and len(shape) > 1:
            whole = np.frombuffer(_exactly(stream, header.size), dtype)
            yield whole.reshape(shape[::-1]).transpose()
            return
        row = math.prod(shape[1:]) * dtype.itemsize
        step = max(1, PIECE // max(1, row))
        for start in range(0, shape[0], step):
            count = min(step, shape[0] - start)
            piece = np.frombuffer(_exactly(stream, count * row), dtype)
            yield piece.reshape(count, *shape[1:])


def _next_header(stream: Any) -> tuple[tuple[int, ...], bool, Any]:
    """Read shape, whether columns come first, and type; the data begin behind it."""
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        shape, columns, dtype = np.lib.format.read_array_header_1_0(stream)
    elif version == (2, 0):
        shape, columns, dtype = np.lib.format.read_array_header_2_0(stream)
    else:
        raise ValueError(f"an array of version {version}")
    return shape, columns, dtype


def _exactly(stream: Any, size: int) -> bytes:
    data: bytes = stream.read(size)
    if len(data) < size:
        raise EOFError("it ends too early")
    return data


def _choose(
    headers: Mapping[str, Header], options: Mapping[str, str], name: str
) -> tuple[str, str | None, str]:
    """Return the names of images and labels, and a note where they are not called so."""
    label = shown(name, 90)
    held = first_few(headers, 8) or "nothing"
    for option in ("images", "labels"):
        key = options.get(option)
        if key is not None and key not in headers:
            raise DfkdError(f"{label} has no array {shown(key)!r}{nearest(key, headers)}")
    if "images" in options:
        images = options["images"]
        labels = options.get("labels") or dict(ARRAY_NAMES).get(images)
        return images, labels if labels in headers else None, ""
    pair = next((pair for pair in ARRAY_NAMES if all(key in headers for key in pair)), None)
    if pair is None and len(headers) == 2:
        ordered = sorted(headers, key=lambda key: -len(headers[key].shape))
        deep, flat = (len(headers[key].shape) for key in ordered)
        pair = (ordered[0], ordered[1]) if deep > 2 and flat < 3 else None
    if pair is None:
        alone = [key for key, _ in ARRAY_NAMES if key in headers] or [*headers]
        if len(headers) == 1 or "images" in headers:
            return alone[0], options.get("labels"), ""
        raise DfkdError(
            f"{label} holds {held}: say which arrays are which, `?images=KEY&labels=KEY`"
        )
    others = len(headers) > 2
    note = f"{pair[0]} and {pair[1]}" + f" of {held}" * others if pair[0] != "images" else ""
    return pair[0], options.get("labels", pair[1]), note

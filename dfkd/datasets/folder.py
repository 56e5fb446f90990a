"""Folders of pictures: one directory a class, or the pictures that ``dfkd invert`` wrote."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from dfkd.datasets.images import Assigned, GivenImages, Reading, pixels
from dfkd.datasets.inverted import classes_in_names
from dfkd.datasets.listing import ENDINGS, Listing, look_into
from dfkd.errors import DfkdError
from dfkd.tasks.labels import REMEDY, match, why_not
from dfkd.tasks.words import first_few, shown, skipped_files
from dfkd.teacher.spec import ImageSpec

_FORMATS = tuple(sorted(set(ENDINGS.values())))
"""What Pillow may take a file for, whatever its ending: some other formats start programs."""

_SPLITS = {"train", "training", "val", "valid", "validation", "test", "testing", "dev", "eval"}


def read_folder(
    folder: Path, spec: ImageSpec | None, class_names: Sequence[str], name: str
) -> GivenImages:
    """Read the pictures of a folder, all of them into memory.

    Args:
        folder: pictures, or a directory of them for each class.
        spec: size and channels to which they are brought.
        class_names: what the model's classes are called; a directory is one of them by name.
        name: what messages call the folder.

    Returns:
        Labels by directory; of pictures without directories by names such as
        ``00012_class7.png``, and None where not all have such a name.

    Raises:
        DfkdError: no pictures, or some that cannot be read or whose class is not known.
    """
    label = shown(name, 60)
    try:
        listing = look_into(folder)
    except DfkdError as error:
        raise DfkdError(f"{label}: {error}") from None
    _check_pictures(listing, label)
    if listing.beside:
        paths = list(listing.beside)
        known = classes_in_names(paths, class_names)
        how = "nothing" if known is None else "file name"
        reading = Reading(how, skipped=dict(listing.skipped))
    else:
        reading = _by_directory(listing, class_names, label)
        paths = [path for each in reading.classes for path in listing.classes[each.directory]]
        known = [each.label for each in reading.classes for _ in listing.classes[each.directory]]
    pictures = [read_picture(path, spec) for path in paths]
    if any(picture.shape != pictures[0].shape for picture in pictures):
        raise DfkdError(f"{label} holds pictures of several sizes, and no size was asked for")
    labels: Tensor | None = None if known is None else torch.tensor(known)
    return GivenImages(pixels(np.stack(pictures), name), labels, name, reading)


def read_picture(path: Path, spec: ImageSpec | None) -> Any:
    """Read a picture, scaled to cover ``spec`` and cropped to its centre: H x W (x 3) bytes."""
    try:
        with Image.open(path, formats=_FORMATS) as picture:
            mode = "L" if spec is not None and spec.channels == 1 else "RGB"
            image = picture.convert(mode)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = "" if isinstance(error, UnidentifiedImageError) else f" ({shown(error, 100)})"
        raise DfkdError(f"{shown(path, 100)} is no picture that can be read{reason}") from None
    if spec is not None:
        image = ImageOps.fit(image, (spec.width, spec.height), Image.Resampling.BILINEAR)
    return np.asarray(image)


def _check_pictures(listing: Listing, label: str) -> None:
    """Raise unless there are pictures in directories, in each of them, or beside each other."""
    filled = [name for name, paths in listing.classes.items() if paths]
    skipped = skipped_files(listing.skipped)
    if listing.beside and filled:
        raise DfkdError(
            f"{label} holds pictures ({shown(listing.beside[0].name)}) and directories of "
            f"pictures ({shown(filled[0])}): are they classes? leave one kind there"
        )
    if not listing.beside and not filled:
        raise DfkdError(
            f"{label} holds no pictures{skipped}: put {', '.join(ENDINGS)} in one directory a class"
        )
    empty = [name for name in listing.classes if name not in filled]
    if not listing.beside and empty:
        raise DfkdError(
            f"{label} holds directories without pictures: {first_few(empty)}{skipped}; fill or "
            "remove them"
        )


def _by_directory(listing: Listing, class_names: Sequence[str], label: str) -> Reading:
    """Which class each directory is.

    Raises:
        DfkdError: no rule says so of all of them, or they are parts of a data set, not classes.
    """
    names = list(listing.classes)
    found = match(names, class_names)
    parts = all(name.lower() in _SPLITS for name in names)
    if listing.deep and (found is None or found.how == "number" or parts):
        raise DfkdError(
            f"{label} holds {first_few(names, 3)}, and the pictures one level deeper: name one of "
            f"them, {shown(f'{label}/{names[-1]}', 80)}"
        )
    if found is None:
        seen = why_not(names, class_names, ("directory", "directories"))
        remedy = REMEDY if class_names else "give class_names, the model's, in their order"
        raise DfkdError(f"{label}: {seen}; {remedy}")
    assigned = (
        Assigned(name, label, class_names[label] if class_names else name)
        for name, label in zip(names, found.indices, strict=True)
    )
    return Reading(found.how, tuple(assigned), dict(listing.skipped))

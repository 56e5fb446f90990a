"""Folders of pictures: one directory a class, or the pictures that ``dfkd invert`` wrote."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dfkd.datasets.images import Assigned, GivenImages, Reading
from dfkd.datasets.inverted import classes_in_names
from dfkd.datasets.listing import ENDINGS, Listing, look_into
from dfkd.datasets.pictures import Wanted, read_picture
from dfkd.errors import DfkdError
from dfkd.loading.data_uri import DataURI
from dfkd.tasks.labels import REMEDY, match, why_not
from dfkd.tasks.words import first_few, shown, skipped_files
from dfkd.teacher.spec import ImageSpec, dequantize

_SPLITS = {"train", "training", "val", "valid", "validation", "test", "testing", "dev", "eval"}


def read_folder(
    folder: Path,
    spec: ImageSpec | None,
    class_names: Sequence[str],
    name: str,
    uri: DataURI | None = None,
) -> GivenImages:
    """Read the pictures of a folder, all of them into memory.

    Args:
        folder: pictures, or a directory of them for each class.
        spec: size and channels to which they are brought.
        class_names: what the model's classes are called; a directory is one of them by name.
        name: what messages call the folder.
        uri: its options: the pictures' white, and whether they are foreign; these have no classes,
            whatever their directories are called.

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
    foreign = uri is not None and uri.foreign
    wanted = Wanted(spec, None if uri is None else uri.white)
    known: list[int] | None = None
    if foreign:
        paths = [*listing.beside, *(path for each in listing.classes.values() for path in each)]
        if not paths:
            raise DfkdError(_none_there(listing, label))
        reading = Reading("nothing", skipped=dict(listing.skipped))
    elif listing.beside:
        _check_pictures(listing, label)
        paths = list(listing.beside)
        known = classes_in_names(paths, class_names)
        how = "nothing" if known is None else "file name"
        reading = Reading(how, skipped=dict(listing.skipped))
    else:
        _check_pictures(listing, label)
        reading = _by_directory(listing, class_names, label)
        paths = [path for each in reading.classes for path in listing.classes[each.directory]]
        known = [each.label for each in reading.classes for _ in listing.classes[each.directory]]
    images, notes = _read(paths, wanted, label)
    labels = None if known is None else torch.tensor(known)
    return GivenImages(images, labels, name, replace(reading, notes=notes), foreign)


def _read(paths: Sequence[Path], wanted: Wanted, label: str) -> tuple[Tensor, tuple[str, ...]]:
    """All pictures as N x C x H x W, and how many of them were changed in which way."""
    changed: Counter[str] = Counter()
    images: Tensor | None = None
    for place, path in enumerate(paths):
        pixels, changes = read_picture(path, wanted)
        changed.update(changes)
        picture = torch.from_numpy(np.array(pixels.transpose(2, 0, 1)))
        if images is None:
            images = picture.new_empty(len(paths), *picture.shape)
        if picture.shape != images.shape[1:]:
            raise DfkdError(f"{label} holds pictures of several sizes, and no size was asked for")
        if picture.dtype != images.dtype:  # bytes beside others: 255 of them are 1
            picture = dequantize(picture) if picture.dtype == torch.uint8 else picture
            images = dequantize(images) if images.dtype == torch.uint8 else images
        images[place] = picture
    assert images is not None
    total = f"{len(paths):,} {'picture' if len(paths) == 1 else 'pictures'}"
    notes = (f"{count:,} of {total} {how}" for how, count in changed.most_common())
    return images, tuple(notes)


def _none_there(listing: Listing, label: str) -> str:
    skipped = skipped_files(listing.skipped)
    return f"{label} holds no pictures{skipped}: put {', '.join(ENDINGS)} in one directory a class"


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
        raise DfkdError(_none_there(listing, label))
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

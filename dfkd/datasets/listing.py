"""Which files of a folder are pictures, and whose: nothing is opened, and nothing counted twice."""

import os
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from dfkd.errors import DfkdError

ENDINGS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".bmp": "BMP",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".ppm": "PPM",
    ".pgm": "PPM",
}
"""Of files that are read, and Pillow's word for the format that each stands for."""


@dataclass(frozen=True)
class Listing:
    """What a folder holds.

    Attributes:
        beside: pictures directly in it.
        classes: pictures of each directory in it, by the directory's name, in its order.
        deep: no directory holds a picture itself; all lie further down.
        skipped: files that are no pictures, counted by ending, or by what they are instead.
    """

    beside: tuple[Path, ...]
    classes: dict[str, tuple[Path, ...]]
    deep: bool
    skipped: Counter[str]


def look_into(folder: Path) -> Listing:
    """List the pictures of a folder: those directly in it, and those of its directories.

    A directory may be a link. Links to directories further down are not followed, nor are those
    that lead to the folder itself or above it: they would come back to the same pictures.

    Raises:
        DfkdError: no such folder, one that cannot be listed, or two names of one directory.
    """
    skipped: Counter[str] = Counter()
    classes: dict[str, tuple[Path, ...]] = {}
    try:
        home = folder.resolve(strict=True)
        beside, directories = _sorted(folder, skipped, links=True)
        real = {directory.name: directory.resolve() for directory in directories}
        for directory in directories:
            if home.is_relative_to(real[directory.name]):
                skipped["link"] += 1
            else:
                classes[directory.name] = _below(directory, skipped)
    except OSError as error:
        raise DfkdError(f"no pictures can be read there ({error.strerror})") from None
    _check_apart({name: real[name] for name in classes})
    every = [path for paths in classes.values() for path in paths]
    deep = bool(every) and all(path.parent.parent != folder for path in every)
    return Listing(beside, classes, deep, skipped)


def _sorted(
    directory: Path, skipped: Counter[str], links: bool
) -> tuple[tuple[Path, ...], list[Path]]:
    """Pictures and directories of one directory, by name; ``links``: those to directories too."""
    pictures, directories = [], []
    with os.scandir(directory) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if entry.is_dir(follow_symlinks=links):
                if not entry.name.startswith("."):  # previews and the like, kept by programs
                    directories.append(Path(entry.path))
            elif (ending := Path(entry.name).suffix.lower()) in ENDINGS and entry.is_file():
                pictures.append(Path(entry.path))
            elif entry.is_dir():
                skipped["link"] += 1
            elif ending in ENDINGS:
                skipped["no plain file"] += 1  # a pipe would never come to its end
            elif not entry.name.startswith("."):
                skipped[ending or "no ending"] += 1
    return tuple(pictures), directories


def _below(directory: Path, skipped: Counter[str]) -> tuple[Path, ...]:
    """All pictures in a directory and those below it."""
    found: list[Path] = []
    waiting = [directory]
    while waiting:
        pictures, directories = _sorted(waiting.pop(), skipped, links=False)
        found += pictures
        waiting += directories
    return tuple(sorted(found, key=lambda path: (str(path.parent), path.name)))


def _check_apart(real: dict[str, Path]) -> None:
    """Raise where a directory is, or lies in, another one: its pictures would be of two classes."""
    ordered = sorted((path.parts, name) for name, path in real.items())
    for (above, name), (below, other) in pairwise(ordered):
        if below[: len(above)] == above:
            raise DfkdError(f"{name!r} and {other!r} in it hold the same pictures: leave one")

"""What commands write into a run's directory: how it is known again, and told from all else."""

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dfkd.training.files import PART

_Entries = list["os.DirEntry[str]"]


@dataclass(frozen=True)
class DirectoryLayout:
    """The names of the files and directories that one directory has.

    Attributes:
        files: a regular expression of names; unfinished files beside them count as well.
        folders: layouts of directories by regular expressions of their names.
        known: whether the content of a directory says that it is one of these.
        last: files that ``known`` looks at: removed last, so that a directory is known until then.
    """

    files: str = ""
    folders: Mapping[str, "DirectoryLayout"] = field(default_factory=dict)
    known: Callable[[Path], bool] = lambda _: True
    last: tuple[str, ...] = ()

    def has_file(self, name: str) -> bool:
        """Tell whether a file of that name is written here, or was about to be."""
        pattern = rf"(?:{self.files})(?:{PART}|\.tmp)?|tmp[a-z0-9_]{{8}}\.part"
        return bool(self.files and re.fullmatch(pattern, name))

    def folder(self, name: str) -> "DirectoryLayout | None":
        """Return the layout of a directory of that name; None where there is none."""
        return next((one for key, one in self.folders.items() if re.fullmatch(key, name)), None)

    def owns(self, entry: "os.DirEntry[str]") -> bool:
        """Tell whether an entry has a name of this layout, and is what that says and no link."""
        if entry.is_dir(follow_symlinks=False):
            return self.folder(entry.name) is not None
        return entry.is_file(follow_symlinks=False) and self.has_file(entry.name)


def listed(path: Path) -> _Entries:
    """List a directory's entries, sorted by name."""
    with os.scandir(path) as entries:
        return sorted(entries, key=lambda entry: entry.name)


def classify_entries(path: Path, layout: DirectoryLayout) -> Iterator[tuple[Path, bool]]:
    """Everything below ``path``, in an order in which it can be removed, with whether it is ours.

    Nothing is looked for behind links, nor in directories that are not of the layout. One of a
    layout that can be known by its content must be empty or known.
    """
    for entry in sorted(listed(path), key=lambda entry: entry.name in layout.last):
        place, inner = Path(entry.path), layout.folder(entry.name)
        ours = layout.owns(entry)
        if ours and inner is not None and entry.is_dir(follow_symlinks=False):
            ours = not listed(place) or inner.known(place)
            yield from classify_entries(place, inner) if ours else ()
        yield place, ours


def misplaced(path: Path, layout: DirectoryLayout) -> Path | None:
    """Find the first entry that a run would write to or through and that is a link or no file."""
    for entry in listed(path):
        inner, place = layout.folder(entry.name), Path(entry.path)
        if layout.has_file(entry.name) and not entry.is_file(follow_symlinks=False):
            return place
        if inner is not None and entry.is_symlink():
            return place
        if inner is not None and entry.is_dir() and (found := misplaced(place, inner)):
            return found
    return None


def _object(text: str) -> Mapping[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _says(path: Path, *keys: str) -> bool:
    """Whether a JSON file has what ``records.provenance`` writes, and ``keys``."""
    try:
        found = _object(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        return False
    versions = found.get("versions")
    return (
        isinstance(versions, dict)
        and "dfkd" in versions
        and found.keys() >= {"command", "started", *keys}
    )


def _is_run(path: Path) -> bool:
    """A finished run has its manifest; one that was killed its log."""
    return _says(path / "manifest.json", "recipe", "teacher_hash_before") or _was_begun(path)


def _was_begun(path: Path) -> bool:
    """There is a log whose first row has step and time, or no row yet and nothing besides."""
    try:
        with (path / "metrics.jsonl").open(encoding="utf-8") as file:
            line = file.readline(1_000_000)
    except (OSError, UnicodeDecodeError):
        return False
    if not line:
        return {entry.name for entry in listed(path)} <= {"metrics.jsonl", "tb", "checkpoint"}
    row = _object(line)
    return isinstance(row.get("step"), int) and isinstance(row.get("seconds"), (int, float))


def _is_comparison(path: Path) -> bool:
    return _says(path / "comparison.json", "settings", "teacher_hash")


RUN = DirectoryLayout(
    r"(manifest|result)\.(json|tmp)|metrics\.jsonl|report\.html|grid\.png|student\.safetensors"
    r"|images\.npz",
    {
        "checkpoint": DirectoryLayout(r"last\.pt"),
        "tb": DirectoryLayout(r"events\.out\.tfevents\..+"),
        "images": DirectoryLayout(r"\d{5,}_class\d+\.png"),
    },
    _is_run,
    ("metrics.jsonl", "manifest.json"),
)
"""``distill``, ``demo`` and ``invert``; versions before this one left ``manifest.tmp``."""

COMPARISON = DirectoryLayout(
    r"comparison\.(json|md|html|tmp)",
    {r"[\w.+-]+": DirectoryLayout(folders={r"seed_-?\d+": RUN})},
    _is_comparison,
    ("comparison.json",),
)
"""``compare``, with its runs in METHOD/seed_S."""

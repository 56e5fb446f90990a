"""Samples in tar files, as ``webdataset`` groups them; nothing is extracted to a disk."""

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from dfkd.datasets.listing import ENDINGS
from dfkd.errors import DfkdError
from dfkd.sets.exports.known import note_in
from dfkd.sets.exports.samples import VECTORS
from dfkd.sets.imports.arrays import decode_vector
from dfkd.sets.imports.incoming import (
    MOST_BYTES,
    IncomingSample,
    IncomingSet,
    PictureReader,
    as_label,
)
from dfkd.tasks.words import shown

_PICTURES = {*(ending[1:] for ending in ENDINGS), "npy"}
_TEXTS = {"cls": 64, "json": 1 << 20, "logits.npy": 1 << 20, "targets.npy": 1 << 20}
"""Most bytes of what is read beside a picture."""
_HEADER = 1 << 20
_BLOCK = 512

Fields = dict[str, bytes]


def open_tars(source: Path, reader: PictureReader) -> IncomingSet:
    """Open a tar file, or a directory of them.

    Args:
        source: a file, or a directory with ``*.tar``.
        reader: of the pictures.
    """
    folder = source if source.is_dir() else source.parent
    paths = sorted(source.glob("*.tar")) if source.is_dir() else [source]
    note = note_in(folder)
    names = note.manifest.class_names if note else None
    return IncomingSet("webdataset", _samples(paths, reader, note is not None), names, note)


def _samples(paths: list[Path], reader: PictureReader, ours: bool) -> Iterator[IncomingSample]:
    seen: set[str] = set()
    for path in paths:
        for key, fields in _grouped_members(path):
            if key in seen:
                raise DfkdError(f"{shown(path, 100)} has the key {shown(key, 60)} twice")
            seen.add(key)
            if not ours:  # what others call targets need not be what an image was made for
                fields.pop("targets.npy", None)
            yield _sample(f"{path.name}:{key}", fields, reader)


def _sample(name: str, fields: Fields, reader: PictureReader) -> IncomingSample:
    pictures = [ending for ending in fields if ending in _PICTURES]
    if len(pictures) != 1:
        count = len(pictures) or "no"
        raise DfkdError(f"{shown(name, 100)} has {count} pictures: a key wants one")
    facts = _facts(name, fields.get("json", b"{}"))
    label = as_label(fields.get("cls", facts.get("label")), name)
    image = reader.read(f"{name}.{pictures[0]}", fields[pictures[0]])
    vectors = (
        decode_vector(name, content, what) if (content := fields.get(f"{what}.npy")) else None
        for what in VECTORS
    )
    return IncomingSample(name, image, label, facts, *vectors)


def _facts(name: str, content: bytes) -> dict[str, Any]:
    try:
        facts = json.loads(content)
    except (ValueError, RecursionError):
        facts = None
    if not isinstance(facts, dict):
        raise DfkdError(f"{shown(name, 100)}: its json is no object")
    return facts


def _grouped_members(path: Path) -> Iterator[tuple[str, Fields]]:
    """Yield the members that follow each other with one key, by their endings."""
    key, fields = "", Fields()
    for member, content in _members(path):
        directory, _, base = member.rpartition("/")
        stem, _, ending = base.partition(".")
        own, ending = f"{directory}/{stem}".lstrip("/"), ending.lower()
        if own != key and fields:
            yield key, fields
            fields = {}
        if ending in fields:
            raise DfkdError(f"{shown(path, 100)} has {shown(member, 60)} twice")
        key = own
        fields[ending] = content
    if fields:
        yield key, fields


def _members(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the names and bytes of what is of use in a tar file."""
    label = shown(path, 100)
    try:
        with path.open("rb") as file:
            bounded: Any = _Bounded(file)
            with tarfile.open(fileobj=bounded, mode="r:") as tar:
                while member := tar.next():
                    _check_member(member, label)
                    if most := _most_bytes(member):
                        yield member.name, _content(tar, member, most, label)
                    vars(tar)["members"] = []  # a list of all that was read would grow without end
                file.seek(tar.offset)
                if file.read(_BLOCK) != bytes(_BLOCK):
                    raise DfkdError(f"{label} is truncated or damaged: fetch it again")
    except (tarfile.TarError, OSError, ValueError, RecursionError, EOFError) as error:
        if isinstance(error, DfkdError):
            raise
        raise DfkdError(
            f"{label} is no tar file that can be read ({shown(error, 80)}); unpack one that is "
            "compressed"
        ) from None


def _check_member(member: tarfile.TarInfo, label: str) -> None:
    name = member.name
    parts = PurePosixPath(name).parts
    if name.startswith("/") or ".." in parts or "\\" in name:
        raise DfkdError(f"{label} has a member {shown(name, 80)} that leads out of it")
    if member.issym() or member.islnk():
        raise DfkdError(f"{label} has a link, {shown(name, 80)}: store the file itself")
    if not (member.isdir() or member.isreg()) or member.issparse():
        raise DfkdError(f"{label} has {shown(name, 80)}, which is no plain file")


def _most_bytes(member: tarfile.TarInfo) -> int:
    """Return how many bytes a member may have; 0 for one that is of no use."""
    _, _, ending = member.name.rpartition("/")[2].partition(".")
    if not member.isreg():
        return 0
    ending = ending.lower()
    return _TEXTS.get(ending, MOST_BYTES if ending in _PICTURES else 0)


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo, most: int, label: str) -> bytes:
    if member.size > most:
        raise DfkdError(
            f"{label} has {shown(member.name, 80)} of {member.size:,} bytes: {most:,} at most"
        )
    file = tar.extractfile(member)
    content = b"" if file is None else file.read()
    if len(content) != member.size:
        raise DfkdError(f"{label} ends within {shown(member.name, 80)}: fetch it again")
    return content


class _Bounded:
    """A file of which no header can have more read at once than a sample may have."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.tell, self.seek = file, file.tell, file.seek

    def read(self, size: int = -1) -> bytes:
        """Return so many bytes."""
        if not 0 <= size <= MOST_BYTES + _HEADER:
            raise tarfile.ReadError(f"a header of {size:,} bytes")
        return self._file.read(size)

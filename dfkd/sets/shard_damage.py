"""Whether a shard's file is whole and what the manifest says of it; no value is trusted.

Each file is looked at from the outside in: what lies there, how long it is, what its header says,
its checksum. The first thing that is wrong is told, for what follows from it says nothing new.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dfkd.datasets.written import SetManifest
from dfkd.datasets.written.shards import ShardFile, digest, shard_name
from dfkd.errors import DfkdError
from dfkd.sets.findings import SetFinding, brief, counted

_LONGEST_HEADER = 1_000_000
"""Bytes; a shard's header has one or two thousand."""
_WIDEST = 64 * 1024
"""Bytes of one image's numbers besides image, logits and targets: a shard that is longer than its
images can be is not read to its end for a checksum."""


class _BrokenError(Exception):
    """Why a file is no shard: kind of damage, and a reason."""


def shard_damage(directory: Path, index: int, manifest: SetManifest) -> SetFinding | None:
    """Find what is wrong with one shard's file; None where it is as the manifest has it.

    Args:
        directory: of the set.
        index: the shard's place.
        manifest: of the set; without checksums, an open one, only shape and header are compared.
    """
    name = shard_name(index)
    path = directory / name
    again = manifest.selected is None
    if path.is_symlink():
        return SetFinding("link", f"{name} is a link", (index,), mends=again)
    if not path.exists():
        return SetFinding("missing", f"{name} is not there", (index,), mends=again)
    if not path.is_file():
        return SetFinding("no file", f"{name} is no file: move it away", (index,))
    try:
        _check_bytes(path, index, manifest)
    except _BrokenError as error:
        kind, reason = error.args
        return SetFinding(kind, f"{name} {reason}", (index,), mends=again)
    except OSError as error:
        return SetFinding("no file", f"{name} cannot be read ({brief(error)})", (index,))
    return None


def _check_bytes(path: Path, index: int, manifest: SetManifest) -> None:
    entry, shape = manifest.shards[index], manifest.image.shape
    classes = len(manifest.classes)
    header = _read_header(path)
    kind, size = header.get("images", ("", ()))
    if size[:1] != (entry.count,):
        held = counted(size[0], "image") if size else "no images"
        raise _BrokenError("count", f"holds {held}, and the manifest says {entry.count}")
    if (kind, size[1:]) != ("U8", shape):
        held = f"{brief(kind)} of {'x'.join(map(str, size[1:]))}"
        wanted = "x".join(map(str, shape))
        raise _BrokenError("image size", f"has images of {held}, and the set's are U8 of {wanted}")
    if header.get("logits") != ("F16", (entry.count, classes)):
        kind, size = header.get("logits", ("nothing", ()))
        held = f"{brief(kind)} of {size}"
        raise _BrokenError("logits", f"has {held} for answers to {classes} classes")
    try:
        ShardFile(path, shape, classes, entry.count)
    except DfkdError as error:
        raise _BrokenError("columns", f"cannot be read: {brief(error)}") from None
    longest = entry.count * (manifest.image.channels * shape[1] * shape[2] + 4 * classes + _WIDEST)
    if path.stat().st_size > longest + _LONGEST_HEADER:
        raise _BrokenError("length", "is longer than its images can be")
    if entry.sha256 is not None and digest(path) != entry.sha256:
        raise _BrokenError("checksum", "has other bytes than those of the manifest's SHA-256")


def _read_header(path: Path) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Types and shapes by column, as the file's own header says; raises ``_BrokenError``."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8:
            raise _BrokenError("truncated", f"ends after {counted(size, 'byte')}")
        if length > _LONGEST_HEADER:
            raise _BrokenError("header", f"has a header of {length:,} bytes, which is none")
        if length > size - 8:
            raise _BrokenError("truncated", f"ends within its header, after {size:,} bytes")
        text = file.read(length)
    try:
        values = json.loads(text)
        columns = {name: one for name, one in values.items() if name != "__metadata__"}
        end = max(min(int(one["data_offsets"][1]), 2**63) for one in columns.values())
        found = {name: _typed(one) for name, one in columns.items()}
    except (
        ValueError,
        TypeError,
        KeyError,
        IndexError,
        AttributeError,
        RecursionError,
        OverflowError,
    ):
        raise _BrokenError("header", "has a header that cannot be read") from None
    if size < 8 + length + end:
        raise _BrokenError(
            "truncated",
            f"ends after {size:,} of its {8 + length + end:,} bytes",
        )
    if size > 8 + length + end:
        raise _BrokenError("length", f"has {size - 8 - length - end:,} bytes after its end")
    return found


def _typed(one: Mapping[str, Any]) -> tuple[str, tuple[int, ...]]:
    shape = tuple(int(side) for side in one["shape"])
    if not all(0 <= side < 2**63 for side in shape):
        raise ValueError("no shape")
    return str(one["dtype"]), shape

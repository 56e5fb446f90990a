"""``manifest.json`` of a written dataset: what it is, how it was made, and what lies beside it."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from dfkd.errors import DfkdError
from dfkd.tasks.words import shown
from dfkd.teacher.spec import ImageSpec
from dfkd.training.files import write_text

MANIFEST = "manifest.json"
FORMAT = "dfkd synthetic dataset 1"
_LONGEST = 50_000_000
"""Bytes; a hundred thousand shards and twenty thousand classes take a fifth."""
_STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True)
class ClassEntry:
    """A class: its name, its ImageNet synset where that is known, and how many images it has."""

    name: str
    synset: str | None
    count: int

    __pydantic_config__ = _STRICT


@dataclass(frozen=True)
class ShardEntry:
    """A shard: its images, seed and teacher (by place), its SHA-256 once the set is closed."""

    count: int
    seed: int
    teacher: int = 0
    sha256: str | None = None

    __pydantic_config__ = _STRICT


@dataclass(frozen=True)
class TeacherEntry:
    """A teacher: where it came from, the hash of its weights, and which of its classes it had."""

    source: str
    hash: str
    only_classes: tuple[int, ...] | None = None

    __pydantic_config__ = _STRICT


@dataclass(frozen=True)
class SetManifest:
    """All that a set says of itself; the same order gives the same text, wherever it is made.

    Attributes:
        image: size and normalisation of the images, as the teacher has them.
        classes: in the order of the teacher's outputs; a class without images counts 0.
        teachers: who the images were made from, in turn.
        recipe: of their making, as plain values.
        seed: of all of it.
        shards: in their order; what ``shard_name`` says is the file of each.
        real_data_used: whether any real image had a part in it; set by the code that wrote it.
        complete: whether the set was closed: all shards are there, and their checksums known.
        decisions: what was decided before the first image, in a line each.
        selected: how images were selected from another set, where they were.
        versions: of the packages that planned it.
        format: of this file.
    """

    image: ImageSpec
    classes: tuple[ClassEntry, ...]
    teachers: tuple[TeacherEntry, ...]
    recipe: dict[str, Any]
    seed: int
    shards: tuple[ShardEntry, ...]
    real_data_used: bool = False
    complete: bool = False
    decisions: tuple[str, ...] = ()
    selected: dict[str, Any] | None = None
    versions: dict[str, str] = field(default_factory=dict)
    format: str = FORMAT

    __pydantic_config__ = _STRICT

    @property
    def count(self) -> int:
        """How many images the set has, once complete."""
        return sum(shard.count for shard in self.shards)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names alone."""
        return tuple(one.name for one in self.classes)

    def to_text(self) -> str:
        """Return it as JSON."""
        return json.dumps(asdict(self), indent=1, allow_nan=False, ensure_ascii=False) + "\n"

    def closed(self, sums: list[str]) -> "SetManifest":
        """Return the manifest of the complete set, with its shards' checksums."""
        pairs = zip(self.shards, sums, strict=True)
        shards = tuple(replace(shard, sha256=one) for shard, one in pairs)
        return replace(self, shards=shards, complete=True)

    @property
    def access(self) -> tuple[str, ...]:
        """What was seen of each teacher's answers where no more was; "" where all was."""
        seen = self.recipe.get("access")
        count = len(self.teachers)
        fits = isinstance(seen, list) and len(seen) == count
        return tuple(map(str, seen or ())) if fits else ("",) * count

    def differences(self, other: "SetManifest") -> list[str]:
        """List in what two orders differ, in words; what is found out later is left aside."""
        mine, others = (one._order() for one in (self, other))
        return [
            f"{key} {shown(str(mine.get(key)), 40)}, now {shown(str(others.get(key)), 40)}"
            for key in {**mine, **others}
            if mine.get(key) != others.get(key)
        ]

    def _order(self) -> dict[str, Any]:
        return {
            **self.recipe.get("asked", {}),
            "teacher": " ".join(one.hash[:16] for one in self.teachers),
            "prior": self.recipe.get("prior"),
            "access": " ".join(self.access).strip(),
            "image": str(self.image),
            "class_names": " ".join(self.class_names),
            "class_counts": [one.count for one in self.classes],
            "shards": [one.count for one in self.shards],
        }


def write_manifest(directory: Path, manifest: SetManifest) -> None:
    """Write ``manifest.json``: whole or not at all."""
    write_text(directory / MANIFEST, manifest.to_text())


def read_manifest(directory: Path) -> SetManifest:
    """Read and check the manifest of a set; nothing in it is trusted.

    Raises:
        DfkdError: there is none, or it is not one of this format.
    """
    path = directory / MANIFEST
    if not path.is_file():
        raise DfkdError(
            f"{shown(str(directory), 150)} is no synthetic dataset: no {MANIFEST} in it"
        )
    try:
        if path.stat().st_size > _LONGEST:
            raise DfkdError(f"{path} has {path.stat().st_size:,} bytes: no manifest of a set")
        values = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        reason = str(error).partition("\n")[0][:80]
        raise DfkdError(f"{path} is damaged ({reason}): fetch the set again") from None
    return parse_manifest(values, path)


def parse_manifest(values: Any, path: Path) -> SetManifest:
    """Check what JSON holds; see ``read_manifest``."""
    kind = values.get("format") if isinstance(values, Mapping) else None
    if kind != FORMAT:
        raise DfkdError(f"{path} is no manifest of a {FORMAT!r}, but of {shown(str(kind), 60)}")
    try:
        found = TypeAdapter(SetManifest).validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise DfkdError(
            f"{path} is damaged ({shown(where, 60)}: {shown(first['msg'], 80)}): fetch it again"
        ) from None
    except (DfkdError, RecursionError) as error:
        raise DfkdError(f"{path} is damaged ({shown(str(error), 120)})") from None
    if len(found.classes) < 2 or not found.shards or not found.teachers:
        raise DfkdError(f"{path} is damaged: it names no classes, shards or teachers")
    if any(s.count < 1 or not 0 <= s.teacher < len(found.teachers) for s in found.shards):
        raise DfkdError(f"{path} is damaged: a shard without images, or of no teacher")
    if found.count != sum(one.count for one in found.classes):
        raise DfkdError(f"{path} is damaged: classes and shards count differently")
    return found

"""``import_set``: a native, closed set of the images of another tool."""

import math
from collections import Counter
from collections.abc import Sequence
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from dfkd.datasets.written import ClassEntry, SetManifest, ShardEntry, TeacherEntry, WrittenSet
from dfkd.datasets.written.manifest import write_manifest
from dfkd.datasets.written.shards import shard_name, write_shard
from dfkd.errors import DfkdError, unwritable
from dfkd.runs import run_directory
from dfkd.sets.exports.naming import distinct_names
from dfkd.sets.exports.samples import ContentHash
from dfkd.sets.exports.staging import staged
from dfkd.sets.imports.incoming import IncomingSample, IncomingSet, PictureReader
from dfkd.sets.imports.opening import open_source
from dfkd.sets.imports.rows import (
    asked_logits,
    carried_logits,
    carried_targets,
    incoming_rows,
    number_names,
)
from dfkd.sets.plan import SET, Maker, entry_of
from dfkd.tasks.labels import folded, match, numbered, why_not
from dfkd.tasks.synsets import synsets_of
from dfkd.tasks.words import shown
from dfkd.teacher.spec import ImageSpec

_SHARD_BYTES = 100_000_000
_SHARD_IMAGES = 1000


def import_set(
    source: Path | str,
    output: Path | str,
    maker: Maker | None = None,
    *,
    resize: bool = False,
    overwrite: bool = False,
) -> WrittenSet:
    """Write a native set of the images of a folder, of tar shards or of parquet files.

    Args:
        source: a directory or a file.
        output: a directory that is absent or empty.
        maker: the teacher who is asked about the images; None where the source has its answers.
        resize: bring pictures of other sizes to the teacher's, in place of refusing them.
        overwrite: replace an earlier set there.

    Raises:
        DfkdError: whatever is wrong with the source, no room, or something else in ``output``.
    """
    source, output = Path(source), Path(output)
    run_directory.prepare(output, overwrite, layout=SET, reads=[source])
    teacher = maker.teacher if maker else None
    if resize and teacher is None:
        raise DfkdError("pictures are resized for a `teacher`, who answers to them: name it")
    reader = PictureReader(teacher.spec.shape if teacher else None, fits=resize)
    found = open_source(source, reader, teacher.class_names if teacher else ())
    before = teacher.digests() if teacher else {}
    try:
        with staged(output, SET, overwrite) as made:
            write_manifest(made, Import(found, maker, shown(source, 80), reader).write(made))
    except OSError as error:
        raise unwritable(error, output) from error
    if teacher:
        teacher.check_untouched(before)
    return WrittenSet(output)


class Import:
    """One import: what labels mean, who answers, and what the manifest says of it.

    Args:
        found: the opened source.
        maker: the teacher who is asked; None: the source has answers.
        source: what messages call it.
        reader: of its pictures.

    Raises:
        DfkdError: nobody who answers, or classes that the teacher has not.
    """

    def __init__(
        self, found: IncomingSet, maker: Maker | None, source: str, reader: PictureReader
    ) -> None:
        self.found, self.source, self.note = found, source, found.note
        self.reader, self.mixed = reader, False
        self.lines = list(found.remarks)
        self.content, self.counts = ContentHash(), Counter[int]()
        self.teacher = maker.teacher if maker else None
        if maker:
            self.names = maker.teacher.class_names
            entry = entry_of(maker)
            self.makers: tuple[TeacherEntry, ...] = (entry,)
            self.image: ImageSpec = maker.teacher.spec
        elif found.note:
            manifest = found.note.manifest
            self.names, self.makers = manifest.class_names, manifest.teachers
            self.image = manifest.image
        else:
            raise DfkdError(f"{source} has no teacher's answers: name the `teacher` to ask")
        self.columns = self._columns()

    def _columns(self) -> Sequence[int]:
        """Return the model's class of each of the source's labels."""
        names, own = self.found.class_names, tuple(self.names)
        if names is None or names in (own, tuple(distinct_names(own))):
            return range(len(own))
        if len(names) > len(own):
            raise DfkdError(f"{self.source} has {len(names):,} classes and the model {len(own):,}")
        if numbered(names) or numbered(own):
            return range(len(names))
        if (matched := match(names, own)) is None:
            why = why_not(names, own, ("class", "classes"))
            raise DfkdError(f"{self.source}: {why}")
        self.lines.append(f"classes by {matched.how}")
        return matched.indices

    def write(self, directory: Path) -> SetManifest:
        """Write all shards; return the manifest of the closed set."""
        entries: list[ShardEntry] = []
        size = max(1, min(_SHARD_IMAGES, _SHARD_BYTES // math.prod(self.image.shape)))
        names: list[str] = []
        while part := list(islice(self.found.samples, size)):
            if not entries:
                names = [] if self.teacher else number_names(part[0].facts)
                self.mixed = part[0].targets is not None
            path = directory / shard_name(len(entries))
            sha256 = write_shard(path, self._rows(part, names))
            entries.append(ShardEntry(len(part), 0, 0, sha256))
        if not entries:
            raise DfkdError(f"{self.source} holds no images")
        return self._manifest(entries)

    def _rows(self, part: list[IncomingSample], names: list[str]) -> dict[str, torch.Tensor]:
        for one in part:
            if one.label >= len(self.columns):
                raise DfkdError(
                    f"{shown(one.name, 100)} has the label {one.label}: the classes are 0 to "
                    f"{len(self.columns) - 1}"
                )
            if tuple(one.image.shape) != self.image.shape:
                raise DfkdError(f"{self.source} is damaged: its images are not as its note says")
            self.content.add(one.image, one.label)
        labels = torch.tensor([self.columns[one.label] for one in part])
        self.counts.update(labels.tolist())
        if self.teacher:
            logits = asked_logits(self.teacher, torch.stack([one.image for one in part]))
        else:
            logits = carried_logits(part, len(self.names))
        rows = incoming_rows(part, labels, logits, names)
        if self.mixed:
            rows["targets"] = carried_targets(part, self.columns, len(self.names))
        return rows

    def _manifest(self, entries: list[ShardEntry]) -> SetManifest:
        real = self._real_data()
        named = zip(self.names, synsets_of(self.names, folded), strict=True)
        recipe: dict[str, Any] = {"method": "imported", "from": self.found.kind}
        recipe |= {"original": self.note.manifest.recipe} if self.note else {}
        return SetManifest(
            image=self.image,
            classes=tuple(ClassEntry(*one, self.counts[i]) for i, one in enumerate(named)),
            teachers=self.makers,
            recipe=recipe,
            seed=self.note.manifest.seed if self.note else 0,
            shards=tuple(entries),
            real_data_used=real,
            complete=True,
            decisions=(*self.lines, *self.reader.remarks()),
            versions={"dfkd": version("dfkd"), "torch": torch.__version__},
        )

    def _real_data(self) -> bool:
        """Whether real images may be among them: yes, unless an export vouches for all."""
        if self.note is None:
            return True
        if self.note.content != self.content.hexdigest():
            self.lines.append("images or labels changed since the export: taken for real ones")
            return True
        return self.note.manifest.real_data_used

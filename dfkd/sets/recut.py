"""Write some rows of a set as a set of its own: whole or not at all. The source is only read."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dfkd.datasets.written import SetManifest, ShardEntry, WrittenSet
from dfkd.datasets.written.manifest import write_manifest
from dfkd.datasets.written.shards import digest, shard_name, write_shard
from dfkd.errors import DfkdError
from dfkd.runs import run_directory
from dfkd.runs.options import Output
from dfkd.sets.carried_labels import carry_labels
from dfkd.sets.plan import SET

_Rows = dict[str, Tensor]


def prepare_copy(output: Output, source: Path) -> Path:
    """Check the directory of a new set before any work; see ``run_directory.prepare``.

    Args:
        output: names it.
        source: the set that is read.

    Raises:
        DfkdError: none is named, it is no place for a set, or it is the source.
    """
    if output.path is None or output.resume:
        raise DfkdError("a set is written to a new directory: name it as `output`")
    return run_directory.prepare(output.path, output.overwrite, False, SET, [source])


def write_part(
    source: WrittenSet, places: Tensor, selected: dict[str, Any], path: Path, overwrite: bool
) -> tuple[SetManifest, str]:
    """Write the images at ``places`` as a closed set, with every column that the source has.

    Shards are cut anew, at most as large as the source's largest, each of one teacher; its seed in
    the manifest is that of the shard that its first image comes from. Images keep their order but
    for that. The directory has another name until all of it is there.

    Args:
        source: closed.
        places: of the images, ascending.
        selected: what the manifest says of the selection.
        path: the new set's directory, as ``prepare_copy`` allowed it.
        overwrite: an earlier set there may be replaced.

    Returns:
        The new manifest, and a line on the labels that came along; "" where there are none.

    Raises:
        DfkdError: labels that are damaged, or a shard of the source that is not what its manifest
            says.
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f"{path.name}.", suffix=".part", dir=path.parent))
    try:
        work.chmod(0o755)
        manifest, labels = _write(_Shards(source), places, selected, work)
        run_directory.create(path, overwrite=overwrite, layout=SET)
        path.rmdir()
        os.rename(work, path)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    return manifest, labels


class _Shards:
    """Whole shards of a set, each checked against its checksum; the last one is at hand."""

    def __init__(self, source: WrittenSet) -> None:
        self.source = source
        self._last: tuple[int, _Rows] = (-1, {})

    def read(self, index: int) -> _Rows:
        """Return all rows of a shard."""
        if index != self._last[0]:
            path = self.source.directory / shard_name(index)
            rows = self.source.shard_rows(index)
            if digest(path) != self.source.manifest.shards[index].sha256:
                raise DfkdError(f"{path} is not what the manifest says: dfkd dataset check")
            if tuple(sorted(rows)) != self.source.columns:
                raise DfkdError(f"{path} holds other columns than the set's first shard")
            self._last = index, rows
        return self._last[1]

    def rows(self, places: list[int]) -> _Rows:
        """Return the rows at ``places``, in their order."""
        parts: list[_Rows] = []
        for shard, own in _by_shard(self.source, places):
            rows = self.read(shard)
            parts.append({name: values[own] for name, values in rows.items()})
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _by_shard(source: WrittenSet, places: list[int]) -> Iterator[tuple[int, list[int]]]:
    found: dict[int, list[int]] = {}
    for place in places:
        shard, row = source.place(place)
        found.setdefault(shard, []).append(row)
    yield from found.items()


def _write(
    shards: _Shards, places: Tensor, selected: dict[str, Any], work: Path
) -> tuple[SetManifest, str]:
    old, order = shards.source.manifest, list[int]()
    entries, counts = [], torch.zeros(len(old.classes), dtype=torch.long)
    for index, (first, chunk) in enumerate(_chunks(shards.source, places)):
        rows = shards.rows(chunk)
        order += chunk
        sums = write_shard(work / shard_name(index), rows)
        entries.append(ShardEntry(len(chunk), first.seed, first.teacher, sums))
        counts += rows["labels"].bincount(minlength=len(counts))
    classes = zip(old.classes, counts.tolist(), strict=True)
    manifest = replace(
        old,
        classes=tuple(replace(one, count=count) for one, count in classes),
        shards=tuple(entries),
        selected=selected,
    )
    write_manifest(work, manifest)
    return manifest, carry_labels(shards.source, torch.tensor(order), work)


def _chunks(source: WrittenSet, places: Tensor) -> Iterator[tuple[ShardEntry, list[int]]]:
    """Cut the places into shards of one teacher each, as even as can be."""
    entries = source.manifest.shards
    largest = max(entry.count for entry in entries)
    own = [(entries[source.place(place)[0]].teacher, place) for place in places.tolist()]
    for teacher in sorted({who for who, _ in own}):
        mine = [place for who, place in own if who == teacher]
        number = -(-len(mine) // largest)
        ends = [len(mine) * i // number for i in range(number + 1)]
        for start, end in pairwise(ends):
            chunk = mine[start:end]
            yield entries[source.place(chunk[0])[0]], chunk

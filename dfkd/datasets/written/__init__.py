"""Synthetic datasets on the disk: manifest, shards, and what reads them."""

from dfkd.datasets.written.manifest import ClassEntry, SetManifest, ShardEntry, TeacherEntry
from dfkd.datasets.written.reader import WrittenSet
from dfkd.datasets.written.set_batches import SetBatches

__all__ = [
    "ClassEntry",
    "SetBatches",
    "SetManifest",
    "ShardEntry",
    "TeacherEntry",
    "WrittenSet",
]

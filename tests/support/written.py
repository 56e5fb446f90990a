"""A closed set of given images, written in a moment."""

from pathlib import Path

import torch
from torch import Tensor

from dfkd.datasets.written import ClassEntry, SetManifest, ShardEntry, TeacherEntry
from dfkd.datasets.written.manifest import write_manifest
from dfkd.datasets.written.shards import shard_name, write_shard
from dfkd.teacher import Teacher


def noise(count: int, *shape: int) -> Tensor:
    """The same bytes whenever it is called."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, *shape), generator=generator, dtype=torch.uint8)


def write_set(
    path: Path, teacher: Teacher, images: Tensor, labels: Tensor, shards: int = 3, teachers: int = 1
) -> Path:
    """Write the images with the teacher's answers; several teachers, all this one, take turns."""
    with torch.no_grad():
        logits = teacher(images.float() / 255)
    own = logits.softmax(1).gather(1, labels[:, None])[:, 0]
    entries = []
    for index, places in enumerate(torch.arange(len(labels)).chunk(shards)):
        rows = {
            "images": images[places], "labels": labels[places], "logits": logits[places].half(),
            "confidence": own[places], "seed": torch.full((len(places),), index),
        }  # fmt: skip
        sums = write_shard(path / shard_name(index), rows)
        entries.append(ShardEntry(len(places), index, index % teachers, sums))
    counts = labels.bincount(minlength=teacher.num_classes).tolist()
    named = zip(teacher.class_names, counts, strict=True)
    manifest = SetManifest(
        image=teacher.spec,
        classes=tuple(ClassEntry(name, None, count) for name, count in named),
        teachers=(TeacherEntry("a module", teacher.fingerprint()),) * teachers,
        recipe={"method": "none"},
        seed=0,
        shards=tuple(entries),
        complete=True,
    )
    write_manifest(path, manifest)
    return path

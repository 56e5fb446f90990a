"""Small written sets, and how foreign readers' images are compared with theirs."""

import numpy as np
import torch

from dfkd.datasets.written import (
    ClassEntry,
    SetManifest,
    ShardEntry,
    TeacherEntry,
    WrittenSet,
)
from dfkd.datasets.written.manifest import write_manifest
from dfkd.datasets.written.shards import shard_name, write_shard
from dfkd.teacher.spec import ImageSpec

NAMES = ("T-shirt/top", "CON", "a:b*c", "Ärmel")
SIZES = (5, 4, 3)


def write_set(directory, shape=(3, 6, 5), names=NAMES, real=False, mixed=False):
    """Write a closed set of 12 noise images and return it; classes follow each other in turn.

    ``mixed`` images have targets of two classes.
    """
    generator = torch.Generator().manual_seed(0)
    entries, place = [], 0
    for index, count in enumerate(SIZES):
        labels = torch.arange(place, place + count) % len(names)
        rows = {
            "images": torch.randint(256, (count, *shape), generator=generator, dtype=torch.uint8),
            "labels": labels,
            "logits": torch.randn(count, len(names), generator=generator).half(),
            "confidence": torch.rand(count, generator=generator),
            "seed": torch.arange(count) + (1 << 60),
        }
        if mixed:
            share = torch.linspace(0.5, 1, count)[:, None]
            own, other = (torch.eye(len(names))[(labels + step) % len(names)] for step in (0, 1))
            rows["targets"] = (share * own + (1 - share) * other).half()
        sha256 = write_shard(directory / shard_name(index), rows)
        entries.append(ShardEntry(count, index, 0, sha256))
        place += count
    every = torch.arange(place) % len(names)
    classes = (ClassEntry(name, None, int((every == i).sum())) for i, name in enumerate(names))
    spec = ImageSpec(*shape, mean=(0.25,) * shape[0], std=(0.5,) * shape[0])
    teachers = (TeacherEntry("a module", "00"),)
    recipe = {"method": "noise"}
    manifest = SetManifest(
        spec, tuple(classes), teachers, recipe, 3, tuple(entries), real, complete=True
    )
    write_manifest(directory, manifest)
    return WrittenSet(directory)


def channels_first(picture):
    """Return a PIL image, or an array of one, as C x H x W."""
    values = np.asarray(picture)
    return values[None] if values.ndim == 2 else values.transpose(2, 0, 1)


def check_same_images(data, images, labels):
    """Assert that images and labels are those of the set, in its order."""
    found = torch.from_numpy(np.stack(list(images)))
    assert torch.equal(found, data.column("images"))
    assert list(labels) == data.column("labels").tolist()

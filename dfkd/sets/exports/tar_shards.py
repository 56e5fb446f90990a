"""Tar files that ``webdataset`` streams: an image, its class and what is known, by one key."""

import io
import json
import tarfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from dfkd.datasets.written import WrittenSet
from dfkd.sets.exports.folder import channel_remarks
from dfkd.sets.exports.samples import ExportedSample, exported_samples, picture, write_note

_MOST_BYTES = 500_000_000
_MOST_IMAGES = 10_000


def write_tar_shards(data: WrittenSet, place: Path, count: int | None) -> list[str]:
    """Write ``shard-00000.tar`` and those after it; return what is out of the ordinary.

    Args:
        data: the set.
        place: an empty directory.
        count: not asked for: all images are written.
    """
    samples, index = exported_samples(data), 0
    size = images_of_a_file(data, _MOST_BYTES, _MOST_IMAGES)
    while part := list(islice(samples, 1)):
        with tarfile.open(place / f"shard-{index:05d}.tar", "w") as tar:
            for sample in (*part, *islice(samples, size - 1)):
                for ending, content in _members(sample):
                    member = tarfile.TarInfo(f"{sample.key}{ending}")
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
        index += 1
    write_note(place, data)
    return channel_remarks(data)


def _members(sample: ExportedSample) -> Iterator[tuple[str, bytes]]:
    yield picture(sample.image)
    yield ".cls", str(sample.label).encode()
    yield ".json", json.dumps(sample.facts, ensure_ascii=False, allow_nan=False).encode()
    for name, values in sample.vectors.items():
        stream = io.BytesIO()
        np.save(stream, values.numpy())
        yield f".{name}.npy", stream.getvalue()


def images_of_a_file(data: WrittenSet, most_bytes: int, most_images: int) -> int:
    """Return how many images a file should have, by the bytes that they have unpacked."""
    channels, height, width = data.manifest.image.shape
    return max(1, min(most_images, most_bytes // (channels * height * width)))

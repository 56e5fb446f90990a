"""Read written datasets: single images, batches in an order that workers and ranks do not change.

Images are read where they lie in their shards; no shard is loaded for a part of it.
"""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from dfkd.datasets.images import GivenImages, LabelledImages
from dfkd.datasets.written.manifest import read_manifest
from dfkd.datasets.written.shards import ShardFile, digest, shard_name
from dfkd.errors import DfkdError

_OPEN = 4096
"""Shards that a process keeps mapped, which takes addresses and no memory: systems allow 65,530."""


class WrittenSet(Dataset[tuple[Tensor, int]]):
    """A closed set as a map-style ``Dataset``: item i is (uint8 C x H x W, class).

    Any ``DataLoader`` takes it, with any number of workers. ``rows`` reads whatever else is known.

    Args:
        directory: of the set.

    Attributes:
        manifest: what it says of itself.

    Raises:
        DfkdError: no set there, one that is not closed, or whose files do not fit its manifest.
    """

    def __init__(self, directory: Path | str) -> None:
        self.directory = Path(directory)
        self.manifest = read_manifest(self.directory)
        if not self.manifest.complete:
            raise DfkdError(
                f"{self.directory} is not complete: run dfkd synthesize again, or "
                f"dfkd dataset merge {self.directory}"
            )
        self._ends = list(accumulate(shard.count for shard in self.manifest.shards))
        self._files: dict[int, ShardFile] = {}
        self.columns = self._shard(0).columns

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        shard, row = self.place(index % len(self))
        file = self._shard(shard)
        image = file.read("images", row, row + 1)[0]
        return image, int(file.read("labels", row, row + 1))

    def __getitems__(self, indices: Sequence[int]) -> list[tuple[Tensor, int]]:
        """Read what a ``DataLoader`` asks for together: a fraction of the cost one by one."""
        places = [self.place(index) for index in indices]
        images = [self._shard(shard).mapped("images")[row].clone() for shard, row in places]
        return list(zip(images, self.rows(indices, "labels")["labels"].tolist(), strict=True))

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_files": {}}  # open files do not travel to a worker

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"set:{self.directory}"

    def place(self, index: int) -> tuple[int, int]:
        """Return the shard of an image, and its row there."""
        if not 0 <= index < self._ends[-1]:
            raise IndexError(index)
        shard = bisect_right(self._ends, index)
        return shard, index - (self._ends[shard - 1] if shard else 0)

    def rows(self, indices: Sequence[int] | Tensor, *names: str) -> dict[str, Tensor]:
        """Read some images, or what is known of them, in the order of ``indices``.

        Args:
            indices: whole numbers from 0 to before the set's length.
            *names: columns (``columns`` lists what there is); ``images`` and ``labels`` when left
                out.
        """
        wanted = names or ("images", "labels")
        places = [self.place(int(index)) for index in indices]
        return {
            name: torch.stack([self._shard(shard).mapped(name)[row] for shard, row in places])
            for name in wanted
        }

    def column(self, name: str) -> Tensor:
        """Read a column of all images."""
        shards = range(len(self.manifest.shards))
        files = (self._shard(i) for i in shards)
        counts = (shard.count for shard in self.manifest.shards)
        return torch.cat([f.read(name, 0, n) for f, n in zip(files, counts, strict=True)])

    def shard_rows(self, index: int) -> dict[str, Tensor]:
        """Read all of one shard."""
        return self._shard(index).rows()

    def check_bytes(self) -> None:
        """Raise a ``DfkdError`` unless all shards have the manifest's bytes and classes.

        Whoever reads the whole set calls it first: a bit that flipped is no pixel to learn from.
        """
        for index, entry in enumerate(self.manifest.shards):
            path = self.directory / shard_name(index)
            if not path.is_file() or digest(path) != entry.sha256:
                raise DfkdError(f"{path} is not what the manifest says: run dfkd dataset check")
            labels = self._shard(index).mapped("labels")
            if int(labels.min()) < 0 or int(labels.max()) >= len(self.manifest.classes):
                last = len(self.manifest.classes) - 1
                raise DfkdError(f"{path} is damaged: it has labels that are not in 0 to {last}")

    def load(self) -> LabelledImages:
        """Read all images and labels into memory, once their bytes are found unchanged."""
        self.check_bytes()
        return LabelledImages(self.column("images"), self.column("labels"), self.name)

    def given(self) -> GivenImages:
        """Read all images, to learn from."""
        found = self.load()
        return GivenImages(found.images, found.labels, self.name)

    def _shard(self, index: int) -> ShardFile:
        if index not in self._files:
            if len(self._files) >= _OPEN:
                self._files.pop(next(iter(self._files)))
            entry, manifest = self.manifest.shards[index], self.manifest
            path, shape = self.directory / shard_name(index), manifest.image.shape
            self._files[index] = ShardFile(path, shape, len(manifest.classes), entry.count)
        return self._files[index]

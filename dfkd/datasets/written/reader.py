"""Read written datasets: single images, batches in an order that workers and ranks do not change.

Images are read where they lie in their shards; no shard is loaded for a part of it.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset, get_worker_info

from dfkd.datasets.images import GivenImages, LabelledImages
from dfkd.datasets.written.manifest import read_manifest
from dfkd.datasets.written.shards import ShardFile, digest, shard_name
from dfkd.errors import DfkdError
from dfkd.networks.seeding import seed_of

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


class SetBatches(IterableDataset[dict[str, Tensor]]):
    """Shuffled batches of a set: each image once an epoch, whatever reads them.

    Batch b of an epoch is the same set of images for any number of workers and ranks: a rank takes
    its equal share of each batch, a worker every n-th batch. Use it as
    ``DataLoader(batches, batch_size=None, num_workers=n)`` and call ``set_epoch`` before each.

    Args:
        data: the set.
        batch_size: images of a batch over all ranks.
        seed: of the orders.
        rank, world_size: of this process.
        names: columns to read.

    Raises:
        DfkdError: a batch that the ranks cannot share evenly.
    """

    def __init__(
        self,
        data: WrittenSet,
        batch_size: int,
        *,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        names: Sequence[str] = ("images", "labels"),
    ) -> None:
        if not 0 <= rank < world_size or batch_size < 1 or batch_size % world_size:
            raise DfkdError(f"{world_size} ranks cannot share batches of {batch_size} images")
        self.data, self.batch_size, self.seed = data, batch_size, seed
        self.rank, self.world_size, self.names = rank, world_size, tuple(names)
        # In shared memory: workers that outlive an epoch see the next one's number.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    @property
    def epoch(self) -> int:
        """Of the pass whose order is next."""
        return int(self._epoch)

    def __len__(self) -> int:
        return -(-len(self.data) // self.batch_size)

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the next pass."""
        self._epoch.fill_(epoch)

    def order(self) -> Tensor:
        """Return the permutation of this epoch."""
        generator = torch.Generator().manual_seed(seed_of(self.seed, self.epoch))
        return torch.randperm(len(self.data), generator=generator)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        worker = get_worker_info()
        first, step = (worker.id, worker.num_workers) if worker else (0, 1)
        batches = torch.split(self.order(), self.batch_size)
        for indices in batches[first::step]:
            mine = indices[self.rank :: self.world_size]
            if len(mine):
                yield {"index": mine, **self.data.rows(mine, *self.names)}

"""Shuffled batches of a written dataset, the same for any number of workers and ranks."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from dfkd.datasets.written.reader import WrittenSet
from dfkd.errors import DfkdError
from dfkd.networks.seeding import seed_of


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

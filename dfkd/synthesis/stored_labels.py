"""A written dataset in a method's place: its images and labels, with no teacher present."""

from typing import Any

import torch
from torch import Tensor, nn

from dfkd.datasets.written.labels import LabelStore
from dfkd.networks.seeding import seed_of
from dfkd.protocols import Batch, Metrics
from dfkd.tasks import Prediction


class StoredLabels:
    """A ``Synthesizer`` that makes nothing: views of a set's images with the answers beside them.

    Args:
        store: the set with its labels.
        seed: of the order in which images are shown.
        device: where batches are wanted.
    """

    def __init__(self, store: LabelStore, seed: int, device: torch.device | str) -> None:
        self._store, self._seed, self._device = store, seed, device
        self._labels = store.data.column("labels")
        self._pass, self._place = 0, 0
        self._order = self._shuffled()

    def update(self, student: nn.Module) -> Metrics:
        """Do nothing: all that there is has been written."""
        return {}

    def sample(self, count: int) -> Batch:
        """Return the next images of this pass, and of those that follow where it ends."""
        parts, wanted = [], count
        while wanted:
            indices = self._order[self._place : self._place + wanted]
            if len(indices):
                parts.append((*self._store.batch(self._stored(), indices), self._labels[indices]))
            wanted -= len(indices)
            self._place += len(indices)
            if self._place >= len(self._order):
                self._pass, self._place = self._pass + 1, 0
                self._order = self._shuffled()
        images, logits, labels = (
            torch.cat(each).to(self._device) for each in zip(*parts, strict=True)
        )
        return Batch(images, Prediction(logits), labels)

    @property
    def images_made(self) -> int:
        """None."""
        return 0

    @property
    def teacher_images(self) -> int:
        """None: no teacher is there."""
        return 0

    def _stored(self) -> int:
        """The epoch of the labels that this pass reads: all in turn, each time in another order."""
        epochs = max(1, self._store.epochs)
        turn, place = divmod(self._pass, epochs)
        generator = torch.Generator().manual_seed(seed_of(self._seed, turn))
        return int(torch.randperm(epochs, generator=generator)[place])

    def _shuffled(self) -> Tensor:
        generator = torch.Generator().manual_seed(seed_of(self._seed + 1, self._pass))
        return torch.randperm(len(self._store), generator=generator)

    def state_dict(self) -> dict[str, Any]:
        """Return where it stands."""
        return {"pass": self._pass, "place": self._place}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state_dict``."""
        self._pass, self._place = state["pass"], state["place"]
        self._order = self._shuffled()

"""A set as a whole: what is stored of all its images, and its images for a network to look at."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from dfkd.datasets.written import WrittenSet
from dfkd.errors import DfkdError
from dfkd.tasks.words import shown
from dfkd.teacher import Teacher


class StoredAnswers(NamedTuple):
    """What is stored of all images of a set.

    Attributes:
        labels: N, each of a class that the set has.
        own: N, the log-probability that the stored answer gives to the label; float64.
        agrees: N, whether the stored answer is the label.
    """

    labels: Tensor
    own: Tensor
    agrees: Tensor

    @property
    def agreement(self) -> float:
        """Share of the stored answers that are the label, in [0, 1]."""
        return float(self.agrees.double().mean())

    @property
    def confidence(self) -> float:
        """Mean probability of the label."""
        return float(self.own.exp().mean())

    def at(self, places: Tensor) -> "StoredAnswers":
        """Return those of the images at these places."""
        return StoredAnswers(self.labels[places], self.own[places], self.agrees[places])


def answers_of(data: WrittenSet) -> StoredAnswers:
    """Read labels and stored answers of all images.

    Raises:
        DfkdError: a shard that has changed, or a label that is of no class.
    """
    data.check_bytes()
    labels = data.column("labels")
    logits = data.column("logits").double()
    own = logits.log_softmax(1).gather(1, labels[:, None])[:, 0]
    # What is not finite says nothing of the label: such an image comes last.
    return StoredAnswers(
        labels, own.nan_to_num(nan=-torch.inf, neginf=-torch.inf), logits.argmax(1) == labels
    )


def image_batches(data: WrittenSet) -> Iterator[Tensor]:
    """Read the images of a set, shard by shard."""
    return (data.shard_rows(i)["images"] for i in range(len(data.manifest.shards)))


def check_sees(network: Teacher, data: WrittenSet, role: str, name: str) -> None:
    """Raise unless a network takes images of the set's shape.

    Args:
        network: any, as a teacher.
        data: the set.
        role: the parameter that it was given as.
        name: what messages call it.
    """
    if network.spec.shape != data.manifest.image.shape:
        own, wanted = (
            "x".join(map(str, spec.shape)) for spec in (network.spec, data.manifest.image)
        )
        raise DfkdError(
            f"{shown(name, 80)} takes {own} images and the set has {wanted}: choose another "
            f"`{role}`"
        )

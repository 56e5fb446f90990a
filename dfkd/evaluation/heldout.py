"""Images that no student learns from: what the teacher is asked about, and students judged by."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor, nn

from dfkd.evaluation.accuracy import predictions
from dfkd.tasks.prediction import rows_of
from dfkd.teacher import Teacher

HELD_OUT_BATCH = 64
"""Images that a network is shown at once."""
HELD_OUT_KINDS = ("unlabelled", "corrected", "drawn", "patched", "pixels", "stored")
"""The user's own; drawings that the teacher's memory has corrected; drawings; pairs of corrected
images (of drawings, where none is) of which one covers a part of the other; and noise that its
memory has made something of. Of a written dataset its own images: there is no teacher to be asked
about others."""
JUDGING = ("unlabelled", "patched", "pixels", "stored")
"""Kinds that students are judged by. Corrected images and drawings are what many learn from, and
tell little of others: over 76 students of five methods agreement on patched images and pixels
ranked as real images do (Spearman .95), on drawings .8, on corrected ones .7."""


@dataclass(frozen=True)
class HeldOut:
    """Held-out images with the teacher's answers.

    Attributes:
        images: uint8 N x C x H x W, kind by kind.
        logits: the teacher's, N x classes; of several rows a sample, those side by side.
        counts: how many there are of each of ``HELD_OUT_KINDS``, in their order.
        style: of the drawings, the one of ``STYLES`` that suits the teacher best.
    """

    images: Tensor
    logits: Tensor
    counts: Mapping[str, int]
    style: str = ""

    def __len__(self) -> int:
        return len(self.images)

    def places(self, kind: str) -> slice:
        """Return where the images of a kind are; an empty slice where there is none."""
        names = list(self.counts)
        if kind not in names:
            return slice(0, 0)
        first = sum(self.counts[name] for name in names[: names.index(kind)])
        return slice(first, first + self.counts[kind])

    @property
    def rows(self) -> int:
        """Rows of logits a sample."""
        return len(self.logits) // len(self.images)

    def logits_at(self, place: slice) -> Tensor:
        """Return the teacher's logits of some of the images."""
        return rows_of(self.logits, place, len(self.images))

    def judging(self) -> "HeldOut":
        """Return the images that students are judged by."""
        kinds = [kind for kind in JUDGING if self.counts.get(kind)]
        places = [self.places(kind) for kind in kinds]
        images = torch.cat([self.images[place] for place in places])
        logits = torch.cat([self.logits_at(place) for place in places])
        counts = MappingProxyType({kind: self.counts[kind] for kind in kinds})
        return HeldOut(images, logits, counts, self.style)

    @property
    def described(self) -> str:
        """What they are, for a reader of figures."""
        if self.counts.get("stored"):
            return "images of the set"
        real = "real and " if self.counts.get("unlabelled") else ""
        return f"held-out {real}synthetic images"

    @property
    def own_kind(self) -> str:
        """The kind that is nearest to the teacher's data."""
        return next(kind for kind in HELD_OUT_KINDS if self.counts.get(kind))

    @property
    def own(self) -> Tensor:
        """The images of ``own_kind``."""
        return self.images[self.places(self.own_kind)]

    def with_unlabelled(self, images: Tensor, teacher: Teacher) -> "HeldOut":
        """Return these and the user's own images, uint8 N x C x H x W, before all others."""
        logits = predictions(teacher, teacher.spec, images, batch_size=HELD_OUT_BATCH)
        return HeldOut(
            torch.cat([images, self.images]),
            torch.cat([logits, self.logits]),
            MappingProxyType({"unlabelled": len(images), **self.counts}),
            self.style,
        )

    def answers(self, network: nn.Module, teacher: Teacher) -> Tensor:
        """Compute a student's logits in eval mode, N x classes, on the CPU."""
        return predictions(
            network, teacher.spec, self.images, batch_size=HELD_OUT_BATCH, task=teacher.student_task
        )

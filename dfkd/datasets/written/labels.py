"""Soft labels of a written dataset: what the teacher said of every view, so that it may be gone.

``labels.json`` says what was asked, ``labels/NNNNN.safetensors`` holds one epoch: the teacher's
answers, a row an image, to views that follow from the seed (in labels of the first version they
lie beside the answers). A label is addressed by (epoch, image) and depends on no batch size, order
or worker.
"""

from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from dfkd.datasets.written.answers import rows_as_answers
from dfkd.datasets.written.epochs import read_epoch
from dfkd.datasets.written.label_manifest import (
    LABELS,
    LabelManifest,
    epoch_name,
    read_label_manifest,
)
from dfkd.datasets.written.manifest import MANIFEST
from dfkd.datasets.written.reader import WrittenSet
from dfkd.datasets.written.shards import digest
from dfkd.datasets.written.views import Views, show_views
from dfkd.errors import DfkdError


class LabelStore:
    """A set with its labels: what a student needs where no teacher is.

    Args:
        data: the set.
        check: compare every epoch's checksum first.

    Attributes:
        data: the set.
        manifest: of the labels; None: the set has only the answers to its images as they are.

    Raises:
        DfkdError: labels that are damaged, unfinished, or of another set.
    """

    def __init__(self, data: WrittenSet, check: bool = False) -> None:
        self.data, self.manifest = data, read_label_manifest(data.directory)
        self._epoch: tuple[int, Views, dict[str, Tensor]] | None = None
        data.check_bytes()
        if not bool(data.column("logits").isfinite().all()):
            raise DfkdError(f"{data.directory} has answers that are not finite: make it anew")
        self._images = data.column("images")
        if self.manifest is None:
            return
        self._check(self.manifest)
        for epoch, known in enumerate(self.manifest.epochs if check else ()):
            if digest(data.directory / epoch_name(epoch)) != known:
                raise DfkdError(f"{data.directory / epoch_name(epoch)} is damaged: label again")

    def _check(self, manifest: LabelManifest) -> None:
        place, images = self.data.directory, len(self.data)
        anew = "remove labels.json and labels/, and run dfkd dataset label again"
        if manifest.images != images:
            raise DfkdError(f"{place} has {images} images and labels of {manifest.images}: {anew}")
        if manifest.teacher not in [one.hash for one in self.data.manifest.teachers]:
            raise DfkdError(f"{place} has labels of another teacher: {anew}")
        if not manifest.complete:
            raise DfkdError(f"{place} has unfinished labels: run dfkd dataset label again")

    @property
    def name(self) -> str:
        """What messages call it."""
        return self.data.name

    @property
    def identity(self) -> str:
        """Its name and the hash of all that it says of itself: another set is another run."""
        files = (self.data.directory / name for name in (MANIFEST, LABELS))
        sums = [digest(file) for file in files if file.is_file()]
        return " ".join([self.name, *(one[:16] for one in sums)])

    @property
    def epochs(self) -> int:
        """How many passes there are labels for; 0: only the images as they are."""
        return len(self.manifest.epochs) if self.manifest else 0

    def __len__(self) -> int:
        return len(self.data)

    def batch(self, epoch: int, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the teacher was shown of some images in an epoch, and what it said.

        Args:
            epoch: from 0 to before ``epochs``; of no account where there is none.
            indices: of the images.

        Returns:
            Images in [0, 1], N x C x H x W, and logits, N x classes.
        """
        classes = len(self.data.manifest.classes)
        if self.manifest is None:
            return self._images[indices].float() / 255, self._plain(indices)
        views, answers = self._read(epoch)
        rows = {n: v if len(v) == 1 and n == "scale" else v[indices] for n, v in answers.items()}
        said = rows_as_answers(rows, classes, self.manifest.top_k, self.manifest.bits)
        return show_views(self.read, views, indices), said

    def read(self, indices: Tensor) -> Tensor:
        """Return images as stored, uint8."""
        return self._images[indices]

    def _plain(self, indices: Tensor) -> Tensor:
        if self._epoch is None:
            self._epoch = (-1, Views(*[torch.empty(0)] * 8), {"logits": self.data.column("logits")})
        return self._epoch[2]["logits"][indices].float()

    def _read(self, epoch: int) -> tuple[Views, dict[str, Tensor]]:
        if self._epoch is None or self._epoch[0] != epoch:
            assert self.manifest is not None
            classes = len(self.data.manifest.classes)
            found = read_epoch(self.data.directory, self.manifest, epoch, classes)
            self._epoch = (epoch, *found)
        return self._epoch[1:]


def plain_summary(manifest: LabelManifest | None) -> dict[str, Any]:
    """Return what a run's manifest says of the labels that it learned from."""
    if manifest is None:
        return {"epochs": 0}
    views = asdict(manifest.views)
    bits = {} if manifest.bits == 16 else {"bits": manifest.bits}
    return {"epochs": len(manifest.epochs), "top_k": manifest.top_k, **bits, "views": views}

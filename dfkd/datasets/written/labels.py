"""Soft labels of a written dataset: what the teacher said of every view, so that it may be gone.

``labels.json`` says what was asked, ``labels/NNNNN.safetensors`` holds one epoch: the views
(``dfkd.datasets.written.views``) and the teacher's answers to them, a row an image. A label is
addressed by (epoch, image) and depends on no batch size, order or worker.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ConfigDict, TypeAdapter, ValidationError
from torch import Tensor

from dfkd.datasets.written.epochs import class_kind, read_epoch
from dfkd.datasets.written.manifest import MANIFEST
from dfkd.datasets.written.reader import WrittenSet
from dfkd.datasets.written.shards import digest, write_columns
from dfkd.datasets.written.views import ViewConfig, Views, show_views
from dfkd.errors import DfkdError
from dfkd.tasks.words import shown
from dfkd.training.files import write_text

LABELS = "labels.json"
MOST_EPOCHS = 10_000
_LONGEST = 10_000_000


@dataclass(frozen=True)
class LabelManifest:
    """What the labels of a set are.

    Attributes:
        views: what the teacher was shown.
        seed: of the views.
        top_k: how many answers a label keeps, the largest; 0: all, as logits.
        teacher: hash of the weights that answered.
        images: of the set.
        epochs: SHA-256 of each epoch's file; None while it is not written.
    """

    views: ViewConfig
    seed: int
    top_k: int
    teacher: str
    images: int
    epochs: tuple[str | None, ...]

    __pydantic_config__ = ConfigDict(extra="forbid", allow_inf_nan=False)

    @property
    def complete(self) -> bool:
        """Whether all epochs are there."""
        return all(self.epochs)


def epoch_name(epoch: int) -> str:
    """Return the file of an epoch within its set.

    >>> epoch_name(3)
    'labels/00003.safetensors'
    """
    return f"labels/{epoch:05d}.safetensors"


def write_label_manifest(directory: Path, manifest: LabelManifest) -> None:
    """Write ``labels.json``: whole or not at all."""
    write_text(directory / LABELS, json.dumps(asdict(manifest), indent=1) + "\n")


def read_label_manifest(directory: Path) -> LabelManifest | None:
    """Read ``labels.json``; None where the set has no labels.

    Raises:
        DfkdError: it is damaged.
    """
    path = directory / LABELS
    if not path.is_file():
        return None
    try:
        if path.stat().st_size > _LONGEST:
            raise ValueError("it is too long")
        values = json.loads(path.read_text("utf-8"))
        found = TypeAdapter(LabelManifest).validate_python(values)
        if not 1 <= len(found.epochs) <= MOST_EPOCHS or found.top_k < 0:
            raise ValueError(f"{len(found.epochs)} epochs, top_k {found.top_k}")
        return found
    except (OSError, ValueError, ValidationError, RecursionError) as error:
        reason = shown(str(error).partition("\n")[0], 80)
        raise DfkdError(
            f"{path} is damaged ({reason}): remove it and labels/ beside it, and run dfkd dataset "
            "label again"
        ) from None


def answers_as_rows(logits: Tensor, top_k: int) -> dict[str, Tensor]:
    """Return what is kept of answers: all logits, or the largest log-probabilities.

    Args:
        logits: N x classes.
        top_k: how many to keep; 0: all.
    """
    if not top_k:
        largest = torch.finfo(torch.half).max
        return {"logits": logits.clamp(-largest, largest).half()}
    values, classes = logits.log_softmax(1).topk(top_k, dim=1)
    kind = class_kind(logits.shape[1])
    return {"values": values.clamp_min(-60000).half(), "classes": classes.to(kind)}


def rows_as_answers(rows: Mapping[str, Tensor], num_classes: int) -> Tensor:
    """Return N x classes logits; what was not kept shares the rest of the probability evenly."""
    if "logits" in rows:
        return rows["logits"].float()
    values, classes = rows["values"].float(), rows["classes"].long()
    others = num_classes - values.shape[1]
    rest = (1 - values.exp().sum(1)).clamp_min(1e-6) / max(1, others)
    full = rest.log()[:, None].repeat(1, num_classes)
    return full.scatter(1, classes, values)


def write_epoch(path: Path, views: Views, answers: Mapping[str, Tensor]) -> str:
    """Write an epoch, whole or not at all; return the SHA-256 of its bytes."""
    return write_columns(path, {**views._asdict(), **answers})


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
        if self.manifest.images != len(data):
            raise DfkdError(
                f"{data.directory} has {len(data)} images and labels of {self.manifest.images}: "
                "remove labels.json and labels/, and run dfkd dataset label again"
            )
        if self.manifest.teacher not in [one.hash for one in data.manifest.teachers]:
            raise DfkdError(
                f"{data.directory} has labels of another teacher: remove labels.json and labels/, "
                "and run dfkd dataset label again"
            )
        if not self.manifest.complete:
            raise DfkdError(f"{data.directory} has unfinished labels: run dfkd dataset label again")
        for epoch, known in enumerate(self.manifest.epochs if check else ()):
            if digest(data.directory / epoch_name(epoch)) != known:
                raise DfkdError(f"{data.directory / epoch_name(epoch)} is damaged: label again")

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
        rows = {name: values[indices] for name, values in answers.items()}
        return show_views(self.read, views, indices), rows_as_answers(rows, classes)

    def read(self, indices: Tensor) -> Tensor:
        """Return images as stored, uint8."""
        return self._images[indices]

    def _plain(self, indices: Tensor) -> Tensor:
        if self._epoch is None:
            self._epoch = (-1, Views(*[torch.empty(0)] * 5), {"logits": self.data.column("logits")})
        return self._epoch[2]["logits"][indices].float()

    def _read(self, epoch: int) -> tuple[Views, dict[str, Tensor]]:
        if self._epoch is None or self._epoch[0] != epoch:
            assert self.manifest is not None
            path, classes = self.data.directory / epoch_name(epoch), self.data.manifest.classes
            known, top_k = self.manifest.epochs[epoch], self.manifest.top_k
            found = read_epoch(path, len(self.data), len(classes), top_k, known)
            self._epoch = (epoch, *found)
        return self._epoch[1:]


def plain_summary(manifest: LabelManifest | None) -> dict[str, Any]:
    """Return what a run's manifest says of the labels that it learned from."""
    if manifest is None:
        return {"epochs": 0}
    views = asdict(manifest.views)
    return {"epochs": len(manifest.epochs), "top_k": manifest.top_k, "views": views}

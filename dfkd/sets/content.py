"""What lies in a set's shards: labels, answers and pixels, read a few images at a time."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from dfkd.datasets.written import SetManifest
from dfkd.datasets.written.shards import ShardFile, shard_name
from dfkd.errors import DfkdError
from dfkd.evaluation.penultimate import look_at
from dfkd.sets.duplicates import low_frequencies, narrowed
from dfkd.sets.findings import SetFinding, brief, counted, some
from dfkd.sets.known_teachers import differing_answers
from dfkd.teacher import Teacher
from dfkd.teacher.spec import ImageSpec

_PIECE = 32 * 2**20
"""Bytes of images that are read at once."""
_MIDDLE = 0.8
"""Share of the values at an end where mean and std tell nothing of it."""


@dataclass
class SetContent:
    """What was read of a set's good shards; rows of all lists are images, in the set's order.

    Attributes:
        findings: of the shards' values.
        indices: of the images in the set.
        labels: N classes.
        decisions: N classes of the largest stored answers.
        signs: a hash of each image's bytes.
        frequencies: N x D, ``low_frequencies``.
        features: N x D, a teacher's; empty where none was given.
        constant, saturated: indices of images.
        answered: images that a teacher was shown.
        agreed: of these, those that it takes for their labels.
    """

    findings: list[SetFinding] = field(default_factory=list)
    indices: list[Tensor] = field(default_factory=list)
    labels: list[Tensor] = field(default_factory=list)
    decisions: list[Tensor] = field(default_factory=list)
    signs: list[bytes] = field(default_factory=list)
    frequencies: list[Tensor] = field(default_factory=list)
    features: list[Tensor] = field(default_factory=list)
    constant: list[int] = field(default_factory=list)
    saturated: list[int] = field(default_factory=list)
    answered: int = 0
    agreed: int = 0

    def read(
        self, directory: Path, index: int, manifest: SetManifest, teacher: Teacher | None = None
    ) -> None:
        """Read one whole shard, and add what is in it.

        Args:
            directory: of the set.
            index: of the shard, whose file has been found good.
            manifest: of the set.
            teacher: made it, and is shown its images again.
        """
        entry, name = manifest.shards[index], shard_name(index)
        start = sum(shard.count for shard in manifest.shards[:index])
        try:
            file = ShardFile(
                directory / name, manifest.image.shape, len(manifest.classes), entry.count
            )
            labels, logits = (file.read(key, 0, entry.count) for key in ("labels", "logits"))
            again = not manifest.complete and manifest.selected is None
            for kind, line in impossible_values(file, entry.count, entry.seed, manifest):
                finding = SetFinding(kind, f"{name} {line}", (index,), mends=again)
                self.findings.append(finding)
            self._look(file, start, manifest.image)
        except DfkdError as error:
            self.findings.append(SetFinding("no file", brief(error), (index,)))
            return
        self.indices.append(torch.arange(start, start + entry.count))
        self.labels.append(labels)
        self.decisions.append(logits.float().argmax(1))
        if teacher is not None:
            self._compare(file, index, teacher, again)

    def _look(self, file: ShardFile, start: int, spec: ImageSpec) -> None:
        bound = saturation_bound(spec)
        for first, images in pieces(file):
            signs = [hashlib.blake2b(one.numpy().tobytes(), digest_size=16) for one in images]
            self.signs += [one.digest() for one in signs]
            self.frequencies.append(low_frequencies(images))
            planes, at = images.flatten(2), start + first
            flat = (planes.amax(2) == planes.amin(2)).all(1)
            ends = ((images == 0) | (images == 255)).flatten(1).float().mean(1)
            self.constant += (flat.nonzero()[:, 0] + at).tolist()
            self.saturated += (((ends > bound) & ~flat).nonzero()[:, 0] + at).tolist()

    def _compare(self, file: ShardFile, index: int, teacher: Teacher, again: bool) -> None:
        labels, name = file.mapped("labels"), shard_name(index)
        try:
            seen = look_at(teacher, (images for _, images in pieces(file)))
        except DfkdError as error:
            line = f"{name} cannot be shown to the teacher: {brief(error)}"
            self.findings.append(SetFinding("answers", line, (index,)))
            return
        self.features.append(narrowed(seen.features))
        self.answered += len(labels)
        self.agreed += int((seen.logits.argmax(1) == labels).sum())
        if others := differing_answers(file.mapped("logits"), seen.logits):
            line = (
                f"{name} holds other answers than its teacher's to "
                f"{counted(len(others), 'image')} (rows {some(others)})"
            )
            self.findings.append(SetFinding("answers", line, (index,), mends=again))


def pieces(file: ShardFile) -> Iterator[tuple[int, Tensor]]:
    """Yield a shard's images some at a time, with the row of the first; for reading alone."""
    images = file.mapped("images")
    step = max(1, _PIECE // max(1, images[:1].numel()))
    for start in range(0, len(images), step):
        yield start, images[start : start + step]


def saturation_bound(spec: ImageSpec) -> float:
    """Return the share of values at 0 or 255 above which an image is called saturated.

    Data in [0, 1] of mean m and deviation s of which a share p lies at the ends and the rest at m
    has s * s = p * m * (1 - m): its mean and std thus tell p, which is .84 for handwriting (.82
    counted) and .2 for photographs. Images may lie three quarters of the way from there to 1.

    >>> saturation_bound(ImageSpec(1, 28, 28, (0.1307,), (0.3081,))) > 0.95
    True
    >>> 0.75 < saturation_bound(ImageSpec(3, 32, 32, (0.5,) * 3, (0.25,) * 3)) < 0.85
    True
    """
    mean, deviation = (sum(values) / spec.channels for values in (spec.mean, spec.std))
    room = mean * (1 - mean)
    share = deviation * deviation / room if room > 0 else 1.0
    share = _MIDDLE if share >= 1 else share
    return 1 - (1 - share) / 4


def impossible_values(
    file: ShardFile, count: int, seed: int, manifest: SetManifest
) -> Iterator[tuple[str, str]]:
    """Yield kinds and lines of what a shard's columns have that they cannot have.

    Args:
        file: the shard.
        count: its images.
        seed: its own.
        manifest: of the set.
    """
    labels, last = file.read("labels", 0, count), len(manifest.classes) - 1
    if bool(((labels < 0) | (labels > last)).any()):
        wrong = int(labels[(labels < 0) | (labels > last)][0])
        yield "labels", f"has the label {wrong}, and classes are 0 to {last}"
    for name in file.columns:
        values = file.read(name, 0, count) if name != "images" else labels
        if values.is_floating_point() and not bool(values.isfinite().all()):
            yield "values", f"has values in {brief(name)} that are not finite"
    drawn_from = file.read("seed", 0, count) if "seed" in file.columns else labels
    if manifest.selected is None and "seed" in file.columns and bool((drawn_from != seed).any()):
        yield "seed", f"was made from the seed {int(drawn_from[0])}, and its own is {seed}"

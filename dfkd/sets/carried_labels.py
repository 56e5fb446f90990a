"""Labels of the images that a selection keeps: the rows that hold for it, with their views.

A view may have a part of another image pasted in. Where that is not kept the row is worth nothing,
and the image's next one takes its place: rows are addressed by (epoch, image) in the source, and
come along with their views written out.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from dfkd.datasets.written import WrittenSet
from dfkd.datasets.written.epochs import read_epoch, write_epoch
from dfkd.datasets.written.label_manifest import (
    KEPT,
    LabelManifest,
    epoch_name,
    read_label_manifest,
    write_label_manifest,
)
from dfkd.datasets.written.views import Views

_AGAIN = "run dfkd dataset label on the new set"


def carry_labels(source: WrittenSet, places: Tensor, directory: Path) -> str:
    """Write the labels of some images beside them; returns a line on what came along.

    Each image has as many epochs as the image that has fewest: of its rows the first that hold.

    Args:
        source: the set that they are from.
        places: of the images in the source, in the new set's order, N.
        directory: of the new set; no labels are there.

    Returns:
        "" where the source has no labels.

    Raises:
        DfkdError: labels of the source that are damaged.
        OSError: it cannot be written.
    """
    found = read_label_manifest(source.directory)
    if found is None:
        return ""
    if not found.complete or found.images != len(source):
        return f"labels are unfinished and left behind: {_AGAIN}"
    rows = _Rows(source, found, places)
    holds = torch.stack([rows.holds(epoch) for epoch in range(len(found.epochs))])
    carried = int(holds.sum(0).min())
    if not carried:
        return (
            f"labels are left behind, their views have parts of images that are not kept: {_AGAIN}"
        )
    turn = holds.cumsum(0) * holds  # of each row, its number among those that hold; from 1
    sums = [rows.write(turn == epoch + 1, epoch, directory) for epoch in range(carried)]
    own = replace(found, images=len(places), epochs=tuple(sums), format=KEPT)
    write_label_manifest(directory, own)
    if carried == len(found.epochs):
        return f"labels came along: {carried} epochs"
    return (
        f"labels came along: {carried} of {len(found.epochs)} epochs, of the views without a part "
        "of an image that is not kept"
    )


class _Rows:
    """The labels of a set, of which some images are kept."""

    def __init__(self, source: WrittenSet, manifest: LabelManifest, places: Tensor) -> None:
        self.directory, self.manifest, self.places = source.directory, manifest, places
        self.classes = len(source.manifest.classes)
        self.new = torch.full((len(source),), -1)
        self.new[places] = torch.arange(len(places))

    def holds(self, epoch: int) -> Tensor:
        """Tell of each kept image whether its view in an epoch has kept images alone, N."""
        views, _ = self._read(epoch)
        return self.new[views.partner[self.places].long()] >= 0

    def write(self, wanted: Tensor, epoch: int, directory: Path) -> str:
        """Write a new epoch of the rows that are ``wanted``, old epochs x N; returns its SHA-256.

        Each image has one.
        """
        columns: dict[str, Tensor] = {}
        for own, some in self._of(wanted):
            for name, values in own.items():
                first = columns.setdefault(
                    name, torch.zeros(len(self.places), *values.shape[1:], dtype=values.dtype)
                )
                first[some] = values
        views = Views(*(columns.pop(name) for name in Views._fields))
        return write_epoch(directory / epoch_name(epoch), columns, views)

    def _of(self, wanted: Tensor) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
        for old in wanted.any(1).nonzero()[:, 0].tolist():
            some = wanted[old].nonzero()[:, 0]
            at = self.places[some]
            views, answers = self._read(old)
            partner = self.new[views.partner[at].long()].int()
            kept = views.select(at)._replace(partner=partner)._asdict()
            for name, values in answers.items():
                one = name == "scale" and len(values) == 1
                kept[name] = values.expand(len(at)) if one else values[at]
            yield kept, some

    def _read(self, epoch: int) -> tuple[Views, dict[str, Tensor]]:
        return read_epoch(self.directory, self.manifest, epoch, self.classes)

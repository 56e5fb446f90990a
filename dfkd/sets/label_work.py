"""The state of labels on the disk while they are written: true at every moment.

``labels.json`` changes under a claim of its own, and its first version is never replaced by
another's. An epoch's checksum is there only while its file has those bytes, or none; so whoever is
killed, at whatever moment, leaves what the next call goes on from.
"""

import contextlib
from dataclasses import replace
from pathlib import Path

from dfkd.datasets.written.epochs import read_epoch
from dfkd.datasets.written.label_manifest import (
    DRAWN,
    KEPT,
    LABELS,
    MOST_EPOCHS,
    LabelManifest,
    epoch_name,
    label_text,
    read_label_manifest,
    write_label_manifest,
)
from dfkd.datasets.written.shards import digest
from dfkd.errors import DfkdError
from dfkd.sets.claims import Claims, tidy
from dfkd.sets.plan import WORK
from dfkd.tasks.words import shown
from dfkd.training.files import write_first

_LEDGER = MOST_EPOCHS
"""The claim that goes with ``labels.json``: no epoch has this number."""


class LabelWork:
    """The labels of a set, as one of the processes that write them sees them.

    Args:
        directory: of the set.
        classes: of the set.

    Attributes:
        claims: of this process.
    """

    def __init__(self, directory: Path, classes: int) -> None:
        self.directory, self.classes = directory, classes
        self.claims = Claims(directory / WORK)

    def begin(self, plan: LabelManifest) -> LabelManifest:
        """Lay down a plan, or join what is there; returns what is then to be done.

        Epochs whose files are damaged or gone are to be made again.

        Raises:
            DfkdError: labels of other settings, more epochs than are asked for, or files of labels
                of which nothing is known.
            OSError: it cannot be written.
        """
        found = read_label_manifest(self.directory)
        if found is not None:
            _check_joins(self.directory, found, plan)
            if self._settled(found, plan) and not self.claims.directory.exists():
                return found  # nothing is written where nothing is to be done
        try:
            with self.claims.alone(_LEDGER):
                return self._join(plan)
        finally:
            with contextlib.suppress(OSError):  # others are at work there, or it is gone
                self.claims.directory.rmdir()

    def _join(self, plan: LabelManifest) -> LabelManifest:
        found = read_label_manifest(self.directory) or self._first(plan)
        _check_joins(self.directory, found, plan)
        if not self._settled(found, plan):
            if found.format == KEPT:
                raise _cannot_grow(self.directory)
            sums = found.epochs + (None,) * (len(plan.epochs) - len(found.epochs))
            sums = tuple(
                self._kept(epoch, replace(found, epochs=sums)) for epoch in range(len(sums))
            )
            if sums != found.epochs:
                found = replace(found, epochs=sums)
                write_label_manifest(self.directory, found)
        if found.complete:
            self._tidy()
        return found

    def _settled(self, found: LabelManifest, plan: LabelManifest) -> bool:
        """Tell whether every epoch that is asked for is there, with the bytes that are known."""
        return (
            found.complete
            and len(found.epochs) >= len(plan.epochs)
            and all(self._sound(epoch, found) for epoch in range(len(found.epochs)))
        )

    def plan(self) -> LabelManifest:
        """Read what is to be done; another process may have asked for more epochs meanwhile.

        Raises:
            DfkdError: it is gone.
        """
        found = read_label_manifest(self.directory)
        if found is None:
            raise DfkdError(f"{self.directory / LABELS} was removed meanwhile: label again")
        return found

    def missing(self) -> list[int]:
        """List the epochs that are not there yet."""
        count = len(self.plan().epochs)
        return [e for e in range(count) if not (self.directory / epoch_name(e)).exists()]

    def close(self) -> None:
        """Write the checksums of the epochs that are there; remove what was for work if all are.

        Raises:
            OSError: it cannot be written.
        """
        with self.claims.alone(_LEDGER):
            found = self.plan()
            sums = tuple(
                known or self._sum(epoch, found) for epoch, known in enumerate(found.epochs)
            )
            if sums != found.epochs:
                found = replace(found, epochs=sums)
                write_label_manifest(self.directory, found)
            if found.complete:
                self._tidy()

    def _first(self, plan: LabelManifest) -> LabelManifest:
        if any((self.directory / "labels").glob("*.safetensors")):
            raise DfkdError(
                f"{self.directory}/labels holds labels, and no {LABELS} says of what: remove it"
            )
        write_first(self.directory / LABELS, label_text(plan))
        return self.plan()

    def _sound(self, epoch: int, found: LabelManifest) -> bool:
        path, known = self.directory / epoch_name(epoch), found.epochs[epoch]
        if path.is_symlink() or not path.is_file():
            return False
        if known is not None:
            return digest(path) == known
        try:
            read_epoch(self.directory, found, epoch, self.classes)
        except DfkdError:
            return False
        return True

    def _kept(self, epoch: int, found: LabelManifest) -> str | None:
        """Return the checksum of an epoch whose file is sound; remove any other file.

        The file goes before its checksum does: a checksum without a file is no untruth.
        """
        if self._sound(epoch, found):
            return found.epochs[epoch]
        (self.directory / epoch_name(epoch)).unlink(missing_ok=True)
        return None

    def _sum(self, epoch: int, plan: LabelManifest) -> str | None:
        path = self.directory / epoch_name(epoch)
        if not path.exists():
            return None
        read_epoch(self.directory, plan, epoch, self.classes)
        return digest(path)

    def _tidy(self) -> None:
        tidy(self.claims, self.directory, f"{LABELS}.*")
        tidy(self.claims, self.directory / "labels")


def _check_joins(directory: Path, found: LabelManifest, plan: LabelManifest) -> None:
    """Raise unless what is asked for goes on with what is there."""
    told = replace(found, format=DRAWN, bits=plan.bits) if found.format == KEPT else found
    if others := told.differences(plan):
        raise DfkdError(
            f"{directory} has other labels already ({shown('; '.join(others), 100)}): ask for "
            f"these, or remove {LABELS} and labels/"
        )
    if found.format == KEPT and len(plan.epochs) > len(found.epochs):
        raise _cannot_grow(directory)
    if len(plan.epochs) < len(found.epochs):
        raise DfkdError(
            f"{directory} has labels of {len(found.epochs)} epochs, and `epochs` {len(plan.epochs)}"
            f" is fewer: ask for as many or more, or remove {LABELS} and labels/"
        )


def _cannot_grow(directory: Path) -> DfkdError:
    return DfkdError(
        f"{directory} has labels whose views lie beside them (of an earlier version, or handed on "
        f"by select): they are read, not added to; remove {LABELS} and labels/ to label anew"
    )

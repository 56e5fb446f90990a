"""What is wrong with the labels of a set; ``dfkd dataset label`` makes them again."""

from collections.abc import Iterator
from pathlib import Path

from dfkd.datasets.written import SetManifest
from dfkd.datasets.written.epochs import read_epoch
from dfkd.datasets.written.label_manifest import LABELS, epoch_name, read_label_manifest
from dfkd.errors import DfkdError
from dfkd.sets.findings import SetFinding

KIND = "label file"


def label_damage(directory: Path, manifest: SetManifest) -> Iterator[SetFinding]:
    """Read every epoch that is said to be there; what another process has yet to write is no fault.

    Args:
        directory: of the set.
        manifest: of the set.
    """
    if (directory / LABELS).is_symlink():
        return  # a stranger, and told as one
    try:
        found = read_label_manifest(directory)
        if found is None:
            return
        if found.images != manifest.count:
            line = f"{LABELS} is of {found.images} images: remove it and labels/, and label again"
            yield SetFinding(KIND, line)
            return
    except DfkdError as error:
        yield SetFinding(KIND, str(error))
        return
    for epoch, known in enumerate(found.epochs):
        path = directory / epoch_name(epoch)
        if known is None and not path.exists():
            continue
        try:
            read_epoch(directory, found, epoch, len(manifest.classes))
        except DfkdError as error:
            yield SetFinding(KIND, str(error))

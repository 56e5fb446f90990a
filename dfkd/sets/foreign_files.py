"""What lies in a set's directory and is not of the set."""

import re
from collections.abc import Iterator
from pathlib import Path

from dfkd.datasets.written import SetManifest
from dfkd.datasets.written.shards import shard_name
from dfkd.runs.run_entries import classify_entries
from dfkd.sets.findings import SetFinding, brief
from dfkd.sets.plan import SET, WORK
from dfkd.tasks.words import shown
from dfkd.training.files import PART


def foreign_files(directory: Path, manifest: SetManifest) -> Iterator[SetFinding]:
    """Find files that a set does not have: left over from its making, links, and strangers.

    What others may be writing at this moment, in a set that is not closed, is none of them.
    """
    planned = {shard_name(index) for index in range(len(manifest.shards))}
    try:
        for path, ours in classify_entries(directory, SET):
            name = path.relative_to(directory).as_posix()
            if name in planned:
                continue
            if ours and is_leftover(path, directory):
                if manifest.complete:
                    line = f"{shown(name, 80)} is left over from the making of the set"
                    yield SetFinding("leftover", line, mends=True)
            elif not ours or re.fullmatch(r"shards/\d+\.safetensors", name):
                kind = "link" if path.is_symlink() else "stranger"
                what = "is a link" if path.is_symlink() else "is no file of the set"
                yield SetFinding(kind, f"{shown(name, 80)} {what}: move it away")
    except OSError as error:
        yield SetFinding("stranger", f"a folder cannot be listed: {brief(error)}")


def is_leftover(path: Path, directory: Path) -> bool:
    """Tell whether a file or folder was for the work on a set alone."""
    parts = path.relative_to(directory).parts
    return parts[0] == WORK or re.search(rf"(?:{PART}|\.part|\.tmp)$", parts[-1]) is not None

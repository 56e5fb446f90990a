"""What is there of a set, and closing it: whole, summed up, and tidied."""

from pathlib import Path

from dfkd.datasets.written import SetManifest
from dfkd.datasets.written.manifest import read_manifest, write_manifest
from dfkd.datasets.written.shards import ShardFile, digest, shard_name
from dfkd.runs.run_entries import listed
from dfkd.sets.claims import Claims, tidy
from dfkd.sets.plan import SET, WORK


def is_begun(directory: Path) -> bool:
    """Tell whether there is nothing but a set in a directory, perhaps just begun by another."""
    entries = listed(directory) if directory.is_dir() else []
    return bool(entries) and all(map(SET.owns, entries))


def missing_shards(directory: Path, plan: SetManifest) -> list[int]:
    """List the shards of a plan that are not there yet, in their order."""
    return [i for i in range(len(plan.shards)) if not (directory / shard_name(i)).exists()]


def close(directory: Path, plan: SetManifest) -> SetManifest:
    """Check that every shard is there and whole, write their checksums, remove what was for work.

    Raises:
        DfkdError: a shard that is missing or damaged.
        OSError: it cannot be written.
    """
    sums = []
    for index, entry in enumerate(plan.shards):
        path = directory / shard_name(index)
        ShardFile(path, plan.image.shape, len(plan.classes), entry.count)
        sums.append(digest(path))
    closed = plan.closed(sums)
    try:
        write_manifest(directory, closed)
    except FileNotFoundError:  # another process closed it meanwhile, and tidied up
        if not read_manifest(directory).complete:
            raise
    tidy(Claims(directory / WORK), directory)
    tidy(Claims(directory / WORK), directory / "shards")
    return closed

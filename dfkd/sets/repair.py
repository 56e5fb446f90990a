"""``repair_set``: make again what is damaged of a set, to the same bytes, and nothing else."""

from collections.abc import Sequence
from pathlib import Path

from dfkd.datasets.written import SetManifest
from dfkd.datasets.written.manifest import read_manifest
from dfkd.datasets.written.shards import digest, shard_name, write_shard
from dfkd.errors import DfkdError, unwritable
from dfkd.runs.options import Compute, Output
from dfkd.runs.run_entries import classify_entries, misplaced
from dfkd.sets.check import check_set
from dfkd.sets.findings import SetCheck
from dfkd.sets.foreign_files import is_leftover
from dfkd.sets.known_teachers import makers_of
from dfkd.sets.order_again import order_of
from dfkd.sets.plan import SET, outline
from dfkd.sets.run import SetRun
from dfkd.tasks.words import shown
from dfkd.teacher import Teacher
from dfkd.teacher.given import as_teachers
from dfkd.training import devices
from dfkd.training.files import replacing


def repair_set(
    directory: Path | str,
    found: SetCheck | None = None,
    teacher: Teacher | Sequence[Teacher] | None = None,
    compute: Compute | None = None,
) -> SetCheck:
    """Make damaged and missing shards of a set again, and check it anew.

    Args:
        directory: of the set; nothing outside it is written.
        found: what ``check_set`` has found, where that is known.
        teacher: that made it, or several; those that are left out are loaded by what the manifest
            says, if it names no code.
        compute: device and compilation, as when the set was made: others round differently.

    Returns:
        What is still wrong.

    Raises:
        DfkdError: nothing can be mended, and why: a link, a teacher that has to be given, another
            machine's bytes.
    """
    directory = Path(directory)
    found = found or check_set(directory, teacher)
    if not any(one.mends for one in found.findings):
        return found
    manifest = read_manifest(directory)
    check_inside(directory)
    teachers = as_teachers(teacher or ())
    try:
        if found.damaged:
            run = _begin(directory, manifest, teachers, compute or Compute(), found.damaged)
            for index in found.damaged:
                _make_again(run, index)
        if manifest.complete:
            _tidy_up(directory)
    except OSError as error:
        raise unwritable(error, directory) from error
    return check_set(directory, teacher)


def check_inside(directory: Path) -> None:
    """Raise a ``DfkdError`` where what is written to a set would land elsewhere."""
    for path in (directory, directory / "shards"):
        if path.is_symlink():
            raise DfkdError(
                f"{shown(str(path), 120)} is a link, and nothing outside a set is written: name "
                "the directory itself"
            )


def _begin(
    directory: Path, manifest: SetManifest, teachers: Sequence[Teacher], compute: Compute,
    damaged: Sequence[int],
) -> SetRun:  # fmt: skip
    """Set up the work on a set as when it was made; raises where it cannot be."""
    order, makers = order_of(manifest), makers_of(manifest, teachers)
    if told := manifest.differences(outline(order, makers)):
        raise DfkdError(
            f"the manifest does not fit its own recipe ({shown('; '.join(told), 120)}): fetch it "
            "again, for no shard can be made from it"
        )
    for index in damaged:
        path = directory / shard_name(index)
        if path.is_symlink():
            path.unlink()
    if (entry := misplaced(directory, SET)) is not None:
        raise DfkdError(f"{shown(str(entry), 120)} is a link or no file: move it away first")
    run = SetRun(makers, order, compute, Output(directory))
    run.plan = manifest
    device = devices.resolve_device(compute.device)
    for maker in makers:
        maker.teacher.to(device)
    return run


def _make_again(run: SetRun, index: int) -> None:
    """Make one shard; it takes its place only with the bytes that the manifest knows."""
    path, wanted = run.directory / shard_name(index), run.plan.shards[index].sha256
    path.parent.mkdir(exist_ok=True)
    rows = run.make(index)
    with replacing(path) as part:
        write_shard(part, rows)
        if wanted is not None and digest(part) != wanted:
            made = run.plan.versions.get("torch", "")
            raise DfkdError(
                f"shard {index} comes out with other bytes here: the set was made on another kind "
                f"of machine, with another torch ({shown(made, 20)} then), or its manifest was "
                "changed; fetch the shard from where the set came from"
            )


def _tidy_up(directory: Path) -> None:
    """Remove what was left over from the making; links and strangers stay."""
    for path, ours in list(classify_entries(directory, SET)):
        if ours and is_leftover(path, directory):
            if path.is_dir():
                if not any(path.iterdir()):
                    path.rmdir()
            else:
                path.unlink()

"""``--out``: refused before any work where it must not be written, emptied of what is ours."""

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

from dfkd.errors import DfkdError
from dfkd.runs.run_entries import RUN, DirectoryLayout, classify_entries, listed, misplaced
from dfkd.tasks.words import shown


def prepare(
    path: Path,
    overwrite: bool = False,
    resume: bool = False,
    layout: DirectoryLayout = RUN,
    reads: Iterable[Path] = (),
) -> Path:
    """Check ``--out`` before any work; nothing is created or removed (``create`` does that).

    Args:
        path: the directory.
        overwrite: allow an earlier run there, to be replaced.
        resume: allow an earlier run there, to go on.
        layout: what is to be written there; an earlier one of these may be replaced.
        reads: files and directories that the command reads, there or not.

    Raises:
        DfkdError: it exists and is not empty (and neither flag allows that), or holds what dfkd
            did not write; it is a file, a link, a directory that others live in, or one that is
            read from; it cannot be written; both flags at once.
    """
    if resume and overwrite:
        raise DfkdError("`resume` continues what `overwrite` replaces: give one of them")
    check_name(path)
    try:
        if not resume:
            _check_place(path)
        _check_reads(path, reads)
        if path.exists() and not path.is_dir():
            raise DfkdError(f"`output` {path} is a file; name a directory")
        if path.is_dir() and resume:
            _check_links(path, layout)
        elif path.is_dir() and listed(path):
            if not overwrite:
                raise DfkdError(
                    f"`output` {path} exists and is not empty; choose another or add `overwrite`"
                )
            leftovers(path, layout)
        ancestor = next(parent for parent in (path, *path.absolute().parents) if parent.exists())
    except OSError as error:
        raise _unwritable(path, error) from None
    if not os.access(ancestor, os.W_OK):
        raise DfkdError(f"`output` {path} cannot be written; choose another")
    return path


def create(
    path: Path, resume: bool = False, overwrite: bool = False, layout: DirectoryLayout = RUN
) -> None:
    """Make the directory that ``prepare`` allowed, empty unless the run in it goes on.

    Called when all that can be refused has been: a mistyped teacher costs no earlier run. Only what
    dfkd wrote is removed, entry by entry.

    Args:
        path: the directory.
        resume: the run in it goes on, and keeps its files.
        overwrite: what an earlier run wrote may go.
        layout: what an earlier run can have written.

    Raises:
        DfkdError: it cannot be made or emptied, or something has come into it since.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        if not resume and listed(path):
            if not overwrite:
                raise DfkdError(f"`output` {path} is not empty any more: another run?")
            _remove(leftovers(path, layout))
    except OSError as error:  # root may write everywhere, says os.access: also where nobody can
        raise _unwritable(path, error) from None


def discard(path: Path, layout: DirectoryLayout = RUN) -> None:
    """Remove what was written to ``path``, and the directory; where anything else is, nothing."""
    with contextlib.suppress(DfkdError, OSError):
        _remove(leftovers(path, layout))
        path.rmdir()


def leftovers(path: Path, layout: DirectoryLayout) -> list[Path]:
    """List what an earlier run wrote to ``path``, in the order in which it can be removed.

    Raises:
        DfkdError: it is not of ``layout``, or holds anything else; the first such is named.
    """
    found = list(classify_entries(path, layout))
    stranger = next((entry for entry, ours in found if not ours), None)
    named = "" if stranger is None else f" ({stranger.relative_to(path)} is in it)"
    if not layout.known(path):
        raise DfkdError(
            f"`overwrite` replaces only a run's directory, and {path} does not look like one{named}"
        )
    if stranger is not None:
        raise DfkdError(
            f"`overwrite` deletes only what dfkd wrote, and {stranger} is something else; move it "
            "away or choose another `output`"
        )
    return [entry for entry, _ in found]


def _remove(entries: Iterable[Path]) -> None:
    for entry in entries:
        if entry.is_dir() and not entry.is_symlink():
            entry.rmdir()
        else:
            entry.unlink()


def check_name(path: Path) -> None:
    """Raise where no file can be called like that, or only by some of the libraries that write."""
    try:
        sound = b"\0" not in str(path).encode("utf-8")
        path.exists()
    except UnicodeEncodeError:
        sound = False
    except OSError as error:
        raise _unwritable(path, error) from None
    if not sound:
        raise DfkdError(f"`output` {shown(path, 150)} is no name in UTF-8; choose another")


def _check_place(path: Path) -> None:
    """Raise where more than a run lives in ``path``, or it only points elsewhere."""
    if path.is_symlink():
        raise DfkdError(f"`output` {path} is a link; name the directory that it points to")
    lived_in = {"the directory you are in": Path.cwd(), "your home": Path(os.path.expanduser("~"))}
    for name, place in lived_in.items():
        if _holds(path, place):
            raise DfkdError(f"`output` {path} is or holds {name}; name a directory inside it")


def _check_reads(path: Path, reads: Iterable[Path]) -> None:
    for source in reads:
        if _holds(path, source):
            raise DfkdError(f"`output` {path} is or holds {source}, which is read; choose another")
        if _holds(source, path):
            raise DfkdError(f"`output` {path} lies in {source}, which is read; choose another")


def _holds(outer: Path, inner: Path) -> bool:
    """Whether ``inner`` is ``outer`` or lies in it, by whatever names and links."""
    if not os.path.exists(outer):  # unlike Path's it never raises, whatever the name
        return False
    chains = (Path(os.path.abspath(inner)), Path(os.path.realpath(inner)))
    places = (place for chain in chains for place in (chain, *chain.parents))
    return any(os.path.exists(place) and place.samefile(outer) for place in places)


def _check_links(path: Path, layout: DirectoryLayout) -> None:
    """Raise where a run that goes on would write through a link, or to what is no file."""
    if entry := misplaced(path, layout):
        what = "a link" if entry.is_symlink() else "not what its name says"
        raise DfkdError(f"`resume` would write to {entry}, which is {what}; move it away")


def _unwritable(path: Path, error: OSError) -> DfkdError:
    return DfkdError(
        f"`output` {shown(path, 150)} cannot be written ({error.strerror}); choose another"
    )

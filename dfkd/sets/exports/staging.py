"""A directory that is whole or not there."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dfkd.errors import unwritable
from dfkd.runs import run_directory
from dfkd.runs.run_entries import DirectoryLayout


@contextmanager
def staged(place: Path, layout: DirectoryLayout, overwrite: bool) -> Iterator[Path]:
    """Yield a new directory beside ``place``, which takes its place when the block ends well.

    Args:
        place: allowed by ``run_directory.prepare``; absent, empty or to be replaced.
        layout: of what may be replaced there.
        overwrite: whether it may.

    Raises:
        DfkdError: it cannot be written, or something else has come to be there.
    """
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=f"{place.name}.", suffix=".part", dir=place.parent))
    except OSError as error:
        raise unwritable(error, place) from error
    try:
        yield made
        run_directory.create(place, overwrite=overwrite, layout=layout)
        os.chmod(made, 0o755)  # mkdtemp gives 0700: nobody else could read it
        place.rmdir()  # a rename replaces an empty directory on some systems only
        made.rename(place)
    except OSError as error:
        raise unwritable(error, place) from error
    finally:
        shutil.rmtree(made, ignore_errors=True)

"""Files that are whole or not there, and that replace whatever had their name."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PART = r"\.[a-z0-9_]{8}\.part"
"""What ``replacing`` appends to a name while it is being written, as a regular expression."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a new file beside ``path``, which takes its place when the block ends well.

    Where ``path`` is a link the link is replaced, and what it points to stays as it is. Where the
    block fails, nothing has changed.

    Raises:
        OSError: it cannot be written there.
    """
    handle, name = tempfile.mkstemp(prefix=f"{path.name}.", suffix=".part", dir=path.parent)
    os.close(handle)
    try:
        yield Path(name)
        os.chmod(name, 0o644)  # mkstemp gives 0600: nobody else could read a student
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8: whole or not at all."""
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8")


def write_first(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8, whole or not at all; of several that write, the first one's stays.

    Raises:
        OSError: it cannot be written.
    """
    handle, name = tempfile.mkstemp(prefix=f"{path.name}.", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        # Unlike a rename a link replaces nothing; and whoever ended the work has tidied up.
        with contextlib.suppress(FileExistsError, FileNotFoundError):
            os.chmod(name, 0o644)
            os.link(name, path)
    finally:
        Path(name).unlink(missing_ok=True)

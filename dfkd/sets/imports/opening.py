"""What a source is, by what is in it."""

from collections.abc import Sequence
from pathlib import Path

from dfkd.errors import DfkdError
from dfkd.sets.imports.image_folder import open_folder
from dfkd.sets.imports.incoming import IncomingSet, PictureReader
from dfkd.sets.imports.parquet_files import open_parquet
from dfkd.sets.imports.tar_files import open_tars
from dfkd.tasks.words import shown


def open_source(source: Path, reader: PictureReader, class_names: Sequence[str]) -> IncomingSet:
    """Tell what a source is by what is in it, and open it.

    Args:
        source: a directory or a file.
        reader: of its pictures.
        class_names: the model's; those of a folder are matched with them.

    Raises:
        DfkdError: nothing that can be imported is there.
    """
    try:
        if source.suffix == ".tar" or any(source.glob("*.tar")):
            return open_tars(source, reader)
        if source.suffix == ".parquet" or any(source.glob("*.parquet")):
            return open_parquet(source, reader)
        if source.is_dir():
            return open_folder(source, reader, class_names)
    except OSError as error:
        raise DfkdError(f"{shown(source, 120)} cannot be read ({error.strerror})") from None
    raise DfkdError(
        f"{shown(source, 120)} is no directory of pictures, tar or parquet files, nor such a file"
    )

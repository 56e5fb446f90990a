"""Hand written datasets on to other tools, and take theirs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from dfkd.cli import metavars
from dfkd.cli.dataset_arguments import SetDirectory
from dfkd.cli.image_options import UNSAID, ImageOptions


@dataclass(frozen=True)
class DatasetExport:
    """Write a set in the form of another tool; every pixel stays as it is.

    Attributes:
        directory: of the set.
        out: Directory of the export, absent or empty.
        to: folder (ImageFolder, with metadata.jsonl), webdataset (tar shards), parquet (Hugging
            Face's columns; needs dfkd[data]), croissant (croissant.json in a folder or parquet
            export that is in --out, or in a new folder), calibration (normalised float32 inputs).
        count: Images of a calibration set, as many of each class as can be (256).
        overwrite: Replace an earlier export in --out.
        debug: Show the traceback of a mistake.
    """

    directory: SetDirectory
    out: metavars.Directory
    to: Annotated[str, arg(metavar="FORMAT")]
    count: metavars.OptionalInt = None
    overwrite: bool = False
    debug: metavars.Debug = False


@dataclass(frozen=True)
class DatasetImport:
    """Make a native set of a folder of pictures, of tar shards or of parquet files.

    With --image pictures of other sizes are scaled and cropped to that; without, they are refused.

    Attributes:
        source: Directory with one directory a class, with *.tar or *.parquet; or such a file.
        out: Directory of the set, absent or empty.
        teacher: MODEL that is asked about the images, see `dfkd distill --help`; an exported set
            can have the answers of its own.
        device: auto, cpu, cuda or mps.
        overwrite: Replace an earlier set in --out.
        facts: What images the model takes, where its source does not say.
        debug: Show the traceback of a mistake.
    """

    source: Positional[Annotated[Path, arg(metavar="SOURCE")]]
    out: metavars.Directory
    teacher: Annotated[str | None, arg(metavar="MODEL")] = None
    device: str = "auto"
    facts: Annotated[ImageOptions, arg(name="")] = UNSAID
    overwrite: bool = False
    debug: metavars.Debug = False

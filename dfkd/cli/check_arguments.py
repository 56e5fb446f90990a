"""What ``dataset check`` and ``dataset card`` take."""

from dataclasses import dataclass

from dfkd.cli import metavars
from dfkd.cli.dataset_arguments import SetDirectory


@dataclass(frozen=True)
class DatasetCheck:
    """What is wrong with a set, a line each; exit status 0 where nothing is, 1 where something is.

    Attributes:
        directory: of the set, closed or not.
        teacher: MODELs that it was made from: shown its images again, and needed for --repair where
            the manifest names code.
        prior: What its images were compared with, where that was named when the set was made.
        repair: Make damaged and missing shards again, to the same bytes; remove leftovers.
        device: auto, cpu, cuda or mps: for --repair that which the set was made on.
        compile: on or off (auto), as when the set was made.
        debug: Show the traceback of a mistake.
    """

    directory: SetDirectory
    teacher: metavars.Models = ()
    prior: metavars.PriorName = None
    repair: bool = False
    device: str = "auto"
    compile: str = "auto"
    debug: metavars.Debug = False


@dataclass(frozen=True)
class DatasetCard:
    """Write card.md and a picture into a set: what it is, how it was made, what it is not.

    Attributes:
        directory: of the set, closed.
        debug: Show the traceback of a mistake.
    """

    directory: SetDirectory
    debug: metavars.Debug = False

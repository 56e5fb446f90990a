"""``dataset quality`` and ``dataset select``: what images are worth, and which to keep."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from dfkd.cli import metavars
from dfkd.cli.image_options import UNSAID, ImageOptions

_Set = Positional[Annotated[Path, arg(metavar="DIR")]]
_Model = Annotated[str | None, arg(metavar="MODEL")]
_Place = Annotated[Path | None, arg(metavar="DIR")]


@dataclass(frozen=True)
class DatasetQuality:
    """Measure a set's images: diversity, labels as networks see them, distances to real images.

    Nothing is fetched. Features are those of the networks that are named, before their classifier:
    figures compare sets under one network, and not with figures of other papers.

    Attributes:
        directory: of the set.
        teacher: MODEL that the images were made from: its figures are circular.
        judge: MODEL that had no part in them.
        real: DATA, real labelled images to compare with; see `dfkd distill --help`.
        json: Also write all figures there.
        device: auto, cpu, cuda or mps.
        facts: What images the models take, where their sources do not say.
        debug: Show the traceback of a mistake.
    """

    directory: _Set
    teacher: _Model = None
    judge: _Model = None
    real: metavars.Data = None
    json: metavars.File = None
    device: str = "auto"
    facts: Annotated[ImageOptions, arg(name="")] = UNSAID
    debug: metavars.Debug = False


@dataclass(frozen=True)
class DatasetSelect:
    """Write a smaller set of a set's images, class by class, beside what chance would keep.

    Attributes:
        directory: of the set, which is only read.
        out: Directory of the new set; with --compare it may be left out.
        keep: Images in all, as evenly over the classes as these have images; or
        per_class: Images of each class.
        by: confidence, diversity (greedy k-centres of the teacher's features), both or random.
        unbalanced: Classes may have any number of --keep.
        teacher: MODEL whose features tell images apart, for diversity and both.
        compare: Print what every rule would keep; no student is trained.
        seed: Of random.
        device: auto, cpu, cuda or mps.
        facts: What images the model takes, where its source does not say.
        overwrite: Replace an earlier set in --out.
        debug: Show the traceback of a mistake.
    """

    directory: _Set
    out: _Place = None
    keep: metavars.OptionalInt = None
    per_class: metavars.OptionalInt = None
    by: str = "confidence"
    unbalanced: bool = False
    teacher: _Model = None
    compare: bool = False
    seed: int = 0
    device: str = "auto"
    facts: Annotated[ImageOptions, arg(name="")] = UNSAID
    overwrite: bool = False
    debug: metavars.Debug = False

"""The commands that show: ``visualize``, and ``dataset show``."""

from dataclasses import dataclass
from typing import Annotated

from tyro.conf import Positional, arg

from dfkd.cli import metavars
from dfkd.cli.dataset_arguments import SetDirectory
from dfkd.cli.image_options import UNSAID, ImageOptions


@dataclass(frozen=True)
class Visualize:
    """Draw what a teacher sees: PNG files, an animation where something moves, and a page.

    Attributes:
        teacher: MODEL, see `dfkd distill --help`.
        out: Directory of all files.
        what: classes: pictures of classes; channels: images that excite single channels;
            reconstruction: a picture as each layer keeps it; walk: a generator's images between
            latents; evolution: how pictures come to be. channels and reconstruction need no
            batch-norm statistics.
        classes: Class indices, such as 1,7; those that a walk visits.
        count: Pictures a class, or channels a layer where --channels is not given.
        layers: Names of layers, such as layer1,layer2.0.conv1; a few from first to last where none
            are given.
        channels: Channel indices, of each layer.
        picture: PNG or JPEG to reconstruct.
        method: Whose generator learns for a walk; a name of `dfkd recipes`.
        steps: Of the optimiser; for a walk, of the student that the generator learns against.
        frames: Of the animation, 2 to 60.
        seed: Of every random choice.
        device: auto, cpu, cuda or mps.
        overwrite: Replace an earlier visualisation in --out.
        facts: What images the model takes, where its source does not say.
        debug: Show the traceback of a mistake.
    """

    teacher: Positional[metavars.TeacherURI]
    out: metavars.Directory
    what: str = "classes"
    classes: metavars.OptionalCommas = None
    count: int = 8
    layers: metavars.Names = None
    channels: metavars.OptionalCommas = None
    picture: metavars.File = None
    method: str = "nayer"
    steps: metavars.OptionalInt = None
    frames: int = 30
    seed: int = 0
    device: str = "auto"
    facts: Annotated[ImageOptions, arg(name="")] = UNSAID
    overwrite: bool = False
    debug: metavars.Debug = False


@dataclass(frozen=True)
class DatasetShow:
    """Write show.html into a set: its figures, images by class, confidences and duplicates.

    Attributes:
        directory: of the set, closed.
        teacher: MODEL that it was made from: the page then shows how the first images came to be,
            which takes as long as the first shard did.
        device: auto, cpu, cuda or mps, for that.
        open: Open the page in a browser.
        debug: Show the traceback of a mistake.
    """

    directory: SetDirectory
    teacher: metavars.OptionalStr = None
    device: str = "auto"
    open: bool = False
    debug: metavars.Debug = False

"""The command of whoever has the data: ``export-stats``."""

from dataclasses import dataclass
from typing import Annotated

from tyro.conf import Positional, arg

from dfkd.cli import metavars
from dfkd.cli.image_options import UNSAID, ImageOptions


@dataclass(frozen=True)
class ExportStats:
    """Write means and variances of what enters a teacher's layers on real data: a pack.

    Run where the data are; nothing else is in the file. Others give it as --prior pack:FILE.

    Attributes:
        teacher: MODEL, see `dfkd distill --help`.
        data: DATA, the images that the teacher was trained on; labels are looked at where
            --only-classes leaves images out.
        out: The file to write, such as pack.safetensors.
        layers: Names of layers, such as norm,blocks.0.norm1; every normalisation layer where none
            are given, or every convolution and linear layer but the first.
        noise_epsilon: Add noise for (epsilon, delta)-differential privacy, such as 8; needs Opacus
            (the extra privacy). One image more or less like any other is then hardly seen.
        noise_delta: Of the same, such as 1e-5: less than 1 over the number of images.
        device: auto, cpu, cuda or mps.
        facts: What images the model takes, where its source does not say.
        overwrite: Replace an earlier file.
        debug: Show the traceback of a mistake.
    """

    teacher: Positional[metavars.TeacherURI]
    data: metavars.RealData
    out: metavars.OutFile
    layers: metavars.Names = None
    noise_epsilon: metavars.OptionalFloat = None
    noise_delta: metavars.OptionalFloat = None
    device: str = "auto"
    facts: Annotated[ImageOptions, arg(name="")] = UNSAID
    overwrite: bool = False
    debug: metavars.Debug = False

"""The commands that train nothing."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from dfkd.cli import metavars
from dfkd.cli.image_options import UNSAID, ImageOptions


@dataclass(frozen=True)
class ProbeModel:
    """What a teacher offers, and which methods that allows.

    Attributes:
        teacher: MODEL, see `dfkd distill --help`.
        layers: List the layers with statistics, and which of them can be folded.
        invariances: Ask the teacher which changes of an image leave its class as it is.
        facts: What images the model takes, where its source does not say.
        debug: Show the traceback of a mistake.
    """

    teacher: Positional[metavars.TeacherURI]
    layers: bool = False
    invariances: bool = False
    facts: Annotated[ImageOptions, arg(name="")] = UNSAID
    debug: metavars.Debug = False


@dataclass(frozen=True)
class Evaluate:
    """Accuracy, size, latency and agreement with the first, side by side.

    Attributes:
        models: MODELs, see `dfkd distill --help`.
        data: DATA, real labelled images, see `dfkd distill --help`.
        epsilon: Also measure the accuracy under attack (PGD, 20 steps, at most 1,000 images) when
            every value may change by so much, in units of [0, 1], such as 0.03.
        facts: What images the model takes, where its source does not say.
        debug: Show the traceback of a mistake.
    """

    models: Positional[metavars.Models]
    data: metavars.RealData
    epsilon: metavars.OptionalFloat = None
    facts: Annotated[ImageOptions, arg(name="")] = UNSAID
    debug: metavars.Debug = False


@dataclass(frozen=True)
class Doctor:
    """What is wrong with a run, what shows it, why it may be so, and what to try.

    Attributes:
        run: Directory of a run of `dfkd distill`, ended or not.
        debug: Show the traceback of a mistake.
    """

    run: Positional[Path]
    debug: metavars.Debug = False


@dataclass(frozen=True)
class Recipes:
    """List the recipes, or print one as YAML."""

    name: Positional[metavars.OptionalStr] = None
    debug: metavars.Debug = False


@dataclass(frozen=True)
class Knowledge:
    """List what can be transferred: the names that --knowledge adds up."""

    debug: metavars.Debug = False


@dataclass(frozen=True)
class Schemes:
    """List how teacher and students can stand to one another (--scheme), or one's settings."""

    name: Positional[metavars.OptionalStr] = None
    debug: metavars.Debug = False


@dataclass(frozen=True)
class Bench:
    """What a step of synthesis or distillation costs, against the bare one, in one run.

    Attributes:
        what: step (of synthesis), distill (of the student), methods (every one's two steps) or
            patches (of a transformer, left out), scaling (with batch, resolution, classes and
            depth).
        model: MODEL of the teacher; scaling has its own.
        student: MODEL of the student, for distill and methods.
        batch_size: Images a step.
        rounds: Interleaved repetitions.
        compile: on or off: whether step also measures the compiled pass, which takes a minute.
        facts: What images the model takes, where its source does not say.
        debug: Show the traceback of a mistake.
    """

    what: Positional[str] = "step"
    model: str = "bundled:fashion_resnet20"
    student: str = "dfkd.networks:resnet?depth=8"
    batch_size: int = 128
    rounds: int = 11
    compile: str = "on"
    facts: Annotated[ImageOptions, arg(name="")] = UNSAID
    debug: metavars.Debug = False

"""``synthesize``, and what ``dataset`` does with a set that is written."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, UseAppendAction, arg

from dfkd.cli import metavars
from dfkd.cli.image_options import UNSAID, ImageOptions

SetDirectory = Positional[Annotated[Path, arg(metavar="DIR")]]


@dataclass(frozen=True)
class Synthesize:
    """Write a synthetic dataset, so many images of every class, from teachers alone.

    Killed and run again it goes on, to the same bytes; several processes with one --out share the
    work.

    Attributes:
        teacher: MODEL, see `dfkd distill --help`.
        out: Directory of the set; what was begun there goes on.
        per_class: Images of each class; or
        count: Images in all, shared out evenly or by --priors.
        method: A name of `dfkd recipes`: natural, sre2l and cda make an image for a class; others
            are drawn from, and sorted by the teacher.
        classes: Indices of the classes to make, such as 1,7; all where none are given.
        priors: Weights of those classes, such as 3,1.
        mixtures: Share of the images that are made for two classes at once.
        steps: Iterations of a batch of pictures; of other methods, of the student that they learn
            against.
        shard_size: Images of a shard; those optimised together where none is given.
        teachers: Further MODELs, which take turns with the first.
        config: YAML file of settings laid over the method's.
        set: key=value laid over both, such as synthesizer.jitter=4.
        seed: Of every random choice.
        devices: Processes to start here; each takes shards of its own.
        device: auto, cpu, cuda or mps.
        compile: on or off (auto): the teacher's pass as one compiled function.
        overwrite: Replace an earlier set in --out.
        facts: What images the model takes, where its source does not say.
        debug: Show the traceback of a mistake.
    """

    teacher: Positional[metavars.TeacherURI]
    out: metavars.Directory
    per_class: metavars.OptionalInt = None
    count: metavars.OptionalInt = None
    method: str = "natural"
    classes: metavars.OptionalCommas = None
    priors: metavars.Weights = None
    mixtures: float = 0.0
    steps: metavars.OptionalInt = None
    shard_size: metavars.OptionalInt = None
    teachers: metavars.Models = ()
    config: metavars.File = None
    set: UseAppendAction[metavars.Settings] = ()
    seed: int = 0
    devices: int = 1
    device: str = "auto"
    compile: str = "auto"
    facts: Annotated[ImageOptions, arg(name="")] = UNSAID
    overwrite: bool = False
    debug: metavars.Debug = False


@dataclass(frozen=True)
class DatasetLabel:
    """Ask the teacher about many views of every image; `dfkd distill set:DIR` then needs none.

    Attributes:
        directory: of the set.
        teacher: MODEL that it was made from; the one that the set names where none is given.
        epochs: Views of each image; more than there are adds to them.
        top_k: Answers to keep of each view, the largest; 0 keeps all, as is done of fewer than
            1,000 classes.
        bits: Of an answer: 4, 8, or 16 for logits in half precision.
        crop: Smallest share of its area that a view shows.
        flip: Probability of a mirror image; where none is given as the set was made.
        light: Largest relative change of brightness and contrast.
        mix: Share of views that have a part of another image pasted in.
        seed: Of the views.
        device: auto, cpu, cuda or mps.
        facts: What images the model takes, where its source does not say.
        debug: Show the traceback of a mistake.
    """

    directory: SetDirectory
    teacher: metavars.OptionalStr = None
    epochs: int = 20
    top_k: metavars.OptionalInt = None
    bits: int = 8
    crop: float = 0.5
    flip: metavars.OptionalFloat = None
    light: float = 0.2
    mix: float = 0.5
    seed: int = 0
    device: str = "auto"
    facts: Annotated[ImageOptions, arg(name="")] = UNSAID
    debug: metavars.Debug = False


@dataclass(frozen=True)
class DatasetMerge:
    """Close a set whose shards were made elsewhere: check all, write their checksums.

    Attributes:
        directory: of the set.
        debug: Show the traceback of a mistake.
    """

    directory: SetDirectory
    debug: metavars.Debug = False

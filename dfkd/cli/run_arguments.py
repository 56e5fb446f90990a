"""The commands that train: ``demo``, ``distill``, ``compare``, and ``invert``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, UseAppendAction, arg

from dfkd.cli import metavars
from dfkd.cli.image_options import UNSAID, ImageOptions


@dataclass(frozen=True)
class Demo:
    """Distil the bundled teacher into a student of a third of its size, without data.

    Attributes:
        minutes: Wall time of the training.
        seed: Of every random choice; the recipe's (0) where none is given.
        init: Where the student starts: auto, teacher or random.
        out: Directory of the run; replaced if an earlier run is there.
        set: Settings of the recipe, such as synthesizer.refined_share=0.
        debug: Show the traceback of a mistake.
    """

    minutes: float = 4.0
    seed: metavars.OptionalInt = None
    init: metavars.OptionalStr = None
    out: metavars.Directory = Path("runs/demo")
    set: UseAppendAction[metavars.Settings] = ()
    debug: metavars.Debug = False


@dataclass(frozen=True)
class Invert:
    """Pictures of what a teacher remembers of its classes.

    Attributes:
        teacher: MODEL, see `dfkd distill --help`.
        classes: Class indices, such as 1,7.
        count: How many pictures; the classes take turns.
        out: Directory of the run.
        steps: Optimiser steps a batch.
        minutes: Wall time instead.
        config: YAML file of settings laid over those for images of this size, such as `dfkd recipes
            deep_inversion` prints; of it, synthesizer's settings make pictures.
        set: key=value laid over both, such as synthesizer.jitter=4; --steps and --batch-size have
            the last word.
        seed: Of every random choice.
        device: auto, cpu, cuda or mps.
        compile: auto, on or off: the teacher's pass as one compiled function.
        recompute: Recompute the teacher's blocks instead of keeping them: less memory, more time.
        batch_size: Images a step, or auto: the method's own, halved until they fit.
        checkpoint_every: Seconds between two checkpoints, which --resume starts from.
        resume: Continue the run in --out, to the same pictures.
        overwrite: Replace an earlier run in --out.
        facts: What images the model takes, where its source does not say.
        debug: Show the traceback of a mistake.
    """

    teacher: Positional[metavars.TeacherURI]
    classes: metavars.Commas
    out: metavars.Directory
    count: int = 16
    steps: metavars.OptionalInt = None
    minutes: metavars.OptionalFloat = None
    config: metavars.File = None
    set: UseAppendAction[metavars.Settings] = ()
    seed: int = 0
    device: str = "auto"
    compile: str = "auto"
    recompute: bool = False
    batch_size: metavars.Size = None
    checkpoint_every: float = 60.0
    facts: Annotated[ImageOptions, arg(name="")] = UNSAID
    resume: bool = False
    overwrite: bool = False
    debug: metavars.Debug = False


@dataclass(frozen=True)
class Distill:
    """Train a student to answer as the teacher does, from synthetic images alone.

    Attributes:
        teacher: MODEL: bundled:NAME, torchvision:NAME, timm:NAME, FILE.py:FACTORY,
            package.module:FACTORY or run:DIR; after a ? weights=FILE and the factory's keywords.
            set:DIR is a written dataset: its images and labels stand in for a teacher.
        student: MODEL, likewise; it needs no weights. teacher:SIDE is the teacher's own network,
            shown images of a smaller side.
        out: Directory of the run.
        method: A name of `dfkd recipes`, whose recipe is the start; default where none is given.
        knowledge: What is transferred, such as "kd + hint + 300*sp"; the names and weights
            of `dfkd knowledge`.
        pair: Layers to compare, as teacher.LAYER=student.LAYER; found by size where none is given.
        scheme: How teacher and students stand to one another; a name of `dfkd schemes`.
        teachers: MODELs of further teachers, for --scheme ensemble.
        exits: keep: the early exits of --scheme self stay in the student.
        images: DATA of images to learn from, in place of a method's; labels are used if there. Also
            crops:FILE, random crops of one picture, and folder:DIR?foreign=True: foreign data.
        minutes: Wall time; 4 where no budget is given.
        steps: Student steps instead.
        eval: DATA, real labelled images for figures and nothing else: npz:FILE, folder:DIR,
            idx:DIR, set:DIR or bundled:NAME. Where an .npz does not say enough:
            npz:FILE?images=KEY&labels=KEY&layout=first&max=4095.
        unlabelled: DATA, real images without need of labels: the teacher is asked about them, and
            students are judged by them; none trains.
        teacher_accuracy: What is known of the teacher's accuracy, such as .986: predicts the
            student's.
        epsilon: Also measure the accuracy under attack (PGD, 20 steps) when every value in [0, 1]
            may change by so much; that of scheme robust where it is used.
        config: YAML file laid over the recipe.
        set: key=value laid over both, such as learner.lr=0.01.
        init: Where the student starts: auto, teacher or random.
        seed: Of every random choice; the recipe's (0) where none is given.
        device: auto, cpu, cuda or mps.
        precision: auto, bf16 or fp32.
        devices: Processes that share each batch.
        compile: auto, on or off: the teacher's pass as one compiled function.
        recompute: Recompute the teacher's blocks instead of keeping them: less memory, more time.
        batch_size: Images a step, or auto: the method's own, halved until they fit.
        checkpoint_every: Seconds between two checkpoints, which --resume starts from.
        resume: Continue the run in --out.
        overwrite: Replace an earlier run in --out.
        dry_run: Say what would be decided, made and spent; train and write nothing.
        facts: What images the model takes, where its source does not say.
        debug: Show the traceback of a mistake.
    """

    teacher: Positional[metavars.TeacherURI]
    student: Positional[metavars.StudentURI]
    out: metavars.Directory
    method: metavars.OptionalStr = None
    knowledge: metavars.OptionalStr = None
    pair: UseAppendAction[metavars.Pairs] = ()
    scheme: metavars.OptionalStr = None
    teachers: metavars.Models = ()
    exits: metavars.OptionalStr = None
    images: metavars.Data = None
    minutes: metavars.OptionalFloat = None
    steps: metavars.OptionalInt = None
    eval: metavars.Data = None
    unlabelled: metavars.Data = None
    teacher_accuracy: metavars.OptionalFloat = None
    epsilon: metavars.OptionalFloat = None
    config: metavars.File = None
    set: UseAppendAction[metavars.Settings] = ()
    init: metavars.OptionalStr = None
    seed: metavars.OptionalInt = None
    device: str = "auto"
    precision: str = "auto"
    devices: int = 1
    compile: str = "auto"
    recompute: bool = False
    batch_size: metavars.Size = None
    checkpoint_every: float = 60.0
    facts: Annotated[ImageOptions, arg(name="")] = UNSAID
    resume: bool = False
    overwrite: bool = False
    dry_run: bool = False
    debug: metavars.Debug = False


@dataclass(frozen=True)
class Compare:
    """Methods, kinds of knowledge or schemes side by side: the same clock and the same seeds.

    Attributes:
        teacher: MODEL, see `dfkd distill --help`.
        student: MODEL; for each seed every method starts from the same weights.
        out: Directory of the comparison; each run has its own in it, METHOD/seed_S.
        vary: What the runs differ in: methods, knowledge or scheme.
        methods: all, or names of `dfkd recipes` such as default,nayer; knowledge and schemes are
            varied with one of them, default where none is named.
        only: Of the knowledge or the schemes these alone, separated by commas.
        minutes: Wall time of each run; 2 where no budget is given.
        steps: Student steps of each run instead.
        seeds: One run a method and seed, such as 0,1,2.
        eval: DATA of real labelled images, for figures and nothing else.
        epsilon: Also measure the accuracy under attack (PGD, 20 steps) when every value in [0, 1]
            may change by so much; that of scheme robust where it is compared.
        images: DATA of images to learn from, in place of a method's.
        teachers: MODELs of further teachers, for the scheme ensemble.
        curve: At how many points of a run the student is kept, to be measured after the run.
        set: key=value laid over every method's recipe, such as learner.lr=0.01.
        init: Where the students start: auto, teacher or random.
        device: auto, cpu, cuda or mps.
        precision: auto, bf16 or fp32.
        checkpoint_every: Seconds between two checkpoints of a run, which --resume starts from.
        resume: Continue the comparison in --out: finished runs stand.
        overwrite: Replace an earlier comparison in --out.
        facts: What images the model takes, where its source does not say.
        debug: Show the traceback of a mistake.
    """

    teacher: Positional[metavars.TeacherURI]
    student: Positional[metavars.StudentURI]
    out: metavars.Directory
    vary: str = "methods"
    methods: metavars.Names = None
    only: metavars.Names = None
    minutes: metavars.OptionalFloat = None
    steps: metavars.OptionalInt = None
    seeds: metavars.Integers = (0, 1, 2)
    eval: metavars.Data = None
    epsilon: metavars.OptionalFloat = None
    images: metavars.Data = None
    teachers: metavars.Models = ()
    curve: int = 10
    set: UseAppendAction[metavars.Settings] = ()
    init: metavars.OptionalStr = None
    device: str = "auto"
    precision: str = "auto"
    checkpoint_every: float = 60.0
    facts: Annotated[ImageOptions, arg(name="")] = UNSAID
    resume: bool = False
    overwrite: bool = False
    debug: metavars.Debug = False

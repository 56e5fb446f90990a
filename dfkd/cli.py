"""The command line: thin over the Python API, and quick to say what it can do.

Nothing here imports torch before a command runs. A ``DfkdError`` becomes one line
on stderr and exit status 2; ``--debug`` shows the traceback instead.
"""

import contextlib
import io
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from tyro.conf import Positional, UseAppendAction, arg

from dfkd.errors import DfkdError


@dataclass(frozen=True)
class ImageFacts:
    """What images the model takes, where its source does not say.

    Attributes:
        image: CHANNELSxHEIGHTxWIDTH, such as 3x224x224.
        mean: One number a channel, in units of [0, 1] intensity.
        std: One positive number a channel.
        class_names: A text file with one name a line.
    """

    image: str | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    class_names: Path | None = None


@dataclass(frozen=True)
class Demo:
    """Distil the bundled teacher into a student of a third of its size, without data.

    Attributes:
        minutes: Wall time of the training.
        seed: Of every random choice.
        init: Where the student starts: auto, teacher or random.
        out: Directory of the run; replaced if an earlier run is there.
        set: Settings of the recipe, such as synthesizer.refined_share=0.
    """

    minutes: float = 4.0
    seed: int = 0
    init: str = "auto"
    out: Path = Path("runs/demo")
    set: UseAppendAction[tuple[str, ...]] = ()
    debug: bool = False


@dataclass(frozen=True)
class ProbeModel:
    """What a teacher offers, and which methods that allows.

    Attributes:
        teacher: MODEL URI.
        layers: List the layers with statistics, and which of them can be folded.
    """

    teacher: Positional[str]
    layers: bool = False
    facts: Annotated[ImageFacts, arg(name="")] = ImageFacts()
    debug: bool = False


@dataclass(frozen=True)
class Invert:
    """Pictures of what a teacher remembers of its classes.

    Attributes:
        teacher: MODEL URI.
        classes: Class indices, such as 1,7.
        count: How many pictures; the classes take turns.
        out: Directory of the run.
        steps: Optimiser steps a batch.
        minutes: Wall time instead.
        seed: Of every random choice.
        compile: auto, on or off: the teacher's pass as one compiled function.
        recompute: Recompute the teacher's blocks instead of keeping them: less memory, more time.
        batch_size: Images a step, or auto: the method's own, halved until they fit.
        overwrite: Replace an earlier run in --out.
    """

    teacher: Positional[str]
    classes: str
    out: Path
    count: int = 16
    steps: int | None = None
    minutes: float | None = None
    seed: int = 0
    device: str = "auto"
    compile: str = "auto"
    recompute: bool = False
    batch_size: str | None = None
    facts: Annotated[ImageFacts, arg(name="")] = ImageFacts()
    overwrite: bool = False
    debug: bool = False


@dataclass(frozen=True)
class Distill:
    """Train a student to answer as the teacher does, from synthetic images alone.

    Attributes:
        teacher: MODEL URI.
        student: MODEL URI.
        out: Directory of the run.
        method: A name of `dfkd recipes`; the recipe of that name is the start.
        minutes: Wall time; 4 where no budget is given.
        steps: Student steps instead.
        eval: DATA URI of real labelled images, for figures and nothing else.
        config: YAML file laid over the recipe.
        set: key=value laid over both, such as distiller.lr=0.01.
        init: Where the student starts: auto, teacher or random.
        seed: Of every random choice.
        device: auto, cpu, cuda or mps.
        precision: auto, bf16 or fp32.
        devices: Processes that share each batch.
        compile: auto, on or off: the teacher's pass as one compiled function.
        recompute: Recompute the teacher's blocks instead of keeping them: less memory, more time.
        batch_size: Images a step, or auto: the method's own, halved until they fit.
        resume: Continue the run in --out.
        overwrite: Replace an earlier run in --out.
    """

    teacher: Positional[str]
    student: Positional[str]
    out: Path
    method: str = "default"
    minutes: float | None = None
    steps: int | None = None
    eval: str | None = None
    config: Path | None = None
    set: UseAppendAction[tuple[str, ...]] = ()
    init: str | None = None
    seed: int = 0
    device: str = "auto"
    precision: str = "auto"
    devices: int = 1
    compile: str = "auto"
    recompute: bool = False
    batch_size: str | None = None
    facts: Annotated[ImageFacts, arg(name="")] = ImageFacts()
    resume: bool = False
    overwrite: bool = False
    debug: bool = False


@dataclass(frozen=True)
class Evaluate:
    """Accuracy, size, latency and agreement with the first, side by side.

    Attributes:
        models: MODEL URIs.
        data: DATA URI of real labelled images.
    """

    models: Positional[tuple[str, ...]]
    data: str
    facts: Annotated[ImageFacts, arg(name="")] = ImageFacts()
    debug: bool = False


@dataclass(frozen=True)
class Recipes:
    """List the recipes, or print one as YAML."""

    name: Positional[str | None] = None
    debug: bool = False


@dataclass(frozen=True)
class Bench:
    """What a step of synthesis or distillation costs, against the bare one, in one run.

    Attributes:
        what: step (of synthesis), distill (of the student), methods (every one's two steps) or
            scaling (with batch, resolution, classes and depth).
        model: MODEL URI of the teacher; scaling has its own.
        student: MODEL URI of the student, for distill and methods.
        batch_size: Images a step.
        rounds: Interleaved repetitions.
        compile: on or off: whether step also measures the compiled pass, which takes a minute.
    """

    what: Positional[str] = "step"
    model: str = "bundled:fashion_resnet20"
    student: str = "dfkd.networks:resnet?depth=8"
    batch_size: int = 128
    rounds: int = 11
    compile: str = "on"
    facts: Annotated[ImageFacts, arg(name="")] = ImageFacts()
    debug: bool = False


COMMANDS: dict[str, type[Any]] = {
    "demo": Demo,
    "probe": ProbeModel,
    "invert": Invert,
    "distill": Distill,
    "evaluate": Evaluate,
    "recipes": Recipes,
    "bench": Bench,
}


def main(words: list[str] | None = None) -> int:
    """Run one command; returns its exit status."""
    arguments = sys.argv[1:] if words is None else words
    try:
        command = _parse(arguments)
    except DfkdError as error:
        return _complain(error)
    from dfkd import commands

    try:
        return commands.run(command)
    except DfkdError as error:
        if command.debug:
            raise
        return _complain(error)
    except KeyboardInterrupt:
        print("dfkd: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # Whoever read the output has had enough (``| head``): no fault, and nobody to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _parse(arguments: list[str]) -> Any:
    """The command as a value; what tyro says of a mistake is told in one line."""
    if arguments and not arguments[0].startswith("-") and arguments[0] not in COMMANDS:
        from dfkd.errors import nearest

        raise DfkdError(f"unknown command {arguments[0]!r}{nearest(arguments[0], COMMANDS)}")
    spoken = io.StringIO()
    try:
        with contextlib.redirect_stderr(spoken):
            return tyro.extras.subcommand_cli_from_dict(
                {name: _identity(kind) for name, kind in COMMANDS.items()},
                prog="dfkd",
                description="Data-free knowledge distillation: a student from a teacher alone.",
                args=arguments,
                config=(tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff),
            )
    except SystemExit as stop:
        if not stop.code:
            raise
        text = re.sub(r"[─-╿]+", " ", spoken.getvalue())
        text = re.sub(r"\x1b\[[0-9;]*m", "", text)
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        told = [
            line for line in lines if not line.lower().startswith(("parsing error", "for full"))
        ]
        raise DfkdError(" ".join(told)[:400] + "; see dfkd COMMAND --help") from None


def _identity(kind: type[Any]) -> Callable[..., Any]:
    def build(command: Any) -> Any:
        return command

    build.__annotations__ = {"command": Annotated[kind, arg(name="")], "return": Any}
    build.__doc__ = (kind.__doc__ or "").split("\n\n")[0]
    return build


def _complain(error: DfkdError) -> int:
    print(f"dfkd: {error}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())

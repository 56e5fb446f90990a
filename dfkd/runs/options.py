"""Options of a run, in groups: how it computes, what it leaves behind, what it is measured on."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from dfkd.errors import DfkdError, check_settings

BatchSize = int | Literal["auto"] | None


def batch_size_of(words: str | int | None) -> BatchSize:
    """Read a batch size: a positive number, ``auto``, or nothing.

    Raises:
        DfkdError: anything else.
    """
    if words is None:
        return None
    if words == "auto":
        return "auto"
    text = str(words)
    if text.isascii() and text.isdigit() and int(text) > 0:
        return int(text)
    raise DfkdError(f"`batch_size` must be auto or a positive number, not {words!r}")


@dataclass(frozen=True)
class Compute:
    """How a run computes; none of it changes which run it is.

    Attributes:
        device: where every tensor lives; ``auto`` takes the fastest there is.
        precision: of the forward passes; ``auto`` is bf16 where the hardware computes in it.
        devices: processes that share each batch.
        compile: the teacher's pass as one compiled function; ``auto`` where that pays.
        recompute: keep only what enters the teacher's blocks: less memory, more time.
        batch_size: images in a step; ``auto`` halves the recipe's until they fit into memory; the
            recipe's own when left out.

    Raises:
        DfkdError: a word that is none of the choices, or a count below 1.
    """

    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    devices: Annotated[int, "[1, inf)"] = 1
    compile: Literal["auto", "on", "off"] = "auto"
    recompute: bool = False
    batch_size: int | str | None = None

    def __post_init__(self) -> None:
        check_settings(self, "`")
        batch_size_of(self.batch_size)


@dataclass(frozen=True)
class Output:
    """What a run leaves behind, and whether it takes up an earlier one.

    Attributes:
        directory: for manifest, log, page, student and checkpoint; None: no file is written.
        overwrite: replace an earlier run there.
        resume: continue the run there, which must be set as it was.
        checkpoint_every: seconds between two checkpoints.

    Raises:
        DfkdError: ``resume`` or ``overwrite`` without a directory, or both; an interval that is
            not positive.
    """

    directory: Path | str | None = None
    overwrite: bool = False
    resume: bool = False
    checkpoint_every: Annotated[float, "(0, inf)"] = 60.0

    def __post_init__(self) -> None:
        check_settings(self, "`")
        if self.resume and self.directory is None:
            raise DfkdError("`resume` continues the run in `output=DIR`: name it")
        if self.resume and self.overwrite:
            raise DfkdError("`resume` continues what `overwrite` replaces: give one of them")

    @property
    def path(self) -> Path | None:
        """The directory as a path."""
        return None if self.directory is None else Path(self.directory)


@dataclass(frozen=True)
class Evaluation:
    """What is known of the teacher's data, and measured on it.

    Nothing of it trains. ``unlabelled`` alone decides anything: it is among the held-out images.

    Attributes:
        data: real labelled images, in any form that ``distill`` takes; measured after training.
        curve: at how many evenly spaced points of the budget the student is kept, to be measured
            after the run; the finished one is the last. 0: the finished one alone.
        epsilon: also measure the accuracy under attack (``dfkd.evaluation.robustness``) when every
            value in [0, 1] may change by so much; the scheme's own when left out.
        teacher_accuracy: what the teacher's owner knows of it, in (0, 1]: the student's is then
            predicted (``dfkd.evaluation.expected``).
        unlabelled: real images without labels, in the forms of ``images`` of ``distill``: the
            teacher is asked about them, and students are judged by them.

    Raises:
        DfkdError: a negative number of points, an ``epsilon`` or an accuracy outside (0, 1], or
            something that is measured on ``data``, which is not there.
    """

    data: Any = None
    curve: Annotated[int, "[0, inf)"] = 0
    epsilon: Annotated[float, "(0, 1]"] | None = None
    teacher_accuracy: Annotated[float, "(0, 1]"] | None = None
    unlabelled: Any = None

    def __post_init__(self) -> None:
        check_settings(self, "`")
        if self.data is None and (self.curve or self.epsilon is not None):
            wanted = "a curve" if self.curve else "accuracy under attack"
            raise DfkdError(f"{wanted} needs real labelled images: give `evaluation`")

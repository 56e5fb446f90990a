"""What the options take, and by which word ``--help`` and messages call it."""

from pathlib import Path
from typing import Annotated

from tyro.conf import arg
from tyro.constructors import PrimitiveConstructorSpec

TeacherURI = Annotated[str, arg(metavar="TEACHER")]
StudentURI = Annotated[str, arg(metavar="STUDENT")]
Models = Annotated[tuple[str, ...], arg(metavar="MODEL ...")]
Directory = Annotated[Path, arg(metavar="DIR")]
OutFile = Annotated[Path, arg(metavar="FILE")]
File = Annotated[Path | None, arg(metavar="FILE")]
Files = Annotated[tuple[Path, ...], arg(metavar="FILE")]
RealData = Annotated[str, arg(metavar="DATA")]
Data = Annotated[str | None, arg(metavar="DATA")]
ImageShape = Annotated[str | None, arg(metavar="CxHxW")]
PriorName = Annotated[str | None, arg(metavar="NAME[:ARGUMENT]")]
OptionalStr = Annotated[str | None, arg(metavar="STR")]
Commas = Annotated[str, arg(metavar="INT,INT...")]
OptionalCommas = Annotated[str | None, arg(metavar="INT,INT...")]
TaskName = Annotated[str | None, arg(metavar="classification|multilabel")]
Classes = Annotated[str | None, arg(metavar="CLASS,CLASS...")]
Names = Annotated[str | None, arg(metavar="NAME,NAME...")]
Settings = Annotated[tuple[str, ...], arg(metavar="KEY=VALUE")]
Pairs = Annotated[tuple[str, ...], arg(metavar="PAIR")]
OptionalFloat = Annotated[float | None, arg(metavar="FLOAT")]
OptionalInt = Annotated[int | None, arg(metavar="INT")]
Size = Annotated[str | None, arg(metavar="INT|auto")]
Channels = Annotated[tuple[float, ...] | None, arg(metavar="FLOAT ...")]

Debug = Annotated[bool, arg(help="Show the traceback of a mistake.")]


def _integers(words: list[str]) -> tuple[int, ...]:
    return tuple(int(part) for word in words for part in word.split(",") if part)


def _weights(words: list[str]) -> tuple[float, ...]:
    return tuple(float(part) for part in words[0].split(","))


Weights = Annotated[
    tuple[float, ...] | None,
    PrimitiveConstructorSpec(
        nargs=1,
        metavar="FLOAT,FLOAT...",
        instance_from_str=_weights,
        is_instance=lambda value: value is None or isinstance(value, tuple),
        str_from_instance=lambda value: [",".join(map(str, value or ()))],
    ),
]
"""Between commas."""
Integers = Annotated[
    tuple[int, ...],
    PrimitiveConstructorSpec(
        nargs="*",
        metavar="INT ...",
        instance_from_str=_integers,
        is_instance=lambda value: isinstance(value, tuple),
        str_from_instance=lambda value: list(map(str, value)),
    ),
]
"""Between spaces or commas."""

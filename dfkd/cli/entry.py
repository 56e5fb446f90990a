"""The command line: thin over the Python API, and quick to say what it can do.

Nothing here imports torch before a command runs. A ``DfkdError`` becomes one line
on stderr and exit status 2; ``--debug`` shows the traceback instead.
"""

import os
import sys
from typing import Annotated, Any, Union

import tyro
from tyro.conf import arg, subcommand

from dfkd.cli import arguments
from dfkd.cli.flags import as_flags
from dfkd.cli.messages import one_line_errors
from dfkd.errors import DfkdError, nearest

COMMANDS: dict[str, type[Any]] = {
    "demo": arguments.Demo,
    "probe": arguments.ProbeModel,
    "invert": arguments.Invert,
    "visualize": arguments.Visualize,
    "distill": arguments.Distill,
    "compare": arguments.Compare,
    "evaluate": arguments.Evaluate,
    "export-stats": arguments.ExportStats,
    "doctor": arguments.Doctor,
    "recipes": arguments.Recipes,
    "knowledge": arguments.Knowledge,
    "schemes": arguments.Schemes,
    "bench": arguments.Bench,
    "serve": arguments.Serve,
    "synthesize": arguments.Synthesize,
    "dataset label": arguments.DatasetLabel,
    "dataset merge": arguments.DatasetMerge,
    "dataset check": arguments.DatasetCheck,
    "dataset card": arguments.DatasetCard,
    "dataset export": arguments.DatasetExport,
    "dataset import": arguments.DatasetImport,
    "dataset quality": arguments.DatasetQuality,
    "dataset select": arguments.DatasetSelect,
    "dataset show": arguments.DatasetShow,
}
GROUP = "dataset"
"""The command whose second word says what to do."""


def main(words: list[str] | None = None) -> int:
    """Run one command; returns its exit status."""
    command: Any = None
    try:
        command = _parse(sys.argv[1:] if words is None else words)
        from dfkd.cli import dispatch

        return dispatch.run(command)
    except DfkdError as error:
        if command is not None and command.debug:
            raise
        return _complain(error)
    except KeyboardInterrupt:
        print("dfkd: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # Whoever read the output has had enough (``| head``): no fault, and nobody to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (OSError, UnicodeError, MemoryError) as error:
        if command is None or command.debug:
            raise
        return _complain(DfkdError(_of_the_system(error)))


def _of_the_system(error: OSError | UnicodeError | MemoryError) -> str:
    """Say in a line what the machine would not do; files of commands have lines of their own."""
    if isinstance(error, UnicodeError):
        return f"this terminal cannot show a character ({error}): set PYTHONUTF8=1"
    if isinstance(error, MemoryError):
        return "memory is spent: `batch_size=auto` takes as many images as fit"
    file = f" of {error.filename}" if error.filename else ""
    return f"the system refuses a read or write{file}: {error.strerror or error}"


def _parse(words: list[str]) -> Any:
    """The command as a value; a mistake in its words becomes one line."""
    if not words:
        raise DfkdError(f"name a command: {', '.join(COMMANDS)}; see dfkd --help")
    if words[0] == GROUP:
        words = _grouped(words)
    if not words[0].startswith("-") and words[0] not in COMMANDS:
        raise DfkdError(f"unknown command {words[0]!r}{nearest(words[0], COMMANDS)}")
    with one_line_errors(words, COMMANDS.get(words[0])):
        return tyro.cli(
            _choice(),
            prog="dfkd",
            description="Data-free knowledge distillation: a student from a teacher alone.",
            args=words,
            config=(tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff),
        )


def _grouped(words: list[str]) -> list[str]:
    """Join ``dataset`` and what it is to do into one name."""
    actions = [name.removeprefix(f"{GROUP} ") for name in COMMANDS if name.startswith(f"{GROUP} ")]
    if words[1:] and words[1] not in actions and not words[1].startswith("-"):
        raise DfkdError(f"unknown command {GROUP} {words[1]!r}{nearest(words[1], actions)}")
    if not words[1:] or words[1] not in actions:
        raise DfkdError(f"name what to do with a dataset: {', '.join(actions)}")
    return [f"{GROUP} {words[1]}", *words[2:]]


def _choice() -> Any:
    """Return the type whose values are the commands."""
    named = tuple(Annotated[kind, subcommand(name=name)] for name, kind in COMMANDS.items())
    # Without a help text tyro searches the source of ``typing`` for one.
    return Annotated[Union[named], arg(help="dfkd COMMAND --help lists its options.")]  # noqa: UP007


def _complain(error: DfkdError) -> int:
    # Of several processes, which all find the same fault, one says so; launchers number them.
    if os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0")) == "0":
        print(f"dfkd: {as_flags(str(error))}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())

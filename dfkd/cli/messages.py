"""What is wrong with a command's words, in one line: tyro prints a box of many."""

import contextlib
import dataclasses
import difflib
import io
from collections.abc import Iterator
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import tyro
from tyro.conf import UseAppendAction

from dfkd.errors import DfkdError

COMMAS = ("--classes", "--methods", "--only")
ELSEWHERE = {
    ("compare", "--knowledge"): "--vary knowledge --only",
    ("compare", "--scheme"): "--vary scheme --only",
}


@contextlib.contextmanager
def one_line_errors(words: list[str], kind: type[Any] | None) -> Iterator[None]:
    """Raise a ``DfkdError`` of one line where tyro, within the block, would print a box and exit.

    Args:
        words: what tyro parses; the first names a command, or is an option where there is none.
        kind: the dataclass of that command, if any.
    """

    def refuse(event: Any) -> None:
        raise DfkdError(_explained(event, words, kind))

    # The events are not yet of tyro's stable interface. Without them a mistake costs its
    # explanation, and nothing else.
    events = getattr(tyro, "_errors", None)
    listening = events.on_parse_error(refuse) if events else contextlib.nullcontext()
    try:
        with contextlib.redirect_stderr(io.StringIO()), listening:
            yield
    except SystemExit as stop:
        if not stop.code:
            raise  # --help
        raise DfkdError(_explained(None, words, kind)) from None


def _explained(event: Any, words: list[str], kind: type[Any] | None) -> str:
    """Say in one line what ``event``, tyro's record of a mistake, says of ``words``."""
    command = words[0]
    if kind is None:
        return f"dfkd has no option {command}; see dfkd --help"
    what = type(event).__name__
    if what == "MissingArgs":
        return f"{command} wants {_required(kind)}; see dfkd {command} --help"
    known = _options(kind)
    words = [part for word in words for part in word.split("=", word.startswith("--"))]
    if what == "UnrecognizedArgs":
        return _unexpected(event.tokens[0], words, known)
    argument = getattr(event, "argument", None)
    option = argument.lowered.name_or_flags[-1] if argument else ""
    if option in known:
        given = " ".join(_values(option, words))
        return f"{option} wants {_wanted(known[option])}" + (f", not {given!r}" if given else "")
    return f"{getattr(event, 'message', 'these words make no command')}; see dfkd {command} --help"


def _options(kind: type[Any]) -> dict[str, Any]:
    """Types by option, positional ones among them; those of a group stand beside the others."""
    found: dict[str, Any] = {"--help": None}
    for name, hint in get_type_hints(kind, include_extras=True).items():
        plain = get_args(hint)[0] if get_origin(hint) is Annotated else hint
        if isinstance(plain, type) and dataclasses.is_dataclass(plain):
            found |= _options(plain)
        else:
            found[f"--{name.replace('_', '-')}"] = hint
    return found


def _required(kind: type[Any]) -> str:
    hints = get_type_hints(kind, include_extras=True)
    names = []
    for field in dataclasses.fields(kind):
        if field.default is dataclasses.MISSING:
            positional = "Positional" in str(hints[field.name])
            metavar = _metavar(hints[field.name])
            names.append(metavar if positional else f"--{field.name} {metavar}")
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _metavar(hint: Any) -> str:
    return next((m.metavar for m in get_args(hint)[1:] if getattr(m, "metavar", None)), "")


def _wanted(hint: Any) -> str:
    plain = str(get_args(hint)[0] if get_origin(hint) is Annotated else hint)
    word = "number" if "float" in plain else "whole number" if "int" in plain else ""
    if not word:
        return _metavar(hint) or "a word"
    return f"{word}s" if "tuple" in plain else f"a {word}"


def _values(option: str, words: list[str]) -> list[str]:
    """The words after the last ``option``, up to the next one."""
    places = [i for i, word in enumerate(words) if word.replace("_", "-") == option]
    rest = words[places[-1] + 1 :] if places else []
    stop = next((i for i, word in enumerate(rest) if word.startswith("--")), len(rest))
    return rest[:stop]


def _unexpected(first: str, words: list[str], known: dict[str, Any]) -> str:
    """Of an option that the command has not, or of a word too many."""
    command = words[0]
    for word in words[1:]:
        option = word.replace("_", "-")
        if option.startswith("--") and option not in known:
            if instead := ELSEWHERE.get((command, option)):
                value = " ".join(_values(option, words)) or "X"
                return f"{command} has no {option}: use {instead} {value!r}"
            near = difflib.get_close_matches(option, known, 1, 0.75)
            hint = f"; did you mean {near[0]}?" if near else f"; see dfkd {command} --help"
            return f"{command} has no option {option}{hint}"
    for option in COMMAS:
        values = _values(option, words) if option in known else []
        if first in values[1:]:
            return f"separate the values of {option} with commas: {option} {','.join(values)}"
    if option := _repeatable(first, words, known):
        return f"each {option} takes one value: write {option} again before {first[:60]!r}"
    return f"{command} has no use for {first!r}; see dfkd {command} --help"


def _repeatable(first: str, words: list[str], known: dict[str, Any]) -> str:
    """The option before a word too many, if that is one to be repeated; else ""."""
    before = words[: words.index(first)] if first in words else []
    options = [word.replace("_", "-") for word in before if word.startswith("--")]
    option = options[-1] if options else ""
    return option if UseAppendAction in get_args(known.get(option)) else ""

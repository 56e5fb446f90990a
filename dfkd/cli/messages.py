"""What is wrong with a command's words, in one line: tyro says it in boxes of many."""

import dataclasses
import difflib
import re
from typing import Annotated, Any, get_args, get_origin, get_type_hints

COMMAS = ("--classes", "--methods", "--only")
ELSEWHERE = {
    ("compare", "--knowledge"): "--vary knowledge --only",
    ("compare", "--scheme"): "--vary scheme --only",
}


def explained(said: str, words: list[str], kind: type[Any]) -> str:
    """``said`` by tyro of ``words``, of which the first names a command, in one line.

    Args:
        kind: the dataclass of that command.
    """
    known, command = _options(kind), words[0]
    words = [part for word in words for part in word.split("=", word.startswith("--"))]
    text = _plain(said)
    if "required option" in text.lower():
        return f"{command} wants {_required(kind)}; see dfkd {command} --help"
    if wrong := re.search(r"(?:Error parsing|Missing value for argument) '?(--[\w-]+)", text):
        given = " ".join(_values(wrong[1], words))
        return f"{wrong[1]} wants {_wanted(known[wrong[1]])}" + (
            f", not {given!r}" if given else ""
        )
    if unknown := re.search(r"options: (.+?)(?:,| \(applied| Perhaps| For full|$)", text):
        return _unexpected(unknown[1].split()[0], words, known)
    return f"{text[:400]}; see dfkd {command} --help"


def _plain(said: str) -> str:
    """Without colours, frames and rules, which are of dashes where there is nothing better."""
    return " ".join(re.sub(r"\x1b\[[0-9;]*m|[─-╿]+|-{3,}", " ", said).split())


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
    return f"{command} has no use for {first!r}; see dfkd {command} --help"

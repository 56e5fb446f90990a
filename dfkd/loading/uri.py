"""MODEL URIs: ``KIND:NAME`` or ``SOURCE:FACTORY``, then ``?weights=FILE#PART&key=value``.

Of a network that returns several values ``?answer=1``, or ``?answer=FIELD``, says which is meant.
In paths ``%26`` stands for ``&``, ``%3F`` for ``?``, ``%23`` for ``#`` and ``%25`` for ``%``.
"""

import ast
import contextlib
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dfkd.errors import DfkdError
from dfkd.loading.data_uri import LOCAL_DATA
from dfkd.tasks.words import shown

WEB_KINDS = ("http", "https")
NAMED_KINDS = (
    "bundled", "torchvision", "timm", "run", "teacher", "hf", "onnx", "torchscript", "export",
    *WEB_KINDS,
)  # fmt: skip
LOCAL_KINDS = ("run", "file", "hf", "onnx", "torchscript", "export")
TEACHER_FORMS = (
    "bundled:NAME, torchvision:NAME, timm:NAME, hf:DIR, onnx:FILE, torchscript:FILE, export:FILE, "
    "FILE.py:FACTORY, package.module:FACTORY, run:DIR or http://HOST:PORT"
)
BY_SUFFIX = {".onnx": "onnx", ".pt2": "export", ".pt": "torchscript", ".ts": "torchscript"}
"""Kinds of MODEL that a file without a factory may be."""
WORDS = {"true": True, "false": False, "none": None}
URI_FORMS = f"{TEACHER_FORMS}; a student also teacher:SIDE"

_TAKES_DATA = "data is for `images`, `eval` and `unlabelled`"
_TAKES_SETS = (
    "sets stand in for the TEACHER of dfkd distill, and for `images`, `eval`, `unlabelled`"
)


@dataclass(frozen=True)
class ModelURI:
    """A parsed MODEL URI.

    ``str`` is the inverse of ``parse_uri``.

    Attributes:
        kind: one of ``NAMED_KINDS``, ``file`` or ``module``.
        name: after the colon; the directory of a run; the file or the module; a side in pixels.
        factory: a function of the file or module; empty for the named kinds.
        weights: a file, or the name of published weights.
        keywords: of the factory.
        part: which weights of a file that has several.
    """

    kind: str
    name: str
    factory: str = ""
    weights: str | None = None
    keywords: Mapping[str, Any] = field(default_factory=dict)
    part: str = ""

    @property
    def base(self) -> str:
        """The URI without its query: what to build, before the weights and keywords."""
        name = escaped(self.name, "?")
        return f"{self.kind}:{name}" if self.kind in NAMED_KINDS else f"{name}:{self.factory}"

    def __str__(self) -> str:
        # Inside a literal an ampersand only occurs in a string, where \x26 means the same.
        pairs = [f"{key}={value!r}".replace("&", r"\x26") for key, value in self.keywords.items()]
        if self.weights is not None:
            part = "#" * bool(self.part) + escaped(self.part, "&")
            pairs.insert(0, f"weights={escaped(self.weights, '&#')}{part}")
        return self.base + ("?" + "&".join(pairs) if pairs else "")


def parse_uri(text: str) -> ModelURI:
    """Parse ``text`` into a ``ModelURI``; look up, import and read nothing.

    Raises:
        DfkdError: neither ``KIND:NAME`` nor ``SOURCE:FACTORY``, or a malformed query.
    """
    base, _, query = text.partition("?")
    weights, keywords = _parse_query(query, text)
    named = weights if weights is None else weights.partition("#")
    path, part = (named[0], named[2]) if named else (None, "")
    path, part = path and unescaped(path), unescaped(part)
    kind, colon, name = base.partition(":")
    if colon and name and kind in NAMED_KINDS:
        return ModelURI(kind, unescaped(name), "", path, keywords, part)
    if colon and kind in LOCAL_DATA and not name.endswith(".py"):
        takes = _TAKES_SETS if kind == "set" else _TAKES_DATA
        raise DfkdError(
            f"{shown(base, 60)!r} is DATA, and a MODEL is wanted here ({takes}), such as "
            "bundled:NAME, torchvision:NAME, run:DIR or FILE.py:FACTORY"
        )
    # From the right: file names may have a colon.
    source, colon, factory = base.rpartition(":")
    if not source or not factory or kind in NAMED_KINDS:
        raise DfkdError(f"not a MODEL: {shown(text, 60)!r}; write {_nearest_form(base)}")
    if not factory.isidentifier():
        raise DfkdError(
            f"{shown(factory, 40)!r} in {shown(text, 40)!r} is no name of a function; write "
            f"{_nearest_form(base)}"
        )
    source, is_file = unescaped(source), source.endswith(".py")
    if not is_file and not all(word.isidentifier() for word in source.split(".")):
        raise DfkdError(f"{source!r} in {text!r} is neither FILE.py nor package.module")
    return ModelURI("file" if is_file else "module", source, factory, path, keywords, part)


def _nearest_form(base: str) -> str:
    """What to write instead of a path alone, else all forms."""
    kind = BY_SUFFIX.get(Path(base).suffix.lower())
    if kind and len(base) < 80:
        return f"{kind}:{base}, or FILE.py:FACTORY?weights={base} where it holds weights alone"
    return URI_FORMS


def _parse_query(query: str, text: str) -> tuple[str | None, dict[str, Any]]:
    values: dict[str, str] = {}
    for pair in filter(None, query.split("&")):
        key, equals, value = pair.partition("=")
        if not equals or not key.isidentifier():
            raise DfkdError(
                f"{shown(pair, 60)!r} in {shown(text, 100)!r} is not of the form keyword=value; "
                "in a path write %26 for &, %3F for ?, %23 for #"
            )
        if key in values:
            raise DfkdError(f"{key!r} is given twice in {shown(text, 100)!r}")
        values[key] = value
    weights = values.pop("weights", None)
    if weights is not None and not weights.partition("#")[0]:
        raise DfkdError(f"weights= in {shown(text, 100)!r} names no file")
    return weights, {key: parse_value(value) for key, value in values.items()}


def unescaped(path: str) -> str:
    """Undo the escapes of a path; a ``%`` that begins none of them stays."""
    return re.sub("%(23|25|26|3[Ff])", lambda found: chr(int(found[1], 16)), path)


def escaped(path: str, marks: str) -> str:
    """Write a path so that ``unescaped`` gives it back.

    >>> escaped("a&b 100%", "&"), escaped("50%26", "&")
    ('a%26b 100%', '50%2526')

    Args:
        path: any text.
        marks: characters that would end it where it is to stand.
    """
    path = re.sub("%(?=23|25|26|3[Ff])", "%25", path)
    return "".join(f"%{ord(mark):02X}" if mark in marks else mark for mark in path)


def parse_value(text: str) -> Any:
    """Parse ``text`` as a Python literal (``3``, ``true``, ``[16, 32]``), else return it."""
    if text.lower() in WORDS:
        return WORDS[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text


def local_paths(models: Iterable[str | None], data: Iterable[str | None] = ()) -> list[Path]:
    """List the local files and directories that URIs name, existing or not.

    Args:
        models: MODEL URIs; None and malformed ones name nothing.
        data: DATA URIs; likewise.
    """
    names: list[str | None] = []
    for text in filter(None, models):
        with contextlib.suppress(DfkdError):
            uri = parse_uri(text)
            names += [uri.weights, uri.name if uri.kind in LOCAL_KINDS else None]
    parted = (text.partition(":") for text in filter(None, data))
    places = [place for kind, _, place in parted if kind in LOCAL_DATA]
    names += [*places, *(place.rpartition("?")[0] for place in places)]
    # Unlike Path's, this one never raises.
    return [Path(os.path.expanduser(name)) for name in names if name]


def quoted(text: str, most: int) -> str:
    """Quote ``text`` for a message: on one line, in at most ``most`` characters."""
    whole = repr(text)
    return whole if len(whole) <= most else f"{whole[: most - 2]}…{whole[-1]}"

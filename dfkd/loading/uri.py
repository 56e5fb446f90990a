"""MODEL URIs: ``KIND:NAME`` or ``SOURCE:FACTORY``, then ``?weights=FILE&key=value``."""

import ast
import contextlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dfkd.errors import DfkdError
from dfkd.loading.data_uri import LOCAL_DATA
from dfkd.tasks.words import shown

WEB_KINDS = ("http", "https")
NAMED_KINDS = ("bundled", "torchvision", "timm", "run", "teacher", *WEB_KINDS)
TEACHER_FORMS = (
    "bundled:NAME, torchvision:NAME, timm:NAME, FILE.py:FACTORY, package.module:FACTORY, run:DIR "
    "or http://HOST:PORT"
)
URI_FORMS = f"{TEACHER_FORMS}; a student also teacher:SIDE"


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
    """

    kind: str
    name: str
    factory: str = ""
    weights: str | None = None
    keywords: Mapping[str, Any] = field(default_factory=dict)

    @property
    def base(self) -> str:
        """The URI without its query: what to build, before the weights and keywords."""
        if self.kind in NAMED_KINDS:
            return f"{self.kind}:{self.name}"
        return f"{self.name}:{self.factory}"

    def __str__(self) -> str:
        # Inside a literal an ampersand only occurs in a string, where \x26 means the same.
        pairs = [f"{key}={value!r}".replace("&", r"\x26") for key, value in self.keywords.items()]
        if self.weights is not None:
            pairs.insert(0, f"weights={self.weights}")
        return self.base + ("?" + "&".join(pairs) if pairs else "")


def parse_uri(text: str) -> ModelURI:
    """Parse ``text`` into a ``ModelURI``; look up, import and read nothing.

    Raises:
        DfkdError: neither ``KIND:NAME`` nor ``SOURCE:FACTORY``, or a malformed query.
    """
    base, _, query = text.partition("?")
    weights, keywords = _parse_query(query, text)
    kind, colon, name = base.partition(":")
    if colon and name and kind in NAMED_KINDS:
        return ModelURI(kind, name, "", weights, keywords)
    # From the right: file names may have a colon.
    source, colon, factory = base.rpartition(":")
    if not source or not factory or kind in NAMED_KINDS:
        raise DfkdError(f"not a MODEL: {shown(text, 60)!r}; write {URI_FORMS}")
    if not factory.isidentifier():
        raise DfkdError(f"{factory!r} in {text!r} is no name of a function; write {URI_FORMS}")
    is_file = source.endswith(".py")
    if not is_file and not all(part.isidentifier() for part in source.split(".")):
        raise DfkdError(f"{source!r} in {text!r} is neither FILE.py nor package.module")
    return ModelURI("file" if is_file else "module", source, factory, weights, keywords)


def _parse_query(query: str, text: str) -> tuple[str | None, dict[str, Any]]:
    values: dict[str, str] = {}
    for pair in filter(None, query.split("&")):
        key, equals, value = pair.partition("=")
        if not equals or not key.isidentifier():
            raise DfkdError(f"{pair!r} in {text!r} is not of the form keyword=value")
        if key in values:
            raise DfkdError(f"{key!r} is given twice in {text!r}")
        values[key] = value
    weights = values.pop("weights", None)
    if weights == "":
        raise DfkdError(f"weights= in {text!r} names no file")
    return weights, {key: parse_value(value) for key, value in values.items()}


def parse_value(text: str) -> Any:
    """Parse ``text`` as a Python literal (``3``, ``True``, ``[16, 32]``), else return it."""
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
            names += [uri.weights, uri.name if uri.kind in ("run", "file") else None]
    parted = (text.partition(":") for text in filter(None, data))
    places = [place for kind, _, place in parted if kind in LOCAL_DATA]
    names += [*places, *(place.rpartition("?")[0] for place in places)]
    # Unlike Path's, this one never raises.
    return [Path(os.path.expanduser(name)) for name in names if name]


def quoted(text: str, most: int) -> str:
    """Quote ``text`` for a message: on one line, in at most ``most`` characters."""
    whole = repr(text)
    return whole if len(whole) <= most else f"{whole[: most - 2]}…{whole[-1]}"

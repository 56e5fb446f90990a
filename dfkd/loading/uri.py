"""MODEL URIs: ``KIND:NAME`` or ``PLACE:FACTORY``, then ``?weights=FILE&key=value``."""

import ast
import contextlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dfkd.errors import DfkdError

NAMED_KINDS = ("bundled", "torchvision", "timm", "run")
FORMS = (
    "bundled:NAME, torchvision:NAME, timm:NAME, FILE.py:FACTORY, package.module:FACTORY or run:DIR"
)

LOCAL_DATA = ("npz", "folder", "idx")


@dataclass(frozen=True)
class ModelURI:
    """A parsed MODEL URI.

    ``kind`` is one of ``NAMED_KINDS``, ``file`` or ``module``. ``place`` is the
    name after the colon, the directory of a run, the file or the module;
    ``factory`` is empty for the named kinds. ``str`` is the inverse of ``parse_uri``.
    """

    kind: str
    place: str
    factory: str = ""
    weights: str | None = None
    keywords: Mapping[str, Any] = field(default_factory=dict)

    @property
    def base(self) -> str:
        """The URI without its query: what to build, before the weights and keywords."""
        if self.kind in NAMED_KINDS:
            return f"{self.kind}:{self.place}"
        return f"{self.place}:{self.factory}"

    def __str__(self) -> str:
        # Inside a literal an ampersand only occurs in a string, where \x26 means the same.
        pairs = [f"{key}={value!r}".replace("&", r"\x26") for key, value in self.keywords.items()]
        if self.weights is not None:
            pairs.insert(0, f"weights={self.weights}")
        return self.base + ("?" + "&".join(pairs) if pairs else "")


def parse_uri(text: str) -> ModelURI:
    """``text`` as a ``ModelURI``; nothing is looked up, imported or read.

    Raises:
        DfkdError: neither ``KIND:NAME`` nor ``PLACE:FACTORY``, or a malformed query.
    """
    base, _, query = text.partition("?")
    weights, keywords = _parse_query(query, text)
    kind, colon, name = base.partition(":")
    if colon and name and kind in NAMED_KINDS:
        return ModelURI(kind, name, "", weights, keywords)
    # From the right, for the sake of file names with a colon.
    place, colon, factory = base.rpartition(":")
    if not place or not factory or kind in NAMED_KINDS:
        raise DfkdError(f"not a MODEL: {text!r}; write {FORMS}")
    if not factory.isidentifier():
        raise DfkdError(f"{factory!r} in {text!r} is no name of a function; write {FORMS}")
    if not place.endswith(".py") and not all(part.isidentifier() for part in place.split(".")):
        raise DfkdError(f"{place!r} in {text!r} is neither FILE.py nor package.module")
    return ModelURI(
        "file" if place.endswith(".py") else "module", place, factory, weights, keywords
    )


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
    """A Python literal where ``text`` is one (``3``, ``True``, ``[16, 32]``), else itself."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text


def local_paths(models: Iterable[str | None], data: Iterable[str | None] = ()) -> list[Path]:
    """Files and directories of this machine that URIs name, there or not.

    Args:
        models: MODEL URIs; None, and what is none, name nothing: other places say what is wrong.
        data: DATA URIs, likewise.
    """
    places: list[str | None] = []
    for text in filter(None, models):
        with contextlib.suppress(DfkdError):
            uri = parse_uri(text)
            places += [uri.weights, uri.place if uri.kind in ("run", "file") else None]
    parted = (text.partition(":") for text in filter(None, data))
    places += [place for kind, _, place in parted if kind in LOCAL_DATA]
    # Unlike Path's, this one never raises.
    return [Path(os.path.expanduser(place)) for place in places if place]


def shown(text: str, most: int) -> str:
    """``text`` as messages quote it: on one line, and of no more than ``most`` signs."""
    quoted = repr(text)
    return quoted if len(quoted) <= most else f"{quoted[: most - 2]}…{quoted[-1]}"

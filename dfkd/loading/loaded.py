"""What a MODEL URI gives: a network, and what its source says of it."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from dfkd.errors import DfkdError, nearest
from dfkd.loading.uri import ModelURI
from dfkd.teacher.spec import ImageSpec

Defaults = Mapping[str, Any]

LOADING = ("pretrained", "checkpoint_path", "cache_dir", "progress")
"""Keywords that a user may give timm and torchvision, and that say nothing of the network."""


@dataclass(frozen=True)
class LoadedModel:
    """A network and what its source says of it.

    Attributes:
        network: the built network.
        spec: image size and normalisation; None where the source is silent.
        class_names: one a class; likewise.
        factory: a MODEL URI without its query, which builds the architecture with ``keywords``
            again: ``save_artefact`` takes both as they are.
        keywords: of the factory.
        notes: what was decided in loading it, a line each.
        normalised: whether the source says by which mean and std, where it must say it.
        task: what its output means, where the source says so.
    """

    network: nn.Module
    spec: ImageSpec | None
    class_names: tuple[str, ...] | None
    factory: str | None
    keywords: dict[str, Any]
    notes: tuple[str, ...] = ()
    normalised: bool = True
    task: str | None = None


def lasting(uri: ModelURI) -> str:
    """Return the base of a URI with the whole path of its file or folder, for a later day."""
    return replace(uri, name=str(Path(uri.name).expanduser().resolve())).base


def trusted(uri: ModelURI, trust: bool) -> bool:
    """Return whether the user trusts the file of ``uri``, by its ``?trust`` or by ``trust``.

    Raises:
        DfkdError: ``?trust`` is neither true nor false, or there are other keywords.
    """
    keywords = dict(uri.keywords)
    trust = keywords.pop("trust", trust)
    if not isinstance(trust, bool):
        raise DfkdError(f"?trust of {uri.base} is True or False, not {trust!r}")
    no_keywords(uri, keywords)
    return trust


def no_keywords(uri: ModelURI, keywords: Mapping[str, Any]) -> None:
    """Raise where there are ``keywords``, or weights, for what comes as a whole."""
    if keywords:
        names = ", ".join(map(repr, keywords))
        raise DfkdError(f"{uri.base} is built as it was trained; it takes no {names}")


def weights_file(uri: ModelURI) -> tuple[Path, str]:
    """Return the weights file that ``uri`` names, and which part of it."""
    path = Path(os.path.expanduser(uri.weights or ""))
    whole = path.with_name(f"{path.name}#{uri.part}")
    if uri.part and not path.exists() and "/" not in uri.part and whole.exists():
        return whole, ""  # a name with a # of its own
    return path, uri.part


def only(defaults: Defaults, *names: str) -> dict[str, Any]:
    """Return those of the defaults that have such names."""
    return {key: value for key, value in defaults.items() if key in names}


def near(name: str, known: Iterable[str]) -> str:
    """Return the name that is meant, as ``nearest``; "" where none is near."""
    hint = nearest(name, known)
    return hint if "did you mean" in hint else ""

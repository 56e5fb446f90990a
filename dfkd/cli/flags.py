"""Errors name parameters, as Python calls them; who types a command reads its options."""

import re
from dataclasses import fields
from typing import Any

from dfkd.cli import arguments

_NAMED_OTHERWISE = {"evaluation": "eval", "output": "out", "pairs": "pair"}
"""Options by the names of the parameters that they stand for, where the two differ."""


def as_flags(message: str) -> str:
    """Write every parameter between backticks as the option that sets it.

    A name that no command has as an option stays as it is.

    >>> as_flags("`batch_size` must be positive: give `knowledge=kd + at` or `learner.lr=0.1`")
    '--batch-size must be positive: give --knowledge "kd + at" or --set learner.lr=0.1'
    """
    return re.sub(r"`([a-z_]+)((?:\.\w+)*)(?:=([^`]+))?`", _option, message)


def _option(found: re.Match[str]) -> str:
    name, path, value = found.groups()
    if path:
        return f"--set {found[0][1:-1]}"
    name = _NAMED_OTHERWISE.get(name, name)
    if name not in _known():
        return found[0]
    quoted = "" if value is None else f' "{value}"' if " " in value else f" {value}"
    return f"--{name.replace('_', '-')}{quoted}"


def _known() -> set[str]:
    kinds: list[type[Any]] = [getattr(arguments, name) for name in arguments.__all__[1:]]
    return {field.name for kind in kinds for field in fields(kind)}

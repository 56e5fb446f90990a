"""Frozen dataclasses with settings laid over them: from mappings, and from ``key=value``."""

import dataclasses
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import yaml
from pydantic import ConfigDict, TypeAdapter, ValidationError

from dfkd.errors import DfkdError, declared, in_words, nearest

_FINITE = ConfigDict(allow_inf_nan=False)
"""No setting means anything at infinity, and what is compared with NaN is never out of range."""


_RENAMED: Mapping[str, str] = {
    "distiller": "learner",
    "arrangement": "scheme_config",
    "rhythm": "alternation",
}
"""Groups of settings by the names that recipes of version 0.1 have for them."""
_METHODS: Mapping[Any, str] = {"default": "redraw"}
"""Methods by the names that recipes had for them."""


def renamed(values: Mapping[str, Any]) -> dict[str, Any]:
    """Give groups and methods of an earlier version their present names.

    Raises:
        DfkdError: a group by both of its names.
    """
    if twice := [old for old, new in _RENAMED.items() if old in values and new in values]:
        raise DfkdError(f"{twice[0]} is the old name of {_RENAMED[twice[0]]}: use one of the two")
    named = {_RENAMED.get(key, key): value for key, value in values.items()}
    if isinstance(method := named.get("method"), str):
        named["method"] = _METHODS.get(method, method)
    return named


def assigned(assignments: list[str]) -> dict[str, Any]:
    """Collect ``key.path=value`` settings in a nested mapping; values are YAML scalars or lists.

    Raises:
        DfkdError: not of that form.
    """
    values: dict[str, Any] = {}
    for assignment in assignments:
        path, separator, text = assignment.partition("=")
        if not separator or not path:
            raise DfkdError(f"`set` wants key=value such as learner.lr=0.01, not {assignment!r}")
        *groups, key = path.split(".")
        group = values
        for name in groups:
            group = group.setdefault(_RENAMED.get(name, name), {})
            if not isinstance(group, dict):
                raise DfkdError(f"`set` gives {path!r} two meanings: a value and a group")
        group[key] = _scalar(text)
    return values


def _scalar(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        raise DfkdError(f"`set` cannot read the value {text!r}") from None


def flat(values: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Nested mappings as one, by the names that ``--set`` has for them."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        nested = isinstance(value, Mapping)
        found |= flat(value, f"{before}{name}.") if nested else {f"{before}{name}": value}
    return found


def merge(start: Any, values: Mapping[str, Any], path: str = "") -> Any:
    """Lay ``values`` over ``start``, field by field, each checked against its type.

    Raises:
        DfkdError: an unknown key (the nearest is named) or a value of the wrong type.
    """
    fields = {f.name: f for f in dataclasses.fields(start)}
    changes = {}
    for key, value in values.items():
        if key not in fields:
            hint = _in_groups(start, str(key)) or nearest(str(key), fields)
            raise DfkdError(f"unknown key {path + str(key)!r}{hint}")
        current = getattr(start, key)
        if dataclasses.is_dataclass(current):
            if dataclasses.is_dataclass(value):
                changes[key] = _whole(value, current, path + key)
                continue
            if not isinstance(value, Mapping):
                raise DfkdError(f"{path}{key} is a group of settings: write {path}{key}.NAME=value")
            changes[key] = merge(current, value, f"{path}{key}.")
        else:
            changes[key] = _checked(fields[key].type, value, path + key)
    return replace(start, **changes)


def _whole(value: Any, current: Any, name: str) -> Any:
    if not isinstance(value, type(current)):
        kinds = type(current).__name__, type(value).__name__
        raise DfkdError(f"{name} takes the settings of a {kinds[0]} here, not a {kinds[1]}")
    return value


def _in_groups(start: Any, key: str) -> str:
    """The end of an error message: where a key is that was looked for one level too high."""
    homes = [f"{name}.{key}" for name, group in vars(start).items() if hasattr(group, key)]
    return f"; did you mean {' or '.join(map(repr, homes))}?" if homes else ""


def _checked(annotation: Any, value: Any, name: str) -> Any:
    words = declared(annotation)
    if isinstance(words, tuple) and value is not None and value not in words:
        raise DfkdError(f"{name} must be {in_words(words)}, not {value!r}")
    try:
        return TypeAdapter(annotation, config=_FINITE).validate_python(value)
    except ValidationError as error:
        raise DfkdError(f"{name}: {error.errors()[0]['msg'].lower()}, not {value!r}") from None

"""Recipes as plain containers and YAML, and back; unknown keys are refused."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import yaml
from pydantic import TypeAdapter

from dfkd.errors import DfkdError, declared, in_words
from dfkd.recipes import overlay
from dfkd.recipes.named import DEFAULT, recipe, with_method
from dfkd.recipes.settings import Recipe, laid_over


def to_dict(value: Recipe) -> dict[str, Any]:
    """Return a recipe as plain containers, as JSON and YAML have them."""
    plain: dict[str, Any] = TypeAdapter(dict[str, Any]).dump_python(
        dataclasses.asdict(value), mode="json"
    )
    return plain


def to_yaml(value: Recipe) -> str:
    """Write a recipe as YAML in the order of its fields."""
    return yaml.safe_dump(to_dict(value), sort_keys=False)


def described(value: Recipe) -> str:
    """Return the YAML with a comment wherever a setting's type says what its values may be."""
    lines: list[str] = []
    hints, outer = _types(None), _types(value)
    for line in to_yaml(value).splitlines():
        name, inner = line.strip().partition(":")[0], line.startswith(" ")
        wanted = declared((hints if inner else outer).get(name))
        if not inner:
            hints = _types(getattr(value, name, None))
        lines.append(f"{line}  # {in_words(wanted)}" if wanted else line)
    return "\n".join(lines)


def _types(group: Any) -> dict[str, Any]:
    return {f.name: f.type for f in getattr(type(group), "__dataclass_fields__", {}).values()}


def from_dict(values: Mapping[str, Any], base: Recipe | None = None) -> Recipe:
    """Lay nested mappings over ``base`` (or over the recipe that ``method`` names).

    Raises:
        DfkdError: an unknown key (the nearest is named) or a value of the wrong type.
    """
    values = overlay.renamed(values)
    start = base or recipe(str(values.get("method", DEFAULT)))
    if "method" in values and values["method"] != start.method:
        start = with_method(start, str(values["method"]))
    return laid_over(start, values)


def from_yaml(text: str, base: Recipe | None = None) -> Recipe:
    """Read YAML and lay it over ``base``; see ``from_dict``."""
    return from_dict(read_yaml(text), base)


def read_yaml(text: str) -> dict[str, Any]:
    """Read a YAML mapping; tags and anything but a mapping are refused by a ``DfkdError``."""
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f" at line {where.line + 1}" if where else ""
        problem = getattr(error, "problem", None) or "not YAML"
        raise DfkdError(f"the configuration cannot be read{line}: {problem}") from None
    if not isinstance(values, dict):
        raise DfkdError("the configuration must be a YAML mapping such as 'learner: {lr: 0.01}'")
    return values


def override(base: Recipe, assignments: list[str]) -> Recipe:
    """Apply ``key.path=value`` settings together; values are YAML scalars or lists.

    Together, because two settings may only be valid with one another.
    """
    return from_dict(overlay.assigned(assignments), base)

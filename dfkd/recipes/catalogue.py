"""What there is to choose from, as data: a name and a line each."""

from typing import NamedTuple

from dfkd.losses.registry import KNOWLEDGE
from dfkd.recipes.named import RECIPES
from dfkd.recipes.schemes import SCHEMES


class Entry(NamedTuple):
    """A name, and what it stands for in one line."""

    name: str
    line: str


class LossEntry(NamedTuple):
    """A loss, the weight to start from beside ``kd``, and what it compares in one line."""

    name: str
    weight: float
    line: str


def list_methods() -> list[Entry]:
    """Return the names that ``dfkd.recipe`` takes: every method, and other published settings."""
    return [Entry(name, (build.__doc__ or "").strip()) for name, build in RECIPES.items()]


def list_schemes() -> list[Entry]:
    """Return the training schemes, for ``dfkd.recipe(scheme=...)``."""
    return [Entry(name, row.line) for name, row in SCHEMES.items()]


def list_losses() -> list[LossEntry]:
    """Return the losses of a student, for ``dfkd.recipe(learner=dict(knowledge=...))``."""
    return [LossEntry(name, row.weight, row.summary) for name, row in KNOWLEDGE.items()]

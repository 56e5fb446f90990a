"""A run as data: named recipes, the registries behind them, settings laid over them."""

from dfkd.recipes.named import RECIPES, build_synthesizer, recipe, with_method
from dfkd.recipes.settings import Recipe, with_scheme
from dfkd.recipes.text import (
    described,
    from_dict,
    from_yaml,
    override,
    read_yaml,
    to_dict,
    to_yaml,
)

__all__ = [
    "RECIPES",
    "Recipe",
    "build_synthesizer",
    "described",
    "from_dict",
    "from_yaml",
    "override",
    "read_yaml",
    "recipe",
    "to_dict",
    "to_yaml",
    "with_method",
    "with_scheme",
]

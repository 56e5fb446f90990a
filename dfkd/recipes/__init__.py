"""A run as data: named recipes, the registries behind them, settings laid over them."""

from dfkd.recipes.named import (
    RECIPES,
    Recipe,
    build_synthesizer,
    described,
    from_dict,
    from_yaml,
    override,
    read_yaml,
    recipe,
    to_dict,
    to_yaml,
    with_method,
    with_scheme,
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

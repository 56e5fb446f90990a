"""The recipe that a command's words describe."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from dfkd import recipes
from dfkd.errors import DfkdError
from dfkd.recipes import Recipe
from dfkd.recipes.overlay import renamed


def build_recipe(
    start: Recipe,
    *,
    config: Path | None = None,
    scheme: str | None = None,
    knowledge: str | None = None,
    pairs: tuple[str, ...] = (),
    exits: str | None = None,
    seed: int | None = None,
    assignments: tuple[str, ...] = (),
) -> Recipe:
    """Lay ``--config``, the options that have a name, and ``--set`` over ``start``, in this order.

    A file's ``scheme_config`` is that of ``--scheme``, unless the file names another scheme.

    Raises:
        DfkdError: a file that cannot be read, an unknown setting, options that do not go together.
    """
    values = _read(config) if config else {}
    recipe = start
    if scheme:
        # Before the file, which may say more of the scheme; what it says of another is not meant.
        if values.get("scheme", scheme) != scheme:
            values = {k: v for k, v in values.items() if k not in ("scheme", "scheme_config")}
        recipe = recipes.with_scheme(recipe, scheme)
    recipe = recipes.from_dict(values, recipe)
    learner = recipe.learner
    learner = replace(learner, knowledge=knowledge) if knowledge is not None else learner
    learner = replace(learner, pairs=pairs) if pairs else learner
    recipe = replace(recipe, learner=learner, seed=recipe.seed if seed is None else seed)
    if exits is not None:
        if recipe.scheme != "self":
            raise DfkdError(f"--exits belongs to --scheme self, not to {recipe.scheme}")
        recipe = recipes.override(recipe, [f"scheme_config.exits={exits}"])
    return recipes.override(recipe, list(assignments))


def _read(config: Path) -> dict[str, Any]:
    try:
        text = config.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DfkdError(f"--config {config} cannot be read ({error})") from None
    return renamed(recipes.read_yaml(text))

"""The recipe that a command's words describe."""

from dataclasses import replace
from pathlib import Path

from dfkd import recipes
from dfkd.errors import DfkdError
from dfkd.recipes import Recipe


def plan_of(
    start: Recipe,
    *,
    config: Path | None = None,
    scheme: str | None = None,
    knowledge: str | None = None,
    pairs: tuple[str, ...] = (),
    exits: str | None = None,
    assignments: tuple[str, ...] = (),
) -> Recipe:
    """``start``, then ``--config``, then the options that have a name, then ``--set``.

    Raises:
        DfkdError: a file that cannot be read, an unknown setting, options that do not go together.
    """
    plan = start
    if config:
        try:
            text = config.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise DfkdError(f"--config {config} cannot be read ({error})") from None
        plan = recipes.from_yaml(text, plan)
    if scheme:
        plan = recipes.with_scheme(plan, scheme)
    learning = plan.distiller
    learning = replace(learning, knowledge=knowledge) if knowledge is not None else learning
    learning = replace(learning, pairs=pairs) if pairs else learning
    plan = replace(plan, distiller=learning)
    if exits is not None:
        if plan.scheme != "self":
            raise DfkdError(f"--exits belongs to --scheme self, not to {plan.scheme}")
        plan = recipes.override(plan, [f"arrangement.exits={exits}"])
    return recipes.override(plan, list(assignments))

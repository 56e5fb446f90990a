"""A run cut to a budget of queries: what is asked to judge by, and when the rest is asked."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from dfkd.access.meter import Meter
from dfkd.access.teacher import meter_of
from dfkd.errors import DfkdError
from dfkd.evaluation.holding_out import Effort
from dfkd.recipes import Recipe
from dfkd.recipes.methods import METHODS
from dfkd.synthesis.methods.redraw_config import STYLES
from dfkd.teacher import Teacher
from dfkd.training.budget import Budget

HELD_OUT = "held out"
"""Purpose of the images that are asked about to choose and to judge by."""
_ASKS_ONCE = ("offline", "online", "self")
"""Schemes that are content with one answer an image; all others ask about their own images."""
_LEAST = 100
"""Queries below which nothing can be learned and judged."""
_UPDATES = 16
"""Updates in which a method that draws asks all that it may: the first half of them before the
student's first step, the others until the middle of the run, where the student helps to choose."""


def check_asking(recipe: Recipe, teacher: Teacher, processes: int) -> None:
    """Raise a ``DfkdError`` where a run would ask a metered teacher more than it can say."""
    meter = meter_of(teacher)
    if meter is None:
        return
    if recipe.scheme not in _ASKS_ONCE:
        raise DfkdError(
            f"`scheme={recipe.scheme}` asks the teacher anew in every step, and each answer "
            f"counts: choose from {', '.join(_ASKS_ONCE)}"
        )
    if processes > 1:
        raise DfkdError("several processes would each ask the teacher: leave `devices` out")
    if meter.budget is not None and meter.budget < _LEAST:
        raise DfkdError(f"`queries` must be {_LEAST} at least to learn and to judge by")


def fit_effort(effort: Effort, meter: Meter) -> tuple[Effort, str]:
    """Cut what is asked to judge by to the budget; with a line that says how much that is.

    A style is chosen by some drawings of each, and students are judged by patchworks: nothing is
    corrected without a gradient.
    """
    if meter.budget is None:
        return effort, ""
    draws = min(effort.draws, max(8, meter.budget // 80))
    images = min(effort.images, max(16, meter.budget // 40))
    cut = replace(effort, draws=draws, images=images)
    asked = len(STYLES) * draws + images
    return cut, (
        f"of {meter.budget:,} queries about {asked:,} are asked to choose and to judge by, "
        "the rest to train"
    )


def fit_recipe(recipe: Recipe, meter: Meter, budget: Budget, steps: float) -> Recipe:
    """Spread what a drawing method asks over the first half of the run, and keep all of it.

    Args:
        recipe: of the run.
        meter: has the budget.
        budget: of the run.
        steps: that the student will come to, where ``budget`` does not say.
    """
    row = METHODS[recipe.method]
    if meter.budget is None or not row.drawn:
        return recipe
    draws = max(1, math.ceil(meter.for_training() / _UPDATES))
    steps = budget.steps or steps
    later = max(1, int(0.5 * steps / (_UPDATES / 2)))
    alternation = replace(recipe.alternation, warmup_updates=_UPDATES // 2, steps_per_update=later)
    capacity = max(meter.budget, 1)
    settings = {row.drawn: draws, "capacity": capacity}
    return replace(
        recipe, synthesizer=replace(recipe.synthesizer, **settings), alternation=alternation
    )


def told_queries(account: Mapping[str, Any] | None) -> Sequence[str]:
    """Say what a run has asked and paid, in a line; none where nothing was counted."""
    if not account:
        return ()
    asked = account["asked"]
    parts = ", ".join(f"{purpose} {count:,}" for purpose, count in asked.items())
    limit = "" if account["budget"] is None else f" of {account['budget']:,}"
    line = (
        f"queries: {sum(asked.values()):,}{limit} asked ({parts}), {account['counted']:,} counted"
    )
    if account["price"]:
        line += f", {account['cost']:g} at {account['price']:g} each"
    if account["in_doubt"]:
        line += f"; {account['in_doubt']:,} in doubt, which the next run settles"
    return (line,)

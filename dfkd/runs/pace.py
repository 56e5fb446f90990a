"""Work cut to a budget in minutes: what the pieces cost is measured, their sizes follow.

At 28 x 28 pixels a method's own sizes fit any budget. At 224 x 224 one update of synthesis may
outlast all of it, and the student would never take a step.
"""

import math
from dataclasses import replace

from dfkd.evaluation.holding_out import EFFORTS, Effort
from dfkd.recipes import Recipe
from dfkd.recipes.methods import METHODS
from dfkd.runs.costs import Costs
from dfkd.synthesis.methods.redraw_config import STYLES
from dfkd.training.budget import Alternation

_ASKING = 0.03
"""Share of a budget that the held-out images may take."""
STEPS = 250
"""Steps that the student should come to, where smaller batches make that possible."""
SMALLEST_BATCH = 32
"""Of the student: fewer images make poor statistics for its norms."""
_SMALLEST_MADE, _FEWEST_PASSES = 16, 3
"""What an update of synthesis is not cut below: images optimised together, steps of each."""
_SYNTHESIS_SHARE = 0.5
"""Most of a run's time that synthesis should take, once the student learns."""


def effort(costs: Costs, seconds: float) -> Effort:
    """Choose the best of ``EFFORTS`` that a budget of so many seconds has time for."""

    def takes(one: Effort) -> float:
        tried = len(STYLES) * (costs.draw(one.draws) + costs.answer(one.draws))
        passes = one.steps + one.noise_steps
        return tried + passes * costs.trace(one.images) + 8 * costs.answer(one.images)

    return next((one for one in EFFORTS if takes(one) <= _ASKING * seconds), EFFORTS[-1])


def paced(recipe: Recipe, costs: Costs, seconds: float, processes: int = 1) -> Recipe:
    """Shrink a recipe's sizes until the student can learn within ``seconds``.

    An update of synthesis takes no more than its method's share of the budget, a student's batch
    leaves time for ``STEPS`` of them, and where there are fewer synthesis takes no more than
    ``_SYNTHESIS_SHARE`` of the time.
    """
    before, row = recipe, METHODS[recipe.method]
    while update_seconds(recipe, costs) > row.share * seconds:
        smaller = _smaller(recipe)
        if smaller is None:
            break
        recipe = smaller
    alternation = recipe.alternation
    while (
        alternation.batch_size >= 2 * SMALLEST_BATCH
        and alternation.batch_size % (2 * processes) == 0
        and STEPS * step_seconds(recipe, costs) > (1 - _SYNTHESIS_SHARE) * seconds
    ):
        alternation = replace(alternation, batch_size=alternation.batch_size // 2)
        recipe = replace(recipe, alternation=alternation)
    recipe = replace(recipe, alternation=_as_fresh(recipe, before))
    return replace(recipe, alternation=_unhurried(recipe, costs, seconds))


def _as_fresh(recipe: Recipe, before: Recipe) -> Alternation:
    """Updates as often as it takes for the student to see as many new images among its own."""
    made, batch = (
        sum(sizes(recipe)[:2]) / max(1, sum(sizes(before)[:2])),
        recipe.alternation.batch_size / before.alternation.batch_size,
    )
    turns = round(before.alternation.steps_per_update * made / batch)
    least = min(1, before.alternation.steps_per_update)  # 0: there are no later updates
    return replace(recipe.alternation, steps_per_update=max(least, turns))


def _unhurried(recipe: Recipe, costs: Costs, seconds: float) -> Alternation:
    """More of the student's steps between updates, where it would not come to ``STEPS``."""
    alternation = recipe.alternation
    update, step, turns = (
        update_seconds(recipe, costs), step_seconds(recipe, costs), alternation.steps_per_update,
    )  # fmt: skip
    if not turns or seconds >= STEPS * (step + update / turns):
        return alternation
    most = math.ceil(update * (1 - _SYNTHESIS_SHARE) / _SYNTHESIS_SHARE / step)
    return replace(alternation, steps_per_update=max(turns, most))


def update_seconds(recipe: Recipe, costs: Costs) -> float:
    """Estimate the seconds of one update of synthesis."""
    drawn, made, passes = sizes(recipe)
    drawing = costs.draw(drawn) + costs.answer(drawn) if drawn else 0.0
    return drawing + (passes * costs.trace(made) + costs.answer(made) if made else 0.0)


def step_seconds(recipe: Recipe, costs: Costs) -> float:
    """Estimate the seconds of a student's step, its images included where no update makes them."""
    size, row = recipe.alternation.batch_size, METHODS[recipe.method]
    making = 0.0 if row.batch else costs.draw(size) + costs.answer(size)
    return max(1e-9, costs.learn(size) + making)


def sizes(recipe: Recipe) -> tuple[int, int, int]:
    """Return the images drawn in an update, those optimised in it, and the passes of each."""
    row, config = METHODS[recipe.method], recipe.synthesizer
    drawn = int(getattr(config, row.drawn)) if row.drawn else 0
    made = int(getattr(config, row.batch)) if row.batch else 0
    return drawn, made, int(getattr(config, row.passes)) if row.passes else 1


def _smaller(recipe: Recipe) -> Recipe | None:
    """Half as many images in an update, or steps where that many are too few; None at the end.

    Drawings go first: they are the cheapest to have again.
    """
    row = METHODS[recipe.method]
    drawn, made, passes = sizes(recipe)
    fewer: dict[str, int] = {}
    if drawn > 2 * made:
        fewer[row.drawn] = drawn // 2
    elif made >= 2 * _SMALLEST_MADE:
        fewer[row.batch] = made // 2
        if drawn:
            fewer[row.drawn] = drawn // 2
    elif passes > _FEWEST_PASSES:
        fewer[row.passes] = max(_FEWEST_PASSES, passes // 2)
    return replace(recipe, synthesizer=replace(recipe.synthesizer, **fewer)) if fewer else None

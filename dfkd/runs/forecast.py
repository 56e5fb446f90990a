"""What a run will come to, from what its pieces cost: said before anything is trained."""

import math
from dataclasses import dataclass

from dfkd.recipes import Recipe
from dfkd.report.units import duration
from dfkd.runs.costs import Costs
from dfkd.runs.pace import STEPS, sizes, step_seconds, update_seconds
from dfkd.training.budget import Budget


@dataclass(frozen=True)
class Forecast:
    """What is to be expected of a run.

    Attributes:
        updates: of synthesis.
        images: drawn and optimised in them.
        steps: of the student.
        first_step: seconds until the first of them.
        seconds: of all.
    """

    updates: int
    images: int
    steps: int
    first_step: float
    seconds: float

    def line(self) -> str:
        """Return it in a line."""
        return (
            f"to be expected: {self.steps:,} steps of the student, the first after "
            f"{duration(self.first_step)}; {self.updates:,} updates of synthesis with "
            f"{self.images:,} images; {duration(self.seconds)} in all"
        )


def forecast_of(recipe: Recipe, costs: Costs, budget: Budget) -> Forecast:
    """Predict what ``budget`` comes to at the best, by what the networks' passes cost."""
    update, step = update_seconds(recipe, costs), step_seconds(recipe, costs)
    return forecast(recipe, update, step, budget)


def forecast(
    recipe: Recipe, update: float, step: float, budget: Budget, spent: float = 0.0
) -> Forecast:
    """Predict what ``budget`` comes to.

    Args:
        recipe: with its sizes as they will be.
        update: seconds of an update of synthesis.
        step: seconds of a student's step, its images drawn from the store included.
        budget: of the run.
        spent: seconds that are gone before the first update.
    """
    alternation = recipe.alternation
    turns = alternation.steps_per_update
    first = alternation.warmup_updates or 0
    if budget.minutes is not None:
        left = 60 * budget.minutes - spent
        if first:
            within = alternation.warmup_share * 60 * budget.minutes - spent
            first = max(1, min(first, math.floor(within / max(update, 1e-9))))
        left = max(0.0, left - first * update)
        steps = math.floor(left / (step + (update / turns if turns else 0.0)))
    else:
        steps = budget.steps or 0
    updates = first + (steps // turns if turns else 0)
    drawn, made, _ = sizes(recipe)
    begun = spent + first * update
    total = begun + steps * step + (updates - first) * update
    return Forecast(updates, updates * (drawn + made), steps, begun, total)


def shortage(expected: Forecast, budget: Budget) -> str:
    """Return a line where the time given cannot work, with what would do; "" where it can."""
    if budget.minutes is None or expected.steps >= STEPS:
        return ""
    rest = max(1e-9, expected.seconds - expected.first_step)
    each = rest / expected.steps if expected.steps else math.inf
    enough = (expected.first_step + STEPS * each) / 60
    more = f"about {math.ceil(enough)} minutes" if math.isfinite(enough) else "far more time"
    return (
        f"{budget.minutes:g} minutes are short: they come to some {expected.steps} steps of the "
        f"student, who needs {STEPS} to leave its start; give {more}, or smaller images"
    )

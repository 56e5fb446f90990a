"""How large the pieces of work may be, by what they cost and by what there is to spend."""

from dataclasses import replace

from torch import nn

from dfkd.access.teacher import meter_of
from dfkd.evaluation.holding_out import Effort, unclocked
from dfkd.recipes import Recipe, batches, to_dict
from dfkd.recipes.overlay import flat
from dfkd.runs import pace
from dfkd.runs.asking import fit_effort, fit_recipe
from dfkd.runs.costs import Cost, Costs, measure_costs
from dfkd.runs.forecast import forecast_of, shortage
from dfkd.teacher import Teacher
from dfkd.training.budget import Budget
from dfkd.training.distributed import Runtime


def sized_to_budget(
    recipe: Recipe, budget: Budget, fast: Teacher, student: nn.Module, runtime: Runtime
) -> tuple[Recipe, Effort, list[str]]:
    """Cut the pieces of work to a budget in minutes; say what asking may cost.

    Args:
        recipe: as the user has it.
        budget: in steps it has no clock, and cuts nothing.
        fast: the teacher, as cheap as it is to be had.
        student: what a step is timed with.
        runtime: decides alike in all processes.

    Returns:
        The recipe, how many images are held out and corrected, and what was decided, a line each.
    """
    effort, lines, steps = unclocked(fast.spec), [], 0.0
    if budget.minutes is not None:
        seconds = 60 * budget.minutes
        costs = _from_first(measure_costs(fast, student, runtime.autocast), runtime)
        effort, before = pace.effort(costs, seconds), recipe
        recipe = pace.paced(recipe, costs, seconds, runtime.world_size)
        if changes := _changes(before, recipe):
            lines.append(f"sized to the budget: {changes}")
        steps = seconds / pace.step_seconds(recipe, costs)
        if short := shortage(forecast_of(recipe, costs, budget), budget):
            lines.append(short)
    # Whoever says how many images the teacher is shown at once means these as well.
    most = max(2, batches.largest_batch(recipe))
    effort = replace(effort, images=min(effort.images, most))
    if meter := meter_of(fast):
        effort, line = fit_effort(effort, meter)
        recipe = fit_recipe(recipe, meter, budget, steps)
        lines += [line] if line else []
    return recipe, effort, lines


def _from_first(costs: Costs, runtime: Runtime) -> Costs:
    """Of the first process, in all: where clocks decide, all must decide alike."""
    return Costs(*(Cost(*map(runtime.from_rank_zero, cost)) for cost in costs))


def _changes(before: Recipe, after: Recipe) -> str:
    """``draws 1024 -> 128``: what differs, by the settings' own names."""
    old, new = flat(to_dict(before)), flat(to_dict(after))
    return ", ".join(
        f"{key.rpartition('.')[2]} {old[key]} -> {new[key]}" for key in new if old[key] != new[key]
    )

"""How many images a recipe puts into a step, and what shapes its teacher is asked for."""

from dataclasses import replace

from dfkd.recipes.method_row import Shapes
from dfkd.recipes.methods import METHODS
from dfkd.recipes.settings import Recipe
from dfkd.teacher.spec import ImageSpec


def largest_batch(value: Recipe) -> int:
    """Return the images in the larger of a recipe's two kinds of step."""
    name = METHODS[value.method].batch
    made = getattr(value.synthesizer, name) if name else 1
    return max(int(made), value.alternation.batch_size)


def with_batch_size(value: Recipe, size: int) -> Recipe:
    """Set ``size`` images a student's step, and at most as many a step of synthesis."""
    name, synthesizer = METHODS[value.method].batch, value.synthesizer
    if name:
        # Two at least: one image has no statistics to speak of.
        made = max(2, min(size, getattr(synthesizer, name)))
        synthesizer = replace(synthesizer, **{name: made})
    return replace(
        value, synthesizer=synthesizer, alternation=replace(value.alternation, batch_size=size)
    )


def traced(value: Recipe, spec: ImageSpec) -> tuple[Shapes, int]:
    """Return the shapes of the batches that a method traces, and how many it traces an update."""
    method, config = METHODS[value.method], value.synthesizer
    if not method.batch:
        return (), 0
    passes = getattr(config, method.passes) if method.passes else 1
    if method.shapes:
        return method.shapes(config, spec), passes
    return ((getattr(config, method.batch), *spec.shape),), passes

"""What every method costs: a step of its images, and a student's step on them."""

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn

from dfkd import recipes
from dfkd.bench.timing import interleave, synchronizer, timing_report
from dfkd.errors import DfkdError
from dfkd.protocols import Distiller, Synthesizer
from dfkd.recipes import Recipe, batches
from dfkd.recipes.methods import METHODS
from dfkd.recipes.schemes import build_distiller
from dfkd.teacher import Teacher
from dfkd.teacher.folding import fold

_MOST_PASSES = 5
"""Passes of the teacher in a timed update, at most: rounds of hundreds are cut short."""


def bench_methods(
    teacher: Teacher, student: nn.Module, batch_size: int, rounds: int
) -> dict[str, Any]:
    """Time each method with ``batch_size`` images a step and its own settings otherwise.

    A step of images is one forward and backward pass through the teacher: an update of
    several is divided by their number. ``drawings`` has none: its images cost no update. What a
    teacher cannot do is left out, and named with the reason.
    """
    device = teacher.device
    teacher = fold(teacher.to(device)).teacher
    student.to(device)
    variants: dict[str, Callable[[], object]] = {}
    passes: dict[str, int] = {}
    left_out: dict[str, str] = {}
    for method in METHODS:
        recipe = _recipe(method, batch_size)
        learner = copy.deepcopy(student)
        try:
            synthesizer = recipes.build_synthesizer(recipe, teacher)
        except DfkdError as reason:
            left_out[method] = str(reason)
            continue
        distiller = build_distiller(teacher, learner, recipe.learner, recipe.seed)
        _, steps = batches.traced(recipe, teacher.spec)
        if steps:
            variants[f"{method}, images"] = partial(synthesizer.update, learner)
            passes[f"{method}, images"] = steps
        variants[f"{method}, student"] = partial(_student_step, synthesizer, distiller, batch_size)
    times = interleave(variants, rounds, synchronizer(device))
    a_step = {
        name: [milliseconds / passes.get(name, 1) for milliseconds in series]
        for name, series in times.items()
    }
    return timing_report(
        "methods", batch_size, teacher.spec.shape, device, a_step, left_out=left_out
    )


def _student_step(synthesizer: Synthesizer, distiller: Distiller, batch_size: int) -> None:
    distiller.update(synthesizer.sample(batch_size))


def _recipe(method: str, batch_size: int) -> Recipe:
    """Return the method's own recipe with ``batch_size`` images a step, and few steps an update."""
    recipe, name = recipes.recipe(method), METHODS[method].passes
    if name:
        passes = min(_MOST_PASSES, getattr(recipe.synthesizer, name))
        recipe = recipes.override(recipe, [f"synthesizer.{name}={passes}"])
    return batches.with_batch_size(recipe, batch_size)

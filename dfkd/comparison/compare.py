"""``dfkd.compare``: every variant with every seed, one run after the other, on one clock."""

import contextlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dfkd.comparison import tally
from dfkd.comparison.carry_out import carry_out_runs
from dfkd.comparison.result import Comparison as Comparison
from dfkd.comparison.setup import (
    DrawnStudent,
    Setup,
    begin,
    find_epsilon,
    open_directory,
    wrap_teachers,
)
from dfkd.comparison.variants import refuse_twice, variants
from dfkd.datasets import as_given_images, as_images
from dfkd.errors import DfkdError
from dfkd.loading.uri import local_paths
from dfkd.networks.copying import copy_network
from dfkd.networks.surroundings import own_surroundings
from dfkd.recipes import Recipe, recipe, to_dict
from dfkd.recipes.overlay import flat
from dfkd.runs.callbacks import Callback
from dfkd.runs.manifest import Origin
from dfkd.runs.options import Compute, Evaluation, Output
from dfkd.teacher import Teacher
from dfkd.teacher.given import as_teachers
from dfkd.training import devices
from dfkd.training.budget import Budget

MINUTES = 2.0
"""Of each run, where no budget is given."""

CURVE = 10
"""Of a run's curve, where the evaluation does not say how many."""


@own_surroundings()
def compare(
    teacher: Teacher | Sequence[Teacher],
    student: nn.Module | Callable[[], nn.Module],
    recipes: Mapping[str, Recipe] | Sequence[str] | None = None,
    *,
    vary: str = "methods",
    seeds: Sequence[int] = (0, 1, 2),
    minutes: float | None = None,
    steps: int | None = None,
    evaluation: Any = None,
    images: Any = None,
    compute: Compute | None = None,
    output: Output | Path | str | None = None,
    callbacks: Sequence[Callback] = (),
) -> Comparison:
    """Distil the same student by several recipes, with the same budget and the same seeds.

    A recipe that the teacher does not allow is a row that says why.

    Args:
        teacher: frozen; bit-identical afterwards. The scheme ``ensemble`` wants several.
        student: a network, which each run trains a copy of; or a function that makes one, called
            for each run with torch's seed set to the run's: all variants of a seed start alike.
        recipes: by the names of the rows; or names alone of what is varied: methods, sums of
            knowledge, or schemes as ``SCHEME[:FORM]``. Every one that can be when left out.
        vary: what the rows differ in: methods, knowledge or scheme.
        seeds: one run a recipe and seed, in place of the recipe's own seed.
        minutes: wall time of each run; 2 where no budget is given.
        steps: student steps of each run instead.
        evaluation: real labelled images, in the forms that ``dfkd.distill`` takes, for figures and
            nothing else; an ``Evaluation`` says more, such as of how many points a curve has.
        images: to learn from in place of a method's, in the same forms; where schemes or knowledge
            are varied, or recipes given whole.
        compute: device, precision and the like; see ``dfkd.runs.options``.
        output: directory of ``comparison.json``, ``.md``, ``.html`` and the runs; or an ``Output``.
        callbacks: watch every run, see ``Callback``.

    Returns:
        The rows, the best of them, and a plot; what is done so far where Ctrl-C interrupted it.

    Raises:
        DfkdError: nothing to compare or to measure, no such name, or no run that can be done.
    """
    teachers = as_teachers(teacher)
    plans = _named_recipes(recipes, vary, len(teachers) > 1, images is not None)
    setup = Setup(
        plans,
        seeds,
        wrap_teachers(plans, teachers),
        _drawing(student, plans),
        MINUTES if minutes is None and steps is None else minutes,
        steps,
        _measured(evaluation, plans, teachers[0]),
        None if images is None else as_given_images(images, teachers[0].spec),
        compute or Compute(),
        output if isinstance(output, Output) else Output(output),
        lambda _: contextlib.nullcontext(callbacks),
        lambda text: text.replace("`", ""),
    )
    return _run(setup, vary, teachers)


def _measured(evaluation: Any, plans: Mapping[str, Recipe], teacher: Teacher) -> Evaluation:
    """Read what runs are measured on, and how far an attack goes where a recipe defends."""
    if evaluation is None:
        raise DfkdError(
            "a comparison is one of accuracies: give real labelled images as `evaluation`"
        )
    measured = evaluation if isinstance(evaluation, Evaluation) else Evaluation(evaluation, CURVE)
    epsilon = find_epsilon(measured.epsilon, plans)
    return replace(measured, data=as_images(measured.data, teacher.spec), epsilon=epsilon)


def _run(setup: Setup, vary: str, teachers: Sequence[Teacher]) -> Comparison:
    """Check what is asked for, and what a machine and a directory allow; then do every run."""
    Budget(setup.minutes, setup.steps)
    tally.check_seeds(setup.seeds)
    device = devices.resolve_device(setup.compute.device)
    devices.resolve_precision(setup.compute.precision, device)
    settings = _settings(setup, vary)
    reads = local_paths((), (settings["eval"], settings["images"]))
    earlier = open_directory(setup.output, settings, reads)
    return carry_out_runs(setup, begin(setup, teachers, settings, None, earlier))


def _named_recipes(
    given: Mapping[str, Recipe] | Sequence[str] | None, vary: str, several: bool, images: bool
) -> dict[str, Recipe]:
    """The recipes by the names of their rows; names become recipes as on the command line."""
    if isinstance(given, Mapping):
        plans = dict(given)
        _check_names(plans)
    else:
        names = None if given is None else [given] if isinstance(given, str) else [*given]
        if names == []:
            raise DfkdError("`recipes` wants at least one name or recipe")
        refuse_twice(tuple(names or ()), "`recipes`")
        if images and vary == "methods":
            raise DfkdError(
                "`images` stands in for every method's: `vary=knowledge` or scheme, or give recipes"
            )
        words = None if names is None else ",".join(names)
        methods, only = (words, None) if vary == "methods" else (None, words)
        plans = variants(vary, methods, only, [], several=several, images=images)
    if several and not any(plan.several_teachers for plan in plans.values()):
        raise DfkdError("several teachers belong to the scheme ensemble, which is not compared")
    return plans


def _check_names(names: Iterable[str]) -> None:
    """Raise unless every name makes a folder of its own."""
    folders: dict[str, str] = {}
    for name in names:
        folder = tally.folder_name(name)
        if not re.search(r"\w", folder):
            raise DfkdError(f"a recipe in `recipes` needs a name with a letter in it, not {name!r}")
        if folder in folders:
            raise DfkdError(f"{folders[folder]!r} and {name!r} would share a folder: rename one")
        folders[folder] = name
    if not folders:
        raise DfkdError("`recipes` wants at least one name or recipe")


def _drawing(
    student: nn.Module | Callable[[], nn.Module], plans: Mapping[str, Recipe]
) -> Callable[[str, int], DrawnStudent]:
    """What makes the student of a variant and seed."""

    def draw(name: str, seed: int) -> DrawnStudent:
        if isinstance(student, nn.Module):
            return DrawnStudent(copy_network(student), plans[name].init, Origin())
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return DrawnStudent(student(), plans[name].init, Origin())

    return draw


def _settings(setup: Setup, vary: str) -> dict[str, Any]:
    """What a comparison that goes on must have in common with this one, as plain values."""
    plain = flat(to_dict(recipe("default")))
    changed = []
    for name, plan in setup.recipes.items():
        own = {key: value for key, value in flat(to_dict(plan)).items() if plain.get(key) != value}
        changed.append(" ".join([f"{name}:", *(f"{key}={value}" for key, value in own.items())]))
    return {
        "vary": vary,
        "methods": [*setup.recipes],
        "recipes": changed,
        "minutes": setup.minutes,
        "steps": setup.steps,
        "seeds": [*setup.seeds],
        "eval": setup.evaluation.data.name,
        "epsilon": setup.evaluation.epsilon,
        "images": setup.images and setup.images.name,
        "curve": setup.evaluation.curve,
        "device": setup.compute.device,
        "precision": setup.compute.precision,
    }

"""``dfkd invert``."""

import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from dfkd import recipes
from dfkd.cli import arguments
from dfkd.cli.build_recipe import build_recipe
from dfkd.cli.common import Shown, compute_of, console, output_of, teacher_of, tell_compiled
from dfkd.cli.flags import as_flags
from dfkd.errors import DfkdError
from dfkd.loading.uri import local_paths
from dfkd.recipes.idle import check_idle
from dfkd.report.progress import Progress
from dfkd.runs import pictures, run_directory, run_records
from dfkd.runs.inversion_order import Order
from dfkd.runs.inversion_run import Inversion
from dfkd.runs.manifest import Origin
from dfkd.synthesis.methods.deep_inversion_config import (
    DeepInversionConfig,
    default_config,
    small,
)

METHOD = "deep_inversion"


def run_invert(command: arguments.Invert) -> int:
    """Write pictures, one PNG each, with a grid and a page."""
    classes = _class_list(command.classes)
    _setting(command, small())  # mistakes in words are told before anything is loaded
    compute, output = compute_of(command), output_of(command)
    reads = [*local_paths((command.teacher,)), *command.facts.class_names]
    reads += [command.config] if command.config else []
    directory = command.out
    run_directory.prepare(directory, command.overwrite, command.resume, reads=reads)
    teacher = teacher_of(command.teacher, command.facts)
    teacher.require_statistics("invert")
    order = Order(
        classes,
        command.count,
        command.steps,
        command.minutes,
        command.seed,
        _setting(command, default_config(teacher)),
    )
    origin = Origin(command.teacher, command=run_records.command_line())
    with Progress("Inverting", console()) as progress:
        progress.update(0.0, 0, {})  # what comes before the first step may take a while
        callbacks = [Shown(progress, _tell_beginning)]
        result = Inversion(teacher, order, compute, output, callbacks, origin).run()
    print(f"recognised by the teacher as their class: {result.metrics.own_top1:.1%}")
    for path in pictures.files_to_open(directory):
        print(path)
    if not result.interrupted:
        return 0
    print(
        f"interrupted after step {result.metrics.steps:,}: {len(result.images)} of "
        f"{command.count} pictures are in {directory} as they stood",
        file=sys.stderr,
    )
    return 130


def _tell_beginning(facts: Mapping[str, Any]) -> None:
    for line in facts["decisions"]:
        print(as_flags(line))
    tell_compiled(facts["compiled"])


def _setting(command: arguments.Invert, start: DeepInversionConfig) -> DeepInversionConfig:
    """``start`` with ``--config`` and ``--set`` laid over it, named as in a recipe.

    Raises:
        DfkdError: a mistake in either, or a setting that has no say in pictures.
    """
    base = replace(recipes.recipe(METHOD), synthesizer=start)
    recipe = build_recipe(base, config=command.config, assignments=command.set)
    if recipe.method != METHOD:
        raise DfkdError(f"invert makes pictures by {METHOD}, not by {recipe.method}")
    why = "pictures are made by synthesizer's settings, and what has an option"
    check_idle(recipe, ("method", "synthesizer"), why)
    setting: DeepInversionConfig = recipe.synthesizer
    if setting.adi:
        raise DfkdError("synthesizer.adi competes with a student, and invert has none: leave it 0")
    return setting


def _class_list(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise DfkdError(f"--classes wants indices such as 1,7, not {text!r}") from None

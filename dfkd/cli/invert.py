"""``dfkd invert``."""

import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from dfkd import recipes
from dfkd.cli import arguments, pictures
from dfkd.cli.build_recipe import build_recipe
from dfkd.cli.common import console, teacher_of, tell_compiled
from dfkd.errors import DfkdError
from dfkd.loading.uri import local_paths
from dfkd.recipes import Recipe
from dfkd.report.progress import Progress
from dfkd.runs import run_directory, run_records
from dfkd.runs.inversion import invert_run
from dfkd.synthesis.methods.deep_inversion_config import (
    DeepInversionConfig,
    default_config,
    small,
)
from dfkd.training import devices
from dfkd.training.interruption import interruption

METHOD = "deep_inversion"


def invert(command: arguments.Invert) -> int:
    """Pictures, one PNG each, with a grid and a page."""
    classes = _class_list(command.classes)
    _setting(command, small())  # mistakes in words are told before anything is loaded
    reads = [*local_paths((command.teacher,)), *command.facts.class_names]
    reads += [command.config] if command.config else []
    directory = run_directory.prepare(command.out, command.overwrite, reads=reads)
    teacher = teacher_of(command.teacher, command.facts)
    if not teacher.layers:
        raise DfkdError(
            "pictures are made from batch-norm statistics, and this teacher stores none; "
            "dfkd distill --method drawings needs only its answers"
        )
    device = devices.resolve_device(command.device)
    teacher.to(device)
    before = teacher.fingerprint()
    with interruption() as interrupted:
        with Progress("Inverting", console()) as progress:
            report = _Report(directory, command.overwrite, progress)
            result = invert_run(
                teacher,
                classes,
                command.count,
                steps=command.steps,
                minutes=command.minutes,
                seed=command.seed,
                config=_setting(command, default_config(teacher)),
                compile=command.compile,
                recompute=command.recompute,
                batch_size=command.batch_size,
                begun=_tell_beginning,
                progress=report.step,
                stop=lambda: interrupted[0],
            )
            report.show()
        manifest = {
            **run_records.provenance(run_records.command_line(), devices.hardware(device)),
            "teacher": command.teacher,
            "recipe": pictures.recipe(result, classes, command.count),
            "seed": command.seed,
            "class_names": list(teacher.class_names),
            "teacher_hash_before": before,
            "teacher_hash_after": teacher.fingerprint(),
            "real_data": {"used": False, "purpose": "none"},
            **{name: result.decided[name] for name in ("mirror", "decisions")},
            "complete": result.complete,
        }
        written = pictures.write(directory, result, teacher, manifest, report.rows)
    print(f"recognised by the teacher as their class: {result.own_top1:.1%}")
    for path in written:
        print(path)
    if result.complete:
        return 0
    print(
        f"interrupted after step {result.steps:,}: {len(result.images)} of {command.count} "
        f"pictures are in {directory} as they stood",
        file=sys.stderr,
    )
    return 130


def _tell_beginning(decided: Mapping[str, Any]) -> None:
    for line in decided["decisions"]:
        print(line)
    tell_compiled(decided["compiled"])


class _Report:
    """Shows how far the work is, every two seconds and at its end, and keeps that for the log."""

    def __init__(self, directory: Path, overwrite: bool, progress: Progress) -> None:
        self._directory, self._overwrite, self._progress = directory, overwrite, progress
        self._start = self._shown = time.perf_counter()
        self._steps, self._share = 0, 0.0
        self._losses: Mapping[str, torch.Tensor] = {}
        self.rows: list[pictures.Row] = []
        progress.update(0.0, 0, {})  # what comes before the first step may take a while

    def step(self, share: float, losses: Mapping[str, torch.Tensor]) -> None:
        """After every step: the share of the work that is done, and the losses."""
        if not self._steps:  # all that can be refused has been, and little is lost yet
            run_directory.create(self._directory, overwrite=self._overwrite)
        self._steps, self._share, self._losses = self._steps + 1, share, losses
        if time.perf_counter() - self._shown >= 2.0:
            self.show()

    def show(self) -> None:
        """The last step, on the screen and in the rows."""
        self._shown = time.perf_counter()
        values = {name: float(value) for name, value in self._losses.items()}
        self.rows.append((self._steps, self._shown - self._start, values))
        self._progress.update(self._share, self._steps, values)


def _setting(command: arguments.Invert, start: DeepInversionConfig) -> DeepInversionConfig:
    """``start`` with ``--config`` and ``--set`` laid over it, named as in a recipe.

    Raises:
        DfkdError: a mistake in either, or a setting that has no say in pictures.
    """
    base = replace(recipes.recipe(METHOD), synthesizer=start)
    plan = build_recipe(base, config=command.config, assignments=command.set)
    if plan.method != METHOD:
        raise DfkdError(f"invert makes pictures by {METHOD}, not by {plan.method}")
    if idle := _without_say(plan):
        raise DfkdError(
            f"{idle} has no say in pictures: invert takes synthesizer's settings alone, and what "
            "has an option"
        )
    setting: DeepInversionConfig = plan.synthesizer
    if setting.adi:
        raise DfkdError("synthesizer.adi competes with a student, and invert has none: leave it 0")
    return setting


def _without_say(plan: Recipe) -> str:
    """What of ``plan``, images aside, is as in no recipe of the method: the first part, or none."""
    known = [one for one in map(recipes.recipe, recipes.RECIPES) if one.method == METHOD]
    parts = (name for name in vars(plan) if name != "synthesizer")
    return next((n for n in parts if getattr(plan, n) not in [getattr(k, n) for k in known]), "")


def _class_list(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise DfkdError(f"--classes wants indices such as 1,7, not {text!r}") from None

"""``dfkd compare``: words in, the runs of ``dfkd.comparison``, tables out."""

import contextlib
import json
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from dfkd.cli import arguments
from dfkd.cli.common import (
    Shown,
    compute_of,
    console,
    origin_of,
    output_of,
    teachers_of,
    tell_data,
    tell_orders,
    with_ledger,
)
from dfkd.cli.flags import as_flags
from dfkd.cli.students import student_of
from dfkd.comparison import tally
from dfkd.comparison.carry_out import carry_out_runs
from dfkd.comparison.compare import MINUTES, Comparison
from dfkd.comparison.setup import (
    FILE,
    DrawnStudent,
    Setup,
    begin,
    find_epsilon,
    open_directory,
    wrap_teachers,
)
from dfkd.comparison.standings import remark
from dfkd.comparison.tables import standings_tables
from dfkd.comparison.tally import RunKey
from dfkd.comparison.variants import variants
from dfkd.datasets import load_data, load_images
from dfkd.distillation.student_init import check_mode
from dfkd.errors import DfkdError
from dfkd.evaluation.robustness import check_epsilon
from dfkd.loading.uri import local_paths
from dfkd.recipes import Recipe
from dfkd.report.progress import Progress
from dfkd.report.units import NARROW
from dfkd.runs import run_records
from dfkd.runs.callbacks import Callback
from dfkd.runs.options import Evaluation
from dfkd.teacher import Teacher
from dfkd.training import devices
from dfkd.training.budget import Budget

NOT_SETTINGS = ("out", "resume", "overwrite", "debug")
"""Options that change no figure."""


def run_compare(command: arguments.Compare) -> int:
    """Check what is asked for, do the runs, and show the tables at the end."""
    if command.minutes is None and command.steps is None:
        command = replace(command, minutes=MINUTES)
    return _tell(carry_out_runs(*_set_up(command)))


def _tell(found: Comparison) -> int:
    assert found.directory is not None  # ``--out`` is required
    if found.interrupted:
        print(
            f"interrupted; finished runs stand in {found.directory}: "
            "continue with the same command and --resume",
            file=sys.stderr,
        )
        return 130
    for table in standings_tables(found.record):
        console().print(table)
    for row in found.rows:
        if said := remark(row):
            print(f"{row['method']}: {said}".replace(NARROW, " "))
    for suffix in ("json", "md", "html"):
        print((found.directory / FILE).with_suffix(f".{suffix}"))
    return int(bool(found.record.get("failed")))


def _set_up(command: arguments.Compare) -> tuple[Setup, dict[str, Any]]:
    """Load all that is to be compared; with the record to go on with."""
    recipes = _checked(command)
    compute, output = compute_of(command), output_of(command)
    settings = _settings(command, tuple(recipes))
    models = [command.teacher, *command.teachers]
    reads = local_paths([*models, command.student], (command.images, command.eval))
    earlier = open_directory(output, settings, [*reads, *command.facts.class_names])
    devices.resolve_precision(command.precision, devices.resolve_device(command.device))
    given = teachers_of(models, with_ledger(command.facts, models, command.out))
    teachers = wrap_teachers(recipes, given)
    merged = (getattr(one.network, "lineup", None) for one in teachers.values())
    if lineup := next(filter(None, merged), None):
        tell_orders(models, given, lineup)
    teacher = teachers[next(iter(recipes))]
    data = load_data(
        str(command.eval), spec=teacher.spec, class_names=teacher.class_names, subset=teacher.subset
    )
    tell_data(data)
    images = load_images(command.images, teacher) if command.images else None
    if images is not None:
        tell_data(images)

    def draw(name: str, seed: int) -> DrawnStudent:
        return _draw(command, recipes[name], teachers[name], seed)

    setup = Setup(
        recipes,
        command.seeds,
        teachers,
        draw,
        command.minutes,
        command.steps,
        Evaluation(data, command.curve, find_epsilon(command.epsilon, recipes)),
        images,
        compute,
        output,
        _progress,
        as_flags,
    )
    typed = shlex.join(run_records.command_line())
    return setup, begin(setup, given, settings, typed, earlier)


def _draw(command: arguments.Compare, plan: Recipe, teacher: Teacher, seed: int) -> DrawnStudent:
    loaded, init = student_of(
        command.student, teacher, seed, command.init or plan.init, command.device
    )
    further = command.teachers if plan.several_teachers else ()
    origin = origin_of(command.teacher, command.student, loaded, further)
    return DrawnStudent(loaded.network, init, origin)


@contextlib.contextmanager
def _progress(run: RunKey) -> Iterator[Sequence[Callback]]:
    with Progress(f"{run.method}, seed {run.seed}", console()) as progress:
        yield [Shown(progress)]


def _checked(command: arguments.Compare) -> dict[str, Recipe]:
    """The recipes; every mistake that can be seen in the words alone is refused here."""
    Budget(command.minutes, command.steps)
    tally.check_seeds(command.seeds)
    if command.eval is None:
        raise DfkdError("a comparison is one of accuracies: give real labelled images as --eval")
    check_epsilon(command.epsilon, measured=True)
    if command.images and command.vary == "methods":
        raise DfkdError("--images stands in for every method's: --vary knowledge or scheme")
    if command.images and command.methods:
        raise DfkdError("--images stands in for a method's: leave --methods out")
    if command.curve < 1:
        raise DfkdError(f"--curve wants 1 point or more, not {command.curve}")
    check_mode(command.init or "auto")
    if any(assignment.partition("=")[0] == "seed" for assignment in command.set):
        raise DfkdError("the seeds of a comparison are those of --seeds: leave --set seed out")
    plans = variants(
        command.vary,
        command.methods,
        command.only,
        list(command.set),
        several=bool(command.teachers),
        images=command.images is not None,
    )
    if command.teachers and not any(plan.several_teachers for plan in plans.values()):
        raise DfkdError("--teachers belongs to the scheme ensemble, which is not compared here")
    return plans


def _settings(command: arguments.Compare, methods: tuple[str, ...]) -> Mapping[str, Any]:
    """The command as JSON has it, without what changes no figure."""
    given = asdict(command)
    facts = {name: value for name, value in given.pop("facts").items() if value}
    kept = {name: value for name, value in given.items() if name not in NOT_SETTINGS}
    plain: Mapping[str, Any] = json.loads(
        json.dumps({**kept, "methods": methods, **facts}, default=str)
    )
    return plain

"""What ``dfkd compare`` compares: its words checked, the networks and images that they name."""

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from dfkd.cli import arguments
from dfkd.cli.common import teachers_of, tell_data, tell_orders
from dfkd.cli.students import student_of
from dfkd.comparison import tally
from dfkd.comparison.step_memory import step_bytes
from dfkd.comparison.tally import Run
from dfkd.comparison.variants import variants
from dfkd.datasets import GivenImages, LabelledImages, check_fits, load_data, load_images
from dfkd.distillation.student_init import check_mode
from dfkd.errors import DfkdError
from dfkd.evaluation.robustness import check_epsilon
from dfkd.loading.uri import local_paths
from dfkd.networks import count_parameters
from dfkd.recipes import Recipe
from dfkd.recipes.schemes import SCHEMES
from dfkd.runs import manifest, run_directory, run_entries, run_records
from dfkd.teacher import Teacher
from dfkd.training import checkpoint, devices
from dfkd.training.budget import Budget

FILE = "comparison.json"
FLAGS = ("out", "resume", "overwrite", "debug")  # what does not change any figure


class Setup(NamedTuple):
    """All that the runs share; ``teachers`` has for each variant the one that its student sees."""

    command: arguments.Compare
    plans: Mapping[str, Recipe]
    runs: list[Run]
    teachers: Mapping[str, Teacher]
    evaluation: LabelledImages
    images: GivenImages | None
    epsilon: float | None
    directory: Path


def set_up(command: arguments.Compare) -> tuple[Setup, dict[str, Any]]:
    """All that is to be compared, and the record to go on with; the directory is there then.

    Raises:
        DfkdError: whatever can be seen to be wrong before the first run.
    """
    plans = checked(command)
    methods = tuple(plans)
    settings = settings_of(command, methods)
    models = (command.teacher, command.student, *command.teachers)
    reads = local_paths(models, (command.images, command.eval)) + list(command.facts.class_names)
    directory = run_directory.prepare(
        command.out, command.overwrite, command.resume, run_entries.COMPARISON, reads
    )
    earlier = _earlier(directory, settings) if command.resume else {}
    device = devices.resolve_device(command.device)
    devices.resolve_precision(command.precision, device)
    first, *further = teachers_of([command.teacher, *command.teachers], command.facts)
    teachers = {
        name: SCHEMES[plan.scheme].wrap_teacher(
            [first, *further] if plan.several_teachers else [first], plan.scheme_config
        )
        for name, plan in plans.items()
    }
    merged = (getattr(one.network, "lineup", None) for one in teachers.values())
    if lineup := next(filter(None, merged), None):
        tell_orders([command.teacher, *command.teachers], [first, *further], lineup)
    teacher = teachers[methods[0]]
    evaluation = load_data(str(command.eval), spec=teacher.spec, class_names=teacher.class_names)
    tell_data(evaluation)
    for one in teachers.values():
        check_fits(evaluation, one.spec, one.num_classes)
    students = {
        name: student_of(command.student, one, command.seeds[0], "auto")[0].network
        for name, one in teachers.items()
    }
    record = earlier or {
        **run_records.provenance(None, devices.hardware(device)),
        "command": shlex.join(run_records.command_line()),
        "settings": settings,
        "classes": teacher.num_classes,
        "teacher_hash": first.fingerprint(),
        "further_hashes": [teacher.fingerprint() for teacher in further],
        "teacher_parameters": count_parameters(first.network),
        "student_parameters": count_parameters(students[methods[0]]),
        "refused": {},
        "step_bytes": _memory(plans, teachers, students),
    }
    _check_teachers(record, first, further)
    images = load_images(command.images, teacher) if command.images else None
    if images is not None:
        tell_data(images)
    runs = tally.runs(methods, command.seeds)
    epsilon = epsilon_of(command, plans)
    run_directory.create(directory, command.resume, command.overwrite, run_entries.COMPARISON)
    return Setup(command, plans, runs, teachers, evaluation, images, epsilon, directory), record


def _check_teachers(record: Mapping[str, Any], first: Teacher, further: Sequence[Teacher]) -> None:
    """Raise where a teacher has other weights than when the comparison was started."""
    before = [record["teacher_hash"], *record.get("further_hashes", [])]
    now = [teacher.fingerprint() for teacher in (first, *further)]
    for number, (was, is_now) in enumerate(zip(before, now, strict=False), 1):
        if was != is_now:
            whose = "the teacher" if number == 1 else f"teacher {number}"
            raise DfkdError(f"{whose} is not the one that the comparison was started with")


def _memory(
    plans: Mapping[str, Recipe], teachers: Mapping[str, Teacher], students: Mapping[str, nn.Module]
) -> dict[str, int | None]:
    """``step_bytes`` by variant; methods whose students learn alike are measured once."""
    found: dict[Any, int | None] = {}
    for name, plan in plans.items():
        alike = (plan.scheme, plan.scheme_config, plan.learner)
        if alike not in found:
            found[alike] = step_bytes(teachers[name], students[name], plan)
    return {
        name: found[plan.scheme, plan.scheme_config, plan.learner] for name, plan in plans.items()
    }


def epsilon_of(command: arguments.Compare, plans: Mapping[str, Recipe]) -> float | None:
    """Of the attack that every row is measured under: as told, else that of a robust row."""
    if command.epsilon is not None:
        return command.epsilon
    own = (SCHEMES[plan.scheme].epsilon(plan.scheme_config) for plan in plans.values())
    found: float | None = next((value for value in own if value is not None), None)
    return found


def checked(command: arguments.Compare) -> dict[str, Recipe]:
    """The recipes; every mistake that can be seen in the words alone is refused here."""
    Budget(command.minutes, command.steps)
    checkpoint.check_interval(command.checkpoint_every)
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


def settings_of(command: arguments.Compare, methods: tuple[str, ...]) -> dict[str, Any]:
    """The command as JSON has it, without what changes no figure."""
    given = asdict(command)
    facts = {name: value for name, value in given.pop("facts").items() if value}
    kept = {name: value for name, value in given.items() if name not in FLAGS}
    plain: dict[str, Any] = json.loads(
        json.dumps({**kept, "methods": methods, **facts}, default=str)
    )
    return plain


def _earlier(directory: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The record of the comparison that goes on, if it is the same one."""
    record = run_records.read_json(directory / FILE)
    if not record:
        raise DfkdError(f"no comparison in {directory}; start it without --resume")
    found = manifest.differences(record["settings"], settings)
    if found:
        raise DfkdError(f"--resume wants the settings of the comparison: {'; '.join(found)}")
    return record

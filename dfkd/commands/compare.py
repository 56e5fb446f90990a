"""``dfkd compare``: every variant with every seed, one run after the other, on one clock."""

import gc
import json
import shlex
import sys
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

from dfkd import api, arguments, comparison, rundir, runtime
from dfkd.commands.shared import console, origin_of, student_of, teacher_of
from dfkd.comparison import Run
from dfkd.datasets import LabelledImages, check_fits, load_data
from dfkd.engine import Budget
from dfkd.errors import DfkdError
from dfkd.evaluation.cost import step_bytes
from dfkd.networks import count_parameters
from dfkd.recipes import Recipe
from dfkd.report.comparison import write_comparison
from dfkd.report.figures import NARROW
from dfkd.report.progress import Progress
from dfkd.report.standings import markdown, remark
from dfkd.report.table import standings_tables
from dfkd.teacher import Teacher
from dfkd.variants import variants

FILE = "comparison.json"
FLAGS = ("out", "resume", "overwrite", "debug")  # what does not change any figure


class Setup(NamedTuple):
    """All that the runs share."""

    command: arguments.Compare
    plans: Mapping[str, Recipe]
    runs: list[Run]
    teacher: Teacher
    evaluation: LabelledImages
    directory: Path


def compare(command: arguments.Compare) -> int:
    """Checks, runs, writes the figures after every run, and shows the tables at the end."""
    if command.minutes is None and command.steps is None:
        command = replace(command, minutes=2.0)
    plans = _checked(command)
    methods = tuple(plans)
    settings = _settings(command, methods)
    directory = rundir.prepare(command.out, command.overwrite, command.resume, (FILE,))
    earlier = _earlier(directory, settings) if command.resume else {}
    device = runtime.resolve_device(command.device)
    runtime.resolve_precision(command.precision, device)
    teacher = teacher_of(command.teacher, command.facts)
    student = student_of(command.student, teacher, command.seeds[0]).network
    evaluation = load_data(str(command.eval), spec=teacher.spec, class_names=teacher.class_names)
    check_fits(evaluation, teacher.spec, teacher.num_classes)
    record = earlier or {
        **rundir.provenance(None, runtime.hardware(device)),
        "command": shlex.join(rundir.command_line()),
        "settings": settings,
        "classes": teacher.num_classes,
        "teacher_hash": teacher.fingerprint(),
        "teacher_parameters": count_parameters(teacher.network),
        "student_parameters": count_parameters(student),
        "refused": {},
        "step_bytes": {name: step_bytes(teacher, student, plan) for name, plan in plans.items()},
    }
    if record["teacher_hash"] != teacher.fingerprint():
        raise DfkdError("the teacher is not the one that the comparison was started with")
    runs = comparison.runs(methods, command.seeds)
    setup = Setup(command, plans, runs, teacher, evaluation, directory)
    rundir.create(directory, command.resume)
    return _all(setup, record)


def _checked(command: arguments.Compare) -> dict[str, Recipe]:
    """The recipes; every mistake that can be seen in the words alone is refused here."""
    Budget(command.minutes, command.steps)
    comparison.check_seeds(command.seeds)
    if command.eval is None:
        raise DfkdError("a comparison is one of accuracies: give real labelled images as --eval")
    if command.curve < 1:
        raise DfkdError(f"--curve wants 1 point or more, not {command.curve}")
    if command.init not in (None, "auto", "teacher", "random"):
        raise DfkdError(f"--init must be auto, teacher or random, not {command.init!r}")
    if command.resume and command.overwrite:
        raise DfkdError("--resume continues a comparison and --overwrite replaces it: give one")
    return variants(command.vary, command.methods, command.only, list(command.set))


def _settings(command: arguments.Compare, methods: tuple[str, ...]) -> dict[str, Any]:
    """The command as JSON has it, without what changes no figure."""
    given = asdict(command)
    facts = {name: value for name, value in given.pop("facts").items() if value is not None}
    kept = {name: value for name, value in given.items() if name not in FLAGS}
    plain: dict[str, Any] = json.loads(
        json.dumps({**kept, "methods": methods, **facts}, default=str)
    )
    return plain


def _earlier(directory: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The record of the comparison that goes on, if it is the same one."""
    record = rundir.read_json(directory / FILE)
    if not record:
        raise DfkdError(f"no comparison in {directory}; start it without --resume")
    found = comparison.differences(record["settings"], settings)
    if found:
        raise DfkdError(f"--resume wants the settings of the comparison: {'; '.join(found)}")
    return record


def _all(setup: Setup, record: dict[str, Any]) -> int:
    _write(setup, record)
    try:
        interrupted = any(not _settle(setup, record, run) for run in setup.runs)
    except KeyboardInterrupt:
        interrupted = True
    if interrupted:
        print(
            f"interrupted; finished runs stand in {setup.directory}: "
            "continue with the same command and --resume",
            file=sys.stderr,
        )
        return 130
    for table in standings_tables(record):
        console().print(table)
    for row in record["methods"]:
        if said := remark(row):
            print(f"{row['method']}: {said}".replace(NARROW, " "))
    for suffix in ("json", "md", "html"):
        print((setup.directory / FILE).with_suffix(f".{suffix}"))
    return 0 if any(row["seeds"] for row in record["methods"]) else 2


def _settle(setup: Setup, record: dict[str, Any], run: Run) -> bool:
    """Do a run unless it is done; False where it was interrupted."""
    if _result(setup.directory, run) or run.folder in record["refused"]:
        return True
    try:
        complete = _distil(setup, run)
    except DfkdError as error:
        # A teacher that a method cannot use is a finding, not a fault of the comparison.
        record["refused"][run.folder] = str(error)
        complete = True
    if complete:
        _write(setup, record)
    # A run's parts refer to one another: without this its images would stay in memory.
    gc.collect()
    return complete


def _distil(setup: Setup, run: Run) -> bool:
    command, folder = setup.command, setup.directory / run.folder
    loaded = student_of(command.student, setup.teacher, run.seed)
    resume = (folder / "checkpoint" / "last.pt").is_file()
    with Progress(f"{run.method}, seed {run.seed}", console()) as progress:
        result = api.distill(
            setup.teacher,
            loaded.network,
            minutes=command.minutes,
            steps=command.steps,
            init=command.init,
            recipe=replace(setup.plans[run.method], seed=run.seed),
            evaluation=setup.evaluation,
            curve=command.curve,
            out=folder,
            overwrite=not resume,
            resume=resume,
            device=command.device,
            precision=command.precision,
            show=progress.update,
            origin=origin_of(command.teacher, command.student, loaded),
        )
    return not result.interrupted


def _result(directory: Path, run: Run) -> dict[str, Any]:
    """``result.json`` of a finished run; empty for any other."""
    result = rundir.read_json(directory / run.folder / "result.json")
    return result if result.get("complete") else {}


def _write(setup: Setup, record: dict[str, Any]) -> None:
    """``comparison.json``, ``.md`` and ``.html`` of the runs that are finished."""
    results = {run: found for run in setup.runs if (found := _result(setup.directory, run))}
    refused = {
        run: record["refused"][run.folder] for run in setup.runs if run.folder in record["refused"]
    }
    taught = [found["teacher_accuracy"] for found in results.values()]
    record["teacher_accuracy"] = taught[0] if taught else None
    record["runs"] = len(setup.runs)
    record["runs_left"] = len(setup.runs) - len(results) - len(refused)
    minutes = setup.command.minutes
    record["methods"] = comparison.tally(
        tuple(setup.plans), results, refused, record["classes"], minutes and 60 * minutes
    )
    for row in record["methods"]:
        row["step_bytes"] = record["step_bytes"][row["method"]]
    rundir.write_json(setup.directory / FILE, record)
    text = markdown(record)
    (setup.directory / FILE).with_suffix(".md").write_text(text, encoding="utf-8")
    write_comparison(setup.directory, record)

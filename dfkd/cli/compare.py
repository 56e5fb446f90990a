"""``dfkd compare``: every variant with every seed, one run after the other, on one clock."""

import gc
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn, cast

from dfkd.cli import arguments
from dfkd.cli.common import Shown, compute_of, console, origin_of
from dfkd.cli.compare_setup import FILE, Setup, set_up
from dfkd.cli.students import student_of
from dfkd.comparison import tally
from dfkd.comparison.page import write_comparison
from dfkd.comparison.standings import markdown, remark
from dfkd.comparison.tables import standings_tables
from dfkd.comparison.tally import Run
from dfkd.errors import DfkdError
from dfkd.report.progress import Progress
from dfkd.report.units import NARROW
from dfkd.runs import distillation, run_directory, run_entries, run_records
from dfkd.runs.options import Evaluation, Output
from dfkd.training.files import write_text


def compare(command: arguments.Compare) -> int:
    """Checks, runs, writes the figures after every run, and shows the tables at the end."""
    if command.minutes is None and command.steps is None:
        command = replace(command, minutes=2.0)
    return _all(*set_up(command))


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
    if not any(row["seeds"] for row in record["methods"]):
        _give_up(setup, record)
    for table in standings_tables(record):
        console().print(table)
    for row in record["methods"]:
        if said := remark(row):
            print(f"{row['method']}: {said}".replace(NARROW, " "))
    for suffix in ("json", "md", "html"):
        print((setup.directory / FILE).with_suffix(f".{suffix}"))
    return 0


def _give_up(setup: Setup, record: dict[str, Any]) -> NoReturn:
    """Say why no run could be done; what runs that broke off have left behind stays."""
    if not any(path.is_dir() for path in setup.directory.iterdir()):
        run_directory.discard(setup.directory, run_entries.COMPARISON)
    reasons = dict.fromkeys(row["refused"] for row in record["methods"])
    raise DfkdError(f"nothing can be compared: {'; '.join(reasons)}")


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
    teacher, plan = setup.teachers[run.method], setup.plans[run.method]
    loaded, init = student_of(command.student, teacher, run.seed, command.init or plan.init)
    further = command.teachers if plan.several_teachers else ()
    resume = (folder / "checkpoint" / "last.pt").is_file()
    with Progress(f"{run.method}, seed {run.seed}", console()) as progress:
        result = distillation.distill(
            teacher,
            loaded.network,
            replace(plan, seed=run.seed, init=cast(Any, init)),
            minutes=command.minutes,
            steps=command.steps,
            evaluation=Evaluation(setup.evaluation, command.curve, setup.epsilon),
            images=setup.images,
            compute=compute_of(command),
            output=Output(folder, not resume, resume, command.checkpoint_every),
            callbacks=[Shown(progress)],
            origin=origin_of(command.teacher, command.student, loaded, further),
        )
    if not (result.interrupted or result.metrics.complete):
        raise DfkdError(result.failure)  # without a step of the student there is nothing to compare
    return not result.interrupted


def _result(directory: Path, run: Run) -> dict[str, Any]:
    """``result.json`` of a finished run; empty for any other."""
    result = run_records.read_json(directory / run.folder / "result.json")
    return result if result.get("complete") else {}


def _write(setup: Setup, record: dict[str, Any]) -> None:
    """``tally.json``, ``.md`` and ``.html`` of the runs that are finished."""
    results = {run: found for run in setup.runs if (found := _result(setup.directory, run))}
    refused = {
        run: record["refused"][run.folder] for run in setup.runs if run.folder in record["refused"]
    }
    # That of an ensemble is its rows' own.
    plain = min(results, key=lambda run: setup.plans[run.method].several_teachers, default=None)
    record["teacher_accuracy"] = results[plain]["teacher_accuracy"] if plain else None
    record["epsilon"] = setup.epsilon
    record["runs"] = len(setup.runs)
    record["runs_left"] = len(setup.runs) - len(results) - len(refused)
    minutes = setup.command.minutes
    record["methods"] = tally.tally(
        tuple(setup.plans), results, refused, record["classes"], minutes and 60 * minutes
    )
    for row in record["methods"]:
        row["step_bytes"] = record["step_bytes"][row["method"]]
        several = setup.plans[row["method"]].several_teachers
        row["own_teacher"] = row["teacher_accuracy"] if several else None
    run_records.write_json(setup.directory / FILE, record)
    text = markdown(record)
    write_text((setup.directory / FILE).with_suffix(".md"), text)
    write_comparison(setup.directory, record)

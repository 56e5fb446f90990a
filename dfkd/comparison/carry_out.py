"""The runs of a comparison, one after the other, and its files after each."""

import gc
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn, cast

from dfkd.comparison import tally
from dfkd.comparison.page import write_comparison
from dfkd.comparison.result import Comparison
from dfkd.comparison.setup import FILE, Setup
from dfkd.comparison.standings import markdown
from dfkd.comparison.tally import Record, RunKey
from dfkd.errors import DfkdError
from dfkd.networks.foreign import says
from dfkd.runs import distillation, run_directory, run_entries, run_records
from dfkd.runs.options import Output
from dfkd.training.files import write_text


def carry_out_runs(setup: Setup, record: dict[str, Any]) -> Comparison:
    """Do every run that is not done yet, and write the figures after each.

    Args:
        setup: what the runs share.
        record: from ``dfkd.comparison.setup.begin``; the figures go into it.

    Returns:
        The comparison so far, where Ctrl-C interrupts it.

    Raises:
        DfkdError: no run can be done.
    """
    directory = setup.output.path
    results = _finished(setup)
    _write(setup, record, results)
    try:
        interrupted = any(not _settle(setup, record, results, run) for run in setup.runs)
    except KeyboardInterrupt:
        interrupted = True
    if not interrupted and not results:
        _give_up(directory, record)
    return Comparison(record, directory, interrupted)


def _finished(setup: Setup) -> dict[RunKey, Record]:
    """``result.json`` of every run that was finished earlier."""
    if setup.output.path is None:
        return {}
    paths = {run: setup.output.path / run.folder / "result.json" for run in setup.runs}
    found = {run: run_records.read_json(path) for run, path in paths.items()}
    return {run: result for run, result in found.items() if result.get("complete")}


def _give_up(directory: Path | None, record: Record) -> NoReturn:
    """Say why no run could be done; what runs that broke off have left behind stays."""
    if directory and not any(path.is_dir() for path in directory.iterdir()):
        run_directory.discard(directory, run_entries.COMPARISON)
    reasons = dict.fromkeys(row["refused"] for row in record["methods"])
    raise DfkdError(f"nothing can be compared: {'; '.join(reasons)}")


def _settle(
    setup: Setup, record: dict[str, Any], results: dict[RunKey, Record], run: RunKey
) -> bool:
    """Do a run unless it is done; False where it was interrupted."""
    if run in results or run.folder in record["refused"]:
        return True
    try:
        found = _distil(setup, run)
    except DfkdError as error:
        # A teacher that a method cannot use is a finding, not a fault of the comparison.
        record["refused"][run.folder] = setup.phrase(str(error))
        found = {}
    except Exception as error:
        # Nor does a fault of one end the others; whoever reads the comparison is told.
        record["refused"][run.folder] = f"fails: {says(error)[:200]}"
        record["failed"] = True
        found = {}
    if found is not None:
        if found:
            results[run] = found
        _write(setup, record, results)
    # A run's parts refer to one another: without this its images would stay in memory.
    gc.collect()
    return found is not None


def _distil(setup: Setup, run: RunKey) -> Record | None:
    """Do a run and return its figures; None where it was interrupted."""
    plan, given = setup.recipes[run.method], setup.output
    output = Output(checkpoint_every=given.checkpoint_every)
    if given.path is not None:
        folder = given.path / run.folder
        resume = (folder / "checkpoint" / "last.pt").is_file()
        output = Output(folder, not resume, resume, given.checkpoint_every)
    student = setup.draw(run.method, run.seed)
    with setup.watch(run) as callbacks:
        result = distillation.distill(
            setup.teachers[run.method],
            student.network,
            replace(plan, seed=run.seed, init=cast(Any, student.init)),
            minutes=setup.minutes,
            steps=setup.steps,
            evaluation=setup.evaluation,
            images=setup.images,
            compute=setup.compute,
            output=output,
            callbacks=callbacks,
            origin=student.origin,
        )
    if result.interrupted:
        return None
    if not result.metrics.complete:
        raise DfkdError(result.failure)  # without a step of the student there is nothing to compare
    return result.metrics.as_dict()


def _write(setup: Setup, record: dict[str, Any], results: dict[RunKey, Record]) -> None:
    """Bring the record up to date, and its three files where there is a directory."""
    runs, plans = setup.runs, setup.recipes
    done = {run: results[run] for run in runs if run in results}
    refused = {
        run: record["refused"][run.folder] for run in runs if run.folder in record["refused"]
    }
    # That of an ensemble is its rows' own.
    plain = min(done, key=lambda run: plans[run.method].several_teachers, default=None)
    record["teacher_accuracy"] = done[plain]["teacher_accuracy"] if plain else None
    record["epsilon"] = setup.evaluation.epsilon
    record["runs"] = len(runs)
    record["runs_left"] = len(runs) - len(done) - len(refused)
    limit = setup.minutes and 60 * setup.minutes
    record["methods"] = tally.tally(tuple(plans), done, refused, record["classes"], limit)
    for row in record["methods"]:
        row["step_bytes"] = record["step_bytes"][row["method"]]
        several = plans[row["method"]].several_teachers
        row["own_teacher"] = row["teacher_accuracy"] if several else None
    if setup.output.path is not None:
        path = setup.output.path / FILE
        run_records.write_json(path, record)
        write_text(path.with_suffix(".md"), markdown(record))
        write_comparison(path.parent, record)

"""Rows of a comparison as text, for terminal, Markdown and page."""

from collections.abc import Mapping, Sequence
from typing import Any

from dfkd.report.units import MISSING, NARROW, duration, milliseconds, number, percent, whole

Row = Mapping[str, Any]

BEST = "Time to\nbest other"
QUALITY = (
    "Method",
    "Accuracy",
    "Of teacher",
    BEST,
    "Collapsed",
    "Seeds",
    "Remark",
)
COST = (
    "Method", "Images\nmade", "Teacher\nforwards", "Student\nsteps", "Student\nstep",
    "Step’s\nmemory", "Synthesis\nupdate", "Synthesis\nshare", "Time",
)  # fmt: skip
MEMORY = (
    "Step’s memory is the peak of a student’s step on 32 images in float32, without the networks "
    "and the optimiser’s state."
)


def quality(row: Row) -> list[str]:
    """Return the cells of a row under ``QUALITY``."""
    return [
        str(row["method"]),
        plus_minus(row["accuracy"]),
        plus_minus(row["share_of_teacher"]),
        duration(row["seconds_to"]),
        collapsed(row),
        _seeds(row),
        remark(row),
    ]


def cost(row: Row) -> list[str]:
    """Return the cells of a row under ``COST``, means over the seeds."""
    return [
        str(row["method"]),
        *(whole(row[key]) for key in ("images_synthesized", "teacher_forwards", "student_steps")),
        moment(row["seconds_per_step"]),
        megabytes(row.get("step_bytes")),
        moment(row["seconds_per_update"]),
        percent(row["synthesis_share"], 0),
        duration(row["seconds"]),
    ]


def noun(record: Mapping[str, Any]) -> str:
    """Return what is compared, in the plural."""
    vary = record["settings"].get("vary", "methods")
    return {"knowledge": "sums of knowledge", "scheme": "schemes"}.get(vary, "methods")


def titled(headings: Sequence[str], record: Mapping[str, Any]) -> list[str]:
    """Return ``headings`` with the first one named after what is compared."""
    vary = record["settings"].get("vary", "methods")
    return [{"knowledge": "Knowledge", "scheme": "Scheme"}.get(vary, "Method"), *headings[1:]]


def megabytes(count: Any) -> str:
    """Write bytes as MB with one decimal."""
    amount = number(count)
    return MISSING if amount is None else f"{amount / 1e6:.1f}{NARROW}MB"


def ranks(record: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Return headings and cells of ``QUALITY``, with the accuracy under attack if measured."""
    headings, rows = titled(QUALITY, record), [quality(row) for row in record["methods"]]
    if any(row.get("robust_accuracy") for row in record["methods"]):
        headings.insert(2, "PGD-20")
        for cells, row in zip(rows, record["methods"], strict=True):
            cells.insert(2, plus_minus(row.get("robust_accuracy")))
    return headings, rows


def markdown(record: Mapping[str, Any]) -> str:
    """Return a Markdown table of accuracies and costs, with notes and the command below it."""
    headings, rows = ranks(record)
    best = headings.index(BEST)
    headings[best : best + 1] = COST[1:-1]
    lines = [_line(heading.replace("\n", " ") for heading in headings)]
    lines.append("|---|" + "---:|" * (len(headings) - 2) + "---|")
    for cells, row in zip(rows, record["methods"], strict=True):
        cells[best : best + 1] = cost(row)[1:-1]
        lines.append(_line(cells))
    notes = [summary(record), MEMORY, unfinished(record), f"`{record['command']}`"]
    return "\n".join(lines) + "\n\n" + "\n\n".join(filter(None, notes)) + "\n"


def _line(cells: Any) -> str:
    # A bar would end a cell, and a line break the table.
    safe = (" ".join(str(cell).replace("|", "\\|").split()) for cell in cells)
    return f"| {' | '.join(safe)} |"


def plus_minus(value: Any, digits: int = 1) -> str:
    """Write mean and standard deviation of shares as ``90.5 ± 0.4 %``; a single value alone."""
    if not value:
        return MISSING
    if value["std"] is None:
        return percent(value["mean"], digits)
    return f"{100 * value['mean']:.{digits}f} ± {100 * value['std']:.{digits}f}{NARROW}%"


def moment(seconds: Any) -> str:
    """Write seconds as milliseconds below one, else as a duration."""
    amount = number(seconds)
    return duration(amount) if amount is None or amount >= 1 else milliseconds(1000 * amount)


def collapsed(row: Row) -> str:
    """Tell with how many seeds one class had nine tenths of the answers."""
    count, all_of_them = len(row["collapsed"]), len(row["seeds"])
    if not all_of_them:
        return MISSING
    return "no" if not count else "yes" if count == all_of_them else f"{count} of {all_of_them}"


def _seeds(row: Row) -> str:
    return " ".join(map(str, row["seeds"])) or MISSING


def remark(row: Row) -> str:
    """Tell why a row has no numbers, or how to read those it has."""
    notes = ["chance" if row["chance"] else ""]
    notes.append(f"overran: {duration(row['seconds'])}" if row["overran"] else "")
    own = row.get("own_teacher")
    notes.append("" if own is None else f"its ensemble of teachers has {percent(own)}")
    return "; ".join(filter(None, [*notes, row["refused"]]))


def summary(record: Mapping[str, Any]) -> str:
    """Tell what was compared, in a sentence or two."""
    settings, spent = record["settings"], record["settings"]["minutes"]
    budget = f"{whole(settings['steps'])} student steps" if spent is None else duration(60 * spent)
    teacher = percent(record["teacher_accuracy"])
    return (
        f"{len(record['methods'])} {noun(record)}, {budget} each, seeds "
        f"{' '.join(map(str, settings['seeds']))}; the teacher has {teacher}. Accuracies are those "
        "of the last iterate: mean ± standard deviation over seeds." + _attack(record)
    )


def _attack(record: Mapping[str, Any]) -> str:
    epsilon = record.get("epsilon")
    if epsilon is None:
        return ""
    return (
        " PGD-20 is the accuracy under an attack of 20 steps that changes each value by at most "
        f"{epsilon:.3g}."
    )


def unfinished(record: Mapping[str, Any]) -> str:
    """Tell how many runs are still to be done; empty if there are none."""
    left = record["runs_left"]
    return f"Not finished: {left} of {record['runs']} runs are still to be done." if left else ""


def caveats(record: Mapping[str, Any]) -> str:
    """Tell what a reader must know before any number; empty if there is nothing."""
    rows: Sequence[Row] = record["methods"]
    fallen = [str(row["method"]) for row in rows if row["collapsed"]]
    guessing = [str(row["method"]) for row in rows if row["chance"]]
    notes = [unfinished(record)]
    notes.append(f"Collapsed to one class: {', '.join(fallen)}." if fallen else "")
    notes.append(f"No better than chance: {', '.join(guessing)}." if guessing else "")
    return " ".join(filter(None, notes))

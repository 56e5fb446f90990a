"""What a finished run leaves behind: its figures and its files."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dfkd.datasets import LabelledImages
from dfkd.evaluation.accuracy import compare
from dfkd.evaluation.exits import exits_of
from dfkd.evaluation.robustness import robustness
from dfkd.evaluation.validation import Validation, Verdict
from dfkd.loading import save_artefact
from dfkd.loading.exits import factory_of
from dfkd.networks import count_parameters
from dfkd.protocols import Distiller, Source, Synthesizer
from dfkd.report.grid import write_grid
from dfkd.report.page import write_page
from dfkd.runs import run_records
from dfkd.runs.accuracy_curve import Curve
from dfkd.runs.failure import failure_of
from dfkd.teacher import Teacher
from dfkd.training.engine import Engine


def run_metrics(
    teacher: Teacher,
    cost: dict[str, Any],
    distiller: Distiller,
    evaluation: LabelledImages | None,
    kept: Curve,
    complete: bool,
    epsilon: float | None,
    validation: Validation,
    verdict: Verdict,
) -> dict[str, Any]:
    """What the run took, and how good its student is; with ``evaluation`` over time as well.

    Args:
        cost: what ``run_cost`` gave when the run ended.
        complete: whether the budget was spent; a run without a step of the student never is.
        epsilon: of the attack under which all networks are measured too, if any.
        verdict: which student is kept, and how it stands on held-out images.
    """
    measured = evaluate_networks(teacher, verdict, distiller, evaluation, epsilon, validation)
    student = verdict.student
    failure = failure_of(cost, measured, verdict.kept, evaluation) if complete else ""
    complete = complete and cost["student_steps"] > 0
    points: list[dict[str, Any]] = []
    if evaluation is not None and complete:  # who interrupts does not want to wait for it
        end = (cost["seconds"]["total"], cost["student_steps"], measured["student_accuracy"])
        points = kept.measured(student, teacher.spec, evaluation, end)
    held_out = verdict.told()
    return {
        **cost, **measured, "held_out": held_out, "curve": points, "failure": failure,
        "complete": complete,
    }  # fmt: skip


def run_cost(
    teacher: Teacher,
    student: nn.Module,
    engine: Engine,
    synthesizer: Synthesizer,
    distiller: Distiller,
) -> dict[str, Any]:
    """What the run took: steps, images, forward passes, seconds (its clock runs on), memory."""
    account, counts = engine.account, distiller.class_counts()
    peak = run_records.peak_memory_bytes()
    return {
        "teacher_parameters": count_parameters(teacher.network),
        "student_parameters": count_parameters(student),
        "student_steps": account.steps,
        "synthesis_updates": account.updates,
        "images_synthesized": synthesizer.images_made + distiller.images_made,
        "teacher_forwards": synthesizer.teacher_images + distiller.teacher_images,
        "seconds": {
            "total": round(account.seconds, 2),
            "synthesis": round(account.synthesis_seconds, 2),
            "distillation": round(account.distillation_seconds, 2),
        },
        "class_counts": counts,
        # One class with nine tenths of the teacher's answers is the collapse users report.
        "collapsed": bool(sum(counts) and max(counts) > 0.9 * sum(counts)),
        "peak_memory_bytes": peak,
    }


def evaluate_networks(
    teacher: Teacher,
    verdict: Verdict,
    distiller: Distiller,
    evaluation: LabelledImages | None,
    epsilon: float | None,
    validation: Validation,
) -> dict[str, Any]:
    """Accuracies on real images where given; else agreement on held-out synthetic ones."""
    spec = teacher.spec
    if evaluation is None:
        others = {
            name: validation.standing(network).agreement
            for name, network in distiller.networks().items()
        }
        return {
            "teacher_accuracy": None,
            "student_accuracy": None,
            "agreement": verdict.kept.agreement,
            "agreement_of_others": others,
            "agreement_on": "held-out synthetic images",
        }
    models = [("teacher", teacher.network, spec), ("student", verdict.student, spec)]
    models += [(name, network, spec) for name, network in distiller.networks().items()]
    rows = [asdict(row) for row in compare(models, evaluation)]
    found = {
        "teacher_accuracy": rows[0]["accuracy"],
        "student_accuracy": rows[1]["accuracy"],
        "agreement": rows[1]["agreement"],
        "agreement_on": "evaluation images",
        "comparison": rows,
    }
    if epsilon is not None:
        accuracies, attack = robustness(models, evaluation, epsilon)
        for row, value in zip(rows, accuracies, strict=True):
            row["robust_accuracy"] = value
        found |= {"robust_accuracy": accuracies[1], "robustness": attack}
    exits = exits_of(rows)
    shares = {row["name"]: row["share_of_compute"] for row in exits.get("exits", ())}
    for row in rows if shares else ():
        row["share_of_compute"] = ({"student": 1.0} | shares).get(row["name"])
    return found | exits


def save_student(directory: Path, student: nn.Module, teacher: Teacher, source: Source) -> None:
    """``student.safetensors``, with what ``run:DIR`` needs to build it again.

    Args:
        source: what builds it without its exits.
    """
    path = directory / "student.safetensors"
    factory, keywords = factory_of(student, *source)
    save_artefact(path, student, factory, keywords, teacher.spec, teacher.class_names)


def write(
    directory: Path,
    manifest: dict[str, Any],
    run_metrics: dict[str, Any],
    synthesizer: Synthesizer,
    teacher: Teacher,
) -> None:
    """``manifest.json``, ``result.json``, ``grid.png`` and ``report.html``."""
    run_records.write_json(directory / "manifest.json", manifest)
    run_records.write_json(directory / "result.json", run_metrics)
    if not synthesizer.images_made:
        write_page(directory)
        return
    images = synthesizer.sample(64).images
    with torch.no_grad():
        answers = teacher(images).argmax(1).tolist()
    names = [teacher.class_names[index] for index in answers]
    write_grid(directory / "grid.png", images.float().cpu(), names, columns=8)
    write_page(directory)

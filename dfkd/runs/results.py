"""What a finished run leaves behind: its measurements and its files."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dfkd.datasets import ImageData
from dfkd.evaluation.exits import exits_of
from dfkd.evaluation.expected import expected_of
from dfkd.evaluation.fidelity import measure_fidelity
from dfkd.evaluation.label_figures import label_report
from dfkd.evaluation.measurement import measure_networks
from dfkd.evaluation.robustness import robustness
from dfkd.evaluation.validation import Validation, Verdict
from dfkd.loading import save_artefact
from dfkd.loading.exits import factory_of
from dfkd.networks import count_parameters
from dfkd.protocols import Distiller, Source
from dfkd.report.grid import write_grid
from dfkd.report.page import write_page
from dfkd.runs import run_records
from dfkd.runs.accuracy_curve import Curve
from dfkd.runs.failure import failure_of
from dfkd.runs.metrics import HeldOutAgreement, Quality, RunCost, Seconds
from dfkd.runs.options import Evaluation
from dfkd.runs.selector import Selector
from dfkd.tasks import task_name
from dfkd.teacher import Teacher
from dfkd.training.engine import Engine


def run_cost(teacher: Teacher, student: nn.Module, engine: Engine, asking: float) -> RunCost:
    """Count what the run took: steps, images, forward passes, memory, seconds until now.

    Args:
        teacher: of the run.
        student: that is kept.
        engine: that has done it.
        asking: seconds that asking the teacher and judging students took.
    """
    account, synthesizer, distiller = engine.account, engine.synthesizer, engine.distiller
    counts = distiller.class_counts()
    return RunCost(
        teacher_parameters=count_parameters(teacher.network),
        student_parameters=count_parameters(student),
        student_steps=account.steps,
        synthesis_updates=account.updates,
        images_synthesized=synthesizer.images_made + distiller.images_made,
        teacher_forwards=synthesizer.teacher_images + distiller.teacher_images,
        seconds=Seconds(
            round(account.seconds, 2),
            round(account.synthesis_seconds, 2),
            round(account.distillation_seconds, 2),
            round(asking, 2),
        ),
        class_counts=counts,
        # One class with nine tenths of the teacher's answers is the collapse users report.
        collapsed=bool(sum(counts) and max(counts) > 0.9 * sum(counts)),
        peak_memory_bytes=run_records.peak_memory_bytes(),
    )


def measured(
    teacher: Teacher,
    verdict: Verdict,
    distiller: Distiller,
    cost: RunCost,
    complete: bool,
    validation: Validation,
    evaluation: Evaluation | None,
    curve: Curve,
    selector: Selector,
    teacher_accuracy: float | None,
) -> dict[str, Any]:
    """Measure a run's networks, over time as well, and say whether it is a success.

    Args:
        teacher: as the user gave it.
        verdict: which student is kept, and how it stands on held-out images.
        distiller: has the run's other networks.
        cost: what the run took.
        complete: whether the budget was spent; a run without a step of the student never is.
        validation: measures agreement on held-out images.
        evaluation: what is measured on real images, if anything.
        curve: has the students that were kept on the way.
        selector: has judged some there.
        teacher_accuracy: what is known of it, where the student's is to be predicted.

    Returns:
        ``cost`` and the other fields of ``RunMetrics`` that are measurements.
    """
    data, epsilon = (evaluation.data, evaluation.epsilon) if evaluation else (None, None)
    quality = evaluate_networks(teacher, verdict, distiller, data, epsilon, validation)
    failure = failure_of(cost, quality, verdict.kept.standing, data) if complete else ""
    complete = complete and cost.student_steps > 0
    points: list[dict[str, Any]] = []
    if data is not None and complete:  # who interrupts does not want to wait for it
        end = (cost.seconds.total, cost.student_steps, quality.student_accuracy or 0.0)
        points = curve.measured(verdict.student, distiller.networks(), teacher, data, end)
    judging = validation.held_out
    fidelity = measure_fidelity(teacher, verdict.student, judging)
    predicted: dict[str, float] | None = None
    if teacher_accuracy is not None:
        predicted = expected_of(teacher_accuracy, fidelity, judging)._asdict()
    held_out = HeldOutAgreement.of(verdict, selector.way)
    return {
        **vars(cost), **vars(quality), "held_out": held_out, "curve": points,
        "failure": failure, "complete": complete, "fidelity": fidelity.as_dict(),
        "expected": predicted,
    }  # fmt: skip


def evaluate_networks(
    teacher: Teacher,
    verdict: Verdict,
    distiller: Distiller,
    evaluation: ImageData | None,
    epsilon: float | None,
    validation: Validation,
) -> Quality:
    """Measure accuracies on real images where given; else agreement on held-out synthetic ones.

    Args:
        teacher: as the user gave it.
        verdict: which student is kept, and how it stands on held-out images.
        distiller: has the run's other networks.
        evaluation: real labelled images.
        epsilon: of the attack under which all networks are measured too, if any.
        validation: measures agreement on held-out images.
    """
    if evaluation is None:
        others = distiller.networks().items()
        return Quality(
            teacher_accuracy=None,
            student_accuracy=None,
            agreement=verdict.kept.standing.agreement,
            agreement_on=validation.held_out.described,
            agreement_of_others={name: validation.standing(one).agreement for name, one in others},
        )
    spec = teacher.spec
    shown = teacher.measurable
    models = [("teacher", shown, spec)] if shown is not None else []
    own = len(models)
    models.append(("student", verdict.student, spec))
    models += [(name, network, spec) for name, network in distiller.networks().items()]
    tasks = [teacher.task] * own + [teacher.student_task] * (len(models) - own)
    rows = [asdict(row) for row in measure_networks(models, evaluation, tasks=tasks)]
    attacked: dict[str, Any] = {}
    if teacher.task.rows > 1:
        attacked |= label_report(models[: own + 1], tasks[: own + 1], evaluation)
    if epsilon is not None:
        accuracies, attack = robustness(models, evaluation, epsilon, tasks)
        for row, value in zip(rows, accuracies, strict=True):
            row["robust_accuracy"] = value
        attacked |= {"robust_accuracy": accuracies[own], "robustness": attack}
    exits = exits_of(rows)
    shares = {row["name"]: row["share_of_compute"] for row in exits.get("exits", ())}
    for row in rows if shares else ():
        row["share_of_compute"] = ({"student": 1.0} | shares).get(row["name"])
    return Quality(
        teacher_accuracy=rows[0]["accuracy"] if own else None,
        student_accuracy=rows[own]["accuracy"],
        agreement=rows[1]["agreement"] if own else verdict.kept.standing.agreement,
        agreement_on="evaluation images" if own else validation.held_out.described,
        comparison=rows,
        **attacked,
        **exits,
    )


def save_student(directory: Path, student: nn.Module, teacher: Teacher, source: Source) -> None:
    """Write ``student.safetensors``, with what ``run:DIR`` needs to build it again.

    Args:
        directory: the run's.
        student: the network to keep.
        teacher: whose images and classes it takes.
        source: what builds the student without its exits.
    """
    path = directory / "student.safetensors"
    factory, keywords = factory_of(student, *source)
    save_artefact(
        path, student, factory, keywords, teacher.spec, teacher.class_names,
        task=task_name(teacher.task),
    )  # fmt: skip


def write_results(
    directory: Path,
    manifest: dict[str, Any],
    metrics: dict[str, Any],
    images: Tensor | None,
    teacher: Teacher,
) -> None:
    """Write ``manifest.json``, ``result.json``, ``grid.png`` and ``report.html``.

    Args:
        directory: the run's.
        manifest: what was run.
        metrics: what came of it.
        images: N x C x H x W in [0, 1] for the grid; None: there were none made.
        teacher: names their classes.
    """
    run_records.write_json(directory / "manifest.json", manifest)
    run_records.write_json(directory / "result.json", metrics)
    if images is not None:
        with torch.no_grad():
            names = teacher.task.described(teacher.predict(images))
        write_grid(directory / "grid.png", images.float().cpu(), names, columns=8)
    write_page(directory, manifest, metrics)

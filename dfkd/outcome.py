"""What a finished run leaves behind: its figures and its files."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dfkd import rundir
from dfkd.bank import quantize
from dfkd.datasets import LabelledImages
from dfkd.distillers.offline import Offline
from dfkd.engine import Engine
from dfkd.evaluation.measure import agreement, compare, predictions
from dfkd.networks import count_parameters
from dfkd.protocols import Synthesizer
from dfkd.report.grid import write_grid
from dfkd.report.page import write_page
from dfkd.teacher import Teacher


def spent(
    teacher: Teacher,
    student: nn.Module,
    engine: Engine,
    synthesizer: Synthesizer,
    distiller: Offline,
) -> dict[str, Any]:
    """What the run took: steps, images, forward passes, seconds, memory."""
    account, counts = engine.account, distiller.class_counts()
    peak = rundir.peak_memory_bytes()
    return {
        "teacher_parameters": count_parameters(teacher.network),
        "student_parameters": count_parameters(student),
        "student_steps": account.steps,
        "synthesis_updates": account.updates,
        "images_synthesized": synthesizer.images_made,
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


def quality(
    teacher: Teacher,
    student: nn.Module,
    synthesizer: Synthesizer,
    evaluation: LabelledImages | None,
) -> dict[str, Any]:
    """Accuracies on real images where given; else agreement on synthetic ones."""
    spec = teacher.spec
    if evaluation is None:
        images = quantize(synthesizer.sample(512).images).cpu()
        same = agreement(predictions(student, spec, images), predictions(teacher, spec, images))
        return {
            "teacher_accuracy": None,
            "student_accuracy": None,
            "agreement": same,
            "agreement_on": "synthetic images",
        }
    models = [("teacher", teacher.network, spec), ("student", student, spec)]
    rows = compare(models, evaluation)
    return {
        "teacher_accuracy": rows[0].accuracy,
        "student_accuracy": rows[1].accuracy,
        "agreement": rows[1].agreement,
        "agreement_on": "evaluation images",
        "comparison": [asdict(row) for row in rows],
    }


def real_data(evaluation: LabelledImages | None, points: int = 0) -> dict[str, Any]:
    """The manifest's word on whether real data was used, and for what.

    Args:
        points: how many students the accuracy's curve has; 0: there is none.
    """
    if evaluation is None:
        return {"used": False, "purpose": "none"}
    others = f" and of {points - 1} kept on the way" if points > 1 else ""
    purpose = f"accuracy of the finished student{others} on {evaluation.name}, after the run"
    return {"used": True, "purpose": f"{purpose}; no training, no choice"}


def write_outcome(
    directory: Path,
    manifest: dict[str, Any],
    figures: dict[str, Any],
    synthesizer: Synthesizer,
    teacher: Teacher,
) -> None:
    """``manifest.json``, ``result.json``, ``grid.png`` and ``report.html``."""
    rundir.write_json(directory / "manifest.json", manifest)
    rundir.write_json(directory / "result.json", figures)
    images = synthesizer.sample(64).images
    with torch.no_grad():
        answers = teacher(images).argmax(1).tolist()
    names = [teacher.class_names[index] for index in answers]
    write_grid(directory / "grid.png", images.float().cpu(), names, columns=8)
    write_page(directory)

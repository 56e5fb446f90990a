"""``dfkd.distill``: a student from a teacher, without data."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dfkd import checkpoint, recipes, rundir, runtime
from dfkd.datasets import LabelledImages, check_fits
from dfkd.distillers.offline import Offline, make_optimizer
from dfkd.engine import Account, Budget, Engine
from dfkd.errors import DfkdError
from dfkd.evaluation.measure import agreement, compare, predictions
from dfkd.initialise import start_student
from dfkd.loading import check_student, save_artefact
from dfkd.networks import count_parameters
from dfkd.protocols import Synthesizer
from dfkd.recipes import Recipe
from dfkd.report.grid import write_grid
from dfkd.report.log import MetricsLog
from dfkd.report.page import write_page
from dfkd.teacher import Teacher

Show = Callable[[float, int, Mapping[str, float], Sequence[int]], None]


@dataclass(frozen=True)
class Result:
    """A finished (or interrupted) run.

    Attributes:
        student: the network to keep, in eval mode, on the teacher's device.
        figures: what ``result.json`` holds.
        out: the run's directory, where one was asked for.
        interrupted: stopped by Ctrl-C before the budget was spent.
    """

    student: nn.Module
    figures: dict[str, Any]
    out: Path | None
    interrupted: bool


@dataclass(frozen=True)
class Origin:
    """Where the networks came from, for the manifest and for ``run:DIR``."""

    teacher: str = "a module"
    student: str = "a module"
    factory: str | None = None
    keywords: Mapping[str, Any] = field(default_factory=dict)
    command: Sequence[str] | None = None


def distill(
    teacher: Teacher,
    student: nn.Module,
    method: str = "default",
    *,
    minutes: float | None = None,
    steps: int | None = None,
    seed: int = 0,
    init: str | None = None,
    recipe: Recipe | None = None,
    evaluation: LabelledImages | None = None,
    out: Path | str | None = None,
    overwrite: bool = False,
    resume: bool = False,
    device: str = "auto",
    precision: str = "auto",
    devices: int = 1,
    show: Show = lambda *_: None,
    origin: Origin | None = None,
) -> Result:
    """Train ``student`` to answer as ``teacher`` does, from synthetic images alone.

    Args:
        teacher: frozen; bit-identical afterwards.
        student: normalised images -> N x classes logits; trained in place.
        method: a name of ``dfkd.recipes.RECIPES``; ignored where ``recipe`` is given.
        minutes, steps: the budget, in wall time or student steps; 4 minutes by default.
        init: ``auto``, ``teacher`` or ``random``; the recipe's own when left out.
        evaluation: real labelled images, used after training and for nothing but figures.
        out: directory for manifest, log, page, student and checkpoint.
        resume: continue from the checkpoint in ``out``.
        device, precision, devices: ``auto``, or what ``dfkd.runtime.start`` takes.
        show: called about every two seconds with (fraction, step, metrics, class counts).

    Raises:
        DfkdError: student and teacher do not fit, an impossible budget, a directory in use.
    """
    if minutes is None and steps is None:
        minutes = 4.0
    budget, origin = Budget(minutes, steps), origin or Origin()
    plan = recipe or replace(recipes.recipe(method), seed=seed)
    plan = replace(plan, init=init) if init else plan
    check_student(student, teacher)
    if evaluation is not None:
        check_fits(evaluation, teacher.spec, teacher.num_classes)
    if resume and out is None:
        raise DfkdError("--resume continues the run in --out DIR: name it")
    directory = rundir.prepare(Path(out), overwrite, resume) if out is not None else None
    place = runtime.start(device, precision, devices)
    teacher.to(place.device)
    student.to(place.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    hash_before = teacher.fingerprint()
    start = start_student(student, teacher.network, plan.init)
    optimizer = make_optimizer(student, plan.distiller)
    network, optimizer = place.setup(student, optimizer)
    distiller = Offline(
        teacher,
        student,
        plan.distiller,
        plan.seed,
        network=network,
        optimizer=optimizer,
        backward=place.backward,
        autocast=place.autocast,
        rank=place.rank,
        world_size=place.world_size,
    )
    synthesizer = recipes.build_synthesizer(plan, teacher, place.autocast)
    log: MetricsLog | None = None

    def report(progress: float, account: Account, metrics: dict[str, float]) -> None:
        if log:
            log.write(account.steps, account.seconds, metrics)
        if place.rank == 0:
            show(progress, account.steps, metrics, distiller.class_counts())

    def save() -> None:
        if directory and place.rank == 0:
            checkpoint.save(directory / "checkpoint", engine.state_dict())

    engine = Engine(
        synthesizer,
        distiller,
        budget,
        plan.rhythm,
        agree=place.agree,
        report=report,
        save=save,
    )
    if resume and directory:
        engine.load_state_dict(checkpoint.load(directory / "checkpoint"))
    if directory and place.rank == 0:
        directory.mkdir(parents=True, exist_ok=True)
        log = MetricsLog(directory, engine.account.steps if resume else None)
    try:
        complete = engine.run()
        save()
    finally:
        if log:
            log.close()
    finished = distiller.finished()
    figures = {
        "method": plan.method,
        **_figures(teacher, finished, engine, synthesizer, distiller),
        **_quality(teacher, finished, synthesizer, evaluation),
        "init": {"mode": start.mode, "share": start.share, "layers": list(start.copied)},
        "complete": complete,
    }
    if directory and place.rank == 0:
        manifest = {
            **rundir.provenance(origin.command, runtime.hardware(place.device)),
            "teacher": origin.teacher,
            "student": origin.student,
            "recipe": recipes.to_dict(plan),
            "budget": asdict(budget),
            "precision": place.precision,
            "processes": place.world_size,
            "seed": plan.seed,
            "class_names": list(teacher.class_names),
            "teacher_hash_before": hash_before,
            "teacher_hash_after": teacher.fingerprint(),
            "real_data": _real_data(evaluation),
        }
        factory, keywords = origin.factory, dict(origin.keywords)
        save_artefact(
            directory / "student.safetensors",
            finished,
            factory,
            keywords,
            teacher.spec,
            teacher.class_names,
        )
        rundir.write_json(directory / "manifest.json", manifest)
        rundir.write_json(directory / "result.json", figures)
        _write_pictures(directory, synthesizer, teacher)
        write_page(directory)
    place.barrier()
    return Result(finished, figures, directory, not complete)


def _figures(
    teacher: Teacher,
    student: nn.Module,
    engine: Engine,
    synthesizer: Synthesizer,
    distiller: Offline,
) -> dict[str, Any]:
    account, counts = engine.account, distiller.class_counts()
    peak = rundir.peak_memory_bytes()
    return {
        "teacher_parameters": count_parameters(teacher.network),
        "student_parameters": count_parameters(student),
        "student_steps": account.steps,
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


def _quality(
    teacher: Teacher,
    student: nn.Module,
    synthesizer: Synthesizer,
    evaluation: LabelledImages | None,
) -> dict[str, Any]:
    """Accuracies on real images where given; else agreement on synthetic ones."""
    spec = teacher.spec
    if evaluation is None:
        images = synthesizer.sample(512).images.mul(255).round().to(torch.uint8).cpu()
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


def _real_data(evaluation: LabelledImages | None) -> dict[str, Any]:
    if evaluation is None:
        return {"used": False, "purpose": "none"}
    return {
        "used": True,
        "purpose": f"accuracy of the finished student on {evaluation.name}; no training, no choice",
    }


def _write_pictures(directory: Path, synthesizer: Synthesizer, teacher: Teacher) -> None:
    images = synthesizer.sample(64).images
    names = [teacher.class_names[i] for i in _answers(teacher, images)]
    write_grid(directory / "grid.png", images.float().cpu(), names, columns=8)


@torch.no_grad()
def _answers(teacher: Teacher, images: Tensor) -> list[int]:
    answers: list[int] = teacher(images).argmax(1).tolist()
    return answers

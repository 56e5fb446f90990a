"""``dfkd.distill``: a student from a teacher, without data."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from dfkd import recipes
from dfkd.datasets import GivenImages, LabelledImages
from dfkd.distillation.knowledge import parse
from dfkd.distillation.student_init import start_student
from dfkd.loading.uri import local_paths
from dfkd.recipes import Recipe
from dfkd.recipes.schemes import SCHEMES, build_distiller
from dfkd.report.log import MetricsLog
from dfkd.runs import manifest, results, run_directory
from dfkd.runs.accuracy_curve import Curve
from dfkd.runs.checks import check_resume, check_run, check_same_run
from dfkd.runs.decisions import ask
from dfkd.runs.manifest import Origin
from dfkd.runs.prepare import (
    accelerate,
    build_source,
    compile_mode,
    estimate_workload,
    resolve_batch_size,
)
from dfkd.teacher import Teacher
from dfkd.teacher.folding import fold
from dfkd.teacher.layout import settle
from dfkd.training import checkpoint, distributed
from dfkd.training.background import Background
from dfkd.training.budget import Alternation, Budget, RunProgress
from dfkd.training.engine import Engine
from dfkd.training.finite import check_network, infinities

Show = Callable[[float, int, Mapping[str, float], Sequence[int]], None]


@dataclass(frozen=True)
class Result:
    """A finished (or interrupted) run.

    Attributes:
        student: the network to keep, in eval mode, on the teacher's device.
        figures: what ``result.json`` holds.
        out: the run's directory, where one was asked for.
        interrupted: stopped by Ctrl-C before the budget was spent.
        failure: why a run that came to its end is no success (no step, a student at chance), and
            what to do; empty otherwise.
    """

    student: nn.Module
    figures: dict[str, Any]
    out: Path | None
    interrupted: bool
    failure: str = ""


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
    images: GivenImages | None = None,
    curve: int = 0,
    epsilon: float | None = None,
    out: Path | str | None = None,
    overwrite: bool = False,
    resume: bool = False,
    device: str = "auto",
    precision: str = "auto",
    devices: int = 1,
    compile: str = "auto",
    recompute: bool = False,
    batch_size: str | None = None,
    checkpoint_every: float = 60.0,
    begun: Callable[[Mapping[str, Any]], None] = lambda _: None,
    show: Show = lambda *_: None,
    origin: Origin | None = None,
) -> Result:
    """Train ``student`` to answer as ``teacher`` does, from synthetic images alone.

    Args:
        teacher: frozen; bit-identical afterwards.
        student: normalised images -> N x classes logits; trained in place, its frozen layers
            (``trunk``) left without gradients.
        method: a name of ``dfkd.recipes.RECIPES``; ignored where ``recipe`` is given.
        minutes, steps: the budget, in wall time or student steps; 4 minutes by default.
        init: ``auto``, ``teacher``, ``random`` or ``given``; the recipe's own when left out.
        evaluation: real labelled images, used after training and for nothing but figures.
        images: the user's own to learn from, labelled or not, in place of the method's.
        curve: at how many evenly spaced points of the budget the student is kept; all are measured
            on ``evaluation`` after the run, the finished one last. Training is the same with any.
        epsilon: measure the accuracy under attack (``dfkd.evaluation.robustness``) as well, when
            every value in [0, 1] may change by so much; the scheme's own when left out.
        out: directory for manifest, log, page, student and checkpoint.
        resume: continue the run in ``out``, set as it was (see ``dfkd.runs.manifest.identity``).
        device, precision, devices: ``auto``, or what ``dfkd.training.distributed.init`` takes.
        compile: ``auto``, ``on`` or ``off``, see ``dfkd.teacher.compilation``.
        recompute: keep only what enters the teacher's blocks, see ``dfkd.teacher.recompute``.
        batch_size: images in a student's step, or ``auto``: the recipe's batches of either
            kind, halved until they fit into memory; the recipe's own when left out.
        checkpoint_every: seconds between two checkpoints.
        begun: called before the first step with what is decided then: ``init``, ``compiled``,
            ``pairs`` and ``decisions`` of the figures.
        show: called about every two seconds with (fraction, step, metrics, class counts).

    Raises:
        DfkdError: networks that do not fit, an impossible budget, a directory that another run has.
    """
    began = time.perf_counter()
    minutes = 4.0 if minutes is None and steps is None else minutes
    budget, origin = Budget(minutes, steps), origin or Origin()
    plan = recipe or replace(recipes.recipe(method), seed=seed)
    plan = replace(plan, init=init) if init else plan
    plan = (
        replace(plan, alternation=Alternation(batch_size=plan.alternation.batch_size))
        if images
        else plan
    )
    check_run(plan, teacher, student, evaluation, images, curve, epsilon)
    check_resume(resume, out)
    checkpoint.check_interval(checkpoint_every)
    if epsilon is None and evaluation is not None:
        epsilon = SCHEMES[plan.scheme].epsilon(plan.scheme_config)
    directory = None
    if out is not None:
        models = (origin.teacher, origin.student, *origin.further)
        reads = local_paths(models, [data.name for data in (evaluation, images) if data])
        directory = run_directory.prepare(Path(out), overwrite, resume, reads=reads)
    runtime = distributed.init(device, precision, devices)
    teacher.to(runtime.device)
    layout = settle(student, teacher.spec, runtime.device)
    saved = checkpoint.load(directory / "checkpoint") if resume and directory else {}
    plan = resolve_batch_size(
        plan, batch_size, teacher, runtime.world_size, saved.get("batch_size")
    )
    batch_before = plan.alternation.batch_size
    hash_before, digests_before = teacher.fingerprint(), teacher.digests()
    run = manifest.identity(plan, teacher, hash_before, student, images)
    check_same_run(saved.get("run", run), run)
    start = start_student(student, teacher.network, plan.init, plan.trunk)
    compile = compile_mode(compile, saved.get("compiled"), runtime.world_size)
    folded = fold(teacher).teacher
    asked = ask(plan, budget, teacher, folded, student, runtime, saved.get("asked"))
    plan, validation = asked.plan, asked.validation
    # A folded convolution gives what its norm gave: what a user names is the teacher's own.
    looked_into = teacher if plan.learner.pairs else folded
    # Before anything is compiled: what does not fit together is said at once.
    distiller = build_distiller(
        looked_into, student, plan.learner, plan.seed, plan.scheme, plan.scheme_config, runtime
    )
    known = infinities(distiller.state_dict())
    kept = Curve(curve, distiller, saved.get("curve"))
    work = estimate_workload(plan, budget, teacher.spec, given=images is not None)
    compiled = accelerate(
        folded, work, compile=compile, recompute=recompute, autocast=runtime.autocast
    )
    synthesizer = build_source(plan, compiled.teacher, images, runtime.autocast)
    log: MetricsLog | None = None

    def report(progress: float, account: RunProgress, metrics: dict[str, float]) -> None:
        if log:
            background.submit(log.write, account.steps, account.seconds, metrics)
        if runtime.rank == 0:
            show(progress, account.steps, metrics, distiller.class_counts())

    def save() -> None:
        if directory and runtime.rank == 0:
            decided = {
                "compiled": compiled.used,
                "batch_size": batch_before,
                "asked": asked.state_dict(),
                "run": run,
            }
            state = checkpoint.snapshot(engine.state_dict()) | {"curve": kept.state_dict()}
            background.submit(checkpoint.save, directory / "checkpoint", state | decided, known)

    engine = Engine(
        synthesizer,
        distiller,
        budget,
        plan.alternation,
        agree=runtime.any_rank,
        shared=runtime.from_rank_zero,
        report=report,
        save=save,
        marks=kept.marks,
        keep=kept.keep,
        save_every=checkpoint_every,
    )
    if runtime.world_size == 1:
        compiled.teacher.before_pass = engine.pulse
    if saved:
        checkpoint.restore(engine, saved)
    # The budget pays for what was asked, and in advance for judging the student at its end.
    spent = time.perf_counter() - began + asked.remembered
    engine.account.earlier_seconds += spent + validation.seconds
    if directory and runtime.rank == 0:
        run_directory.create(directory, resume, overwrite)
        log = MetricsLog(directory, engine.account.steps if resume else None)
    beginning = {
        "init": start.as_dict(),
        "compiled": {"used": compiled.used, "reason": compiled.reason},
        "pairs": list(distiller.pairs),
        **asked.told(),
    }
    if own := layout.told("the student"):
        beginning["decisions"] = [own, *asked.lines]
    if runtime.rank == 0:
        begun(beginning)
    background = Background(directory)
    try:
        with background:
            complete = engine.run()
            save()
    finally:
        compiled.teacher.before_pass = lambda: None
        if log:
            with suppress(OSError):  # of a disk that is full has been told
                log.close()
    finished = distiller.finished()
    teacher.check_untouched(digests_before)
    check_network(finished, "the student", engine.account.steps, known)
    verdict = validation.judged(finished, _judges(plan))
    finished, source = verdict.student, distiller.source() or origin.source
    cost = results.run_cost(teacher, finished, engine, synthesizer, distiller)
    if directory and runtime.rank == 0:  # whatever happens to the measuring, the student is there
        results.save_student(
            directory, finished, teacher, origin.source if verdict.returned else source
        )
    figures = {
        "method": plan.method if images is None else images.name,
        "scheme": plan.scheme,
        "knowledge": plan.learner.knowledge,
        **results.run_metrics(
            teacher, cost, distiller, evaluation, kept, complete, epsilon, validation, verdict
        ),
        **beginning,
    }
    if directory and runtime.rank == 0:
        real = manifest.real_data(evaluation, curve, images)
        record = manifest.manifest(plan, budget, runtime, teacher, origin, hash_before, real)
        results.write(directory, record | asked.told(), figures, synthesizer, teacher)
    runtime.barrier()
    return Result(finished, figures, directory, not complete, figures["failure"])


def _judges(plan: Recipe) -> bool:
    """Whether agreement with the teacher is what the student is trained for."""
    return SCHEMES[plan.scheme].agrees and "hard" not in parse(plan.learner.knowledge)

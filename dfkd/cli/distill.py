"""``dfkd distill`` and ``dfkd demo``."""

import sys
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, cast

from torch import nn

from dfkd import recipes
from dfkd.cli import arguments
from dfkd.cli.build_recipe import build_recipe
from dfkd.cli.common import (
    Shown,
    check_teachers,
    compute_of,
    console,
    load_wrapped_teacher,
    origin_of,
    output_of,
    tell_attack,
    tell_compiled,
    tell_data,
    with_ledger,
)
from dfkd.cli.flags import as_flags
from dfkd.cli.students import student_of
from dfkd.datasets import GivenImages, load_data, load_images
from dfkd.datasets.sources import path_of
from dfkd.datasets.written import WrittenSet
from dfkd.datasets.written.labels import LabelStore
from dfkd.errors import DfkdError
from dfkd.evaluation.expected import ExpectedAccuracy
from dfkd.loading.uri import local_paths
from dfkd.recipes import Recipe, batches
from dfkd.report.label_lines import label_lines
from dfkd.report.progress import Progress
from dfkd.report.sentences import earliest_exit, kept_from_before
from dfkd.report.table import comparison_table
from dfkd.report.units import NARROW
from dfkd.runs import distillation, run_directory
from dfkd.runs.asking import told_queries
from dfkd.runs.doctor import Watch
from dfkd.runs.options import Evaluation, Output
from dfkd.runs.plan import plan
from dfkd.runs.symptoms import SAID_BY_FAILURE
from dfkd.teacher import Teacher
from dfkd.training import distributed
from dfkd.training.budget import Budget

_DEMO_TEACHER = "bundled:fashion_resnet20"
_DEMO_STUDENT = "dfkd.networks:resnet?blocks=(3,3,1)&widths=(16,32,32)"
_DEMO_DATA = "bundled:fashion_resnet20"
FAILED = 3
"""Exit status of a run that came to its end without a student that has learnt anything."""


def run_demo(command: arguments.Demo) -> int:
    """Distil the bundled teacher into a student with its first two stages, a third of its size."""
    shared = asdict(command)
    distillation = arguments.Distill(
        _DEMO_TEACHER,
        _DEMO_STUDENT,
        eval=_DEMO_DATA,
        overwrite=command.out.exists(),
        **{name: shared[name] for name in ("minutes", "seed", "init", "out", "set", "debug")},
    )
    return run_distill(distillation)


def run_distill(command: arguments.Distill) -> int:
    """Load everything, run ``dfkd.distill``, and print the table at the end."""
    if command.minutes is not None or command.steps is not None:
        Budget(command.minutes, command.steps)  # refused before anything is loaded
    compute, output = compute_of(command), output_of(command)
    # Its data, which is not loaded yet, is what the first word stands for.
    Evaluation(command.eval, 0, command.epsilon, command.teacher_accuracy)
    recipe = _recipe(command)
    models = (command.teacher, command.student, *command.teachers)
    reads = local_paths(
        (*models, *getattr(recipe.scheme_config, "peers", ())),
        (command.images, command.eval, command.unlabelled, command.teacher),
    )
    reads += [path for path in (command.config, *command.facts.class_names) if path]
    run_directory.prepare(command.out, command.overwrite, command.resume, reads=reads)
    teacher, images = _sources(command, recipe)
    init = command.init or recipe.init
    loaded, init = student_of(command.student, teacher, recipe.seed, init, command.device)
    evaluation = _evaluation(command, teacher)
    for data in (images, evaluation.data, evaluation.unlabelled):
        if data is not None and not isinstance(data, LabelStore):
            tell_data(data)
    recipe = replace(recipe, init=cast(Any, init))
    if command.dry_run:
        return _tell_plan(command, teacher, loaded.network, recipe, images, output)
    with Progress("Distilling", console()) as progress:
        result = distillation.distill(
            teacher,
            loaded.network,
            recipe,
            minutes=command.minutes,
            steps=command.steps,
            evaluation=evaluation,
            images=images,
            compute=compute,
            output=output,
            callbacks=[Shown(progress, _tell_beginning), Watch(_tell_symptom)],
            origin=origin_of(command.teacher, command.student, loaded, command.teachers),
        )
    if not distributed.is_first():
        return 0
    return _tell_end(result, command.out)


def _sources(
    command: arguments.Distill, recipe: Recipe
) -> tuple[Teacher, GivenImages | LabelStore | None]:
    """The teacher and the images, if any are given; of a written dataset it is not there."""
    kind, _, place = command.teacher.partition(":")
    if kind == "set":
        if command.images or command.method:
            raise DfkdError("a set brings its own images: leave `images` and `method` out")
        if command.teachers:
            raise DfkdError(
                "a set stands in for one teacher that is not present: leave `teachers` out, or "
                "name them all as MODELs and the set as `images`"
            )
        if command.facts != arguments.UNSAID or command.recompute:
            raise DfkdError(
                "a set says what its images are, and no teacher is asked: leave `image`, `mean`, "
                "`std`, `class_names` and `recompute` out"
            )
        data = WrittenSet(path_of(place))
        return distillation.absent_teacher(data), LabelStore(data)
    facts = with_ledger(command.facts, [command.teacher, *command.teachers], command.out)
    teacher = load_wrapped_teacher(command.teacher, command.teachers, facts, recipe)
    if command.recompute:
        _check_recompute(recipe, teacher, command.images)
    return teacher, load_images(command.images, teacher) if command.images else None


def _tell_plan(
    command: arguments.Distill,
    teacher: Teacher,
    student: nn.Module,
    recipe: Recipe,
    images: GivenImages | LabelStore | None,
    output: Output,
) -> int:
    found = plan(
        teacher, student, recipe, minutes=command.minutes, steps=command.steps, images=images,
        compute=compute_of(command), output=output,
    )  # fmt: skip
    for line in found.lines():
        print(as_flags(line))
    return 0


def _tell_symptom(line: str) -> None:
    print(as_flags(line), file=sys.stderr, flush=True)


def _tell_end(result: distillation.Result, directory: Path) -> int:
    """Print what came of it; returns the exit status."""
    if result.interrupted:
        print(f"interrupted; saved in {directory}: continue with --resume", file=sys.stderr)
        return 130
    metrics, found = result.metrics, result.metrics.as_dict()
    if metrics.comparison:
        if attack := metrics.robustness:
            print(tell_attack(attack["images"], attack["epsilon"]))
        console().print(comparison_table(metrics.comparison))
        for line in label_lines(metrics.mean_average_precision, metrics.labels):
            print(line)
        if line := earliest_exit(found):
            print(line.replace(NARROW, " "))
    else:
        rows = (metrics.agreement_of_others or {}).items()
        others = "".join(f", {name} {share:.1%}" for name, share in rows)
        print(
            f"agreement with the teacher on {metrics.agreement_on}: "
            f"{metrics.agreement:.1%}{others}; no --eval, no accuracy"
        )
    if metrics.expected:
        print(ExpectedAccuracy(**metrics.expected).line())
    for name in ("student.safetensors", "report.html", "grid.png"):
        if (directory / name).exists():
            print(directory / name)
    for line in told_queries(metrics.queries):
        print(line)
    if line := kept_from_before(found):
        print(line.replace(NARROW, " "))
    for line in metrics.findings:
        if not line.startswith(SAID_BY_FAILURE):
            print(as_flags(line))
    if result.failure:
        print(result.failure)
        return FAILED
    return 0


def _recipe(command: arguments.Distill) -> Recipe:
    if command.images and command.method:
        raise DfkdError("--images stands in for a method's: leave --method out")
    recipe = build_recipe(
        recipes.recipe(command.method or "default"),
        config=command.config,
        scheme=command.scheme,
        knowledge=command.knowledge,
        pairs=command.pair,
        exits=command.exits,
        seed=command.seed,
        assignments=command.set,
    )
    check_teachers(recipe, command.teachers)
    return recipe


def _check_recompute(recipe: Recipe, teacher: Teacher, images: str | None) -> None:
    """Raise where no pass of the teacher is made that could be recomputed."""
    shapes, _ = batches.traced(recipe, teacher.spec)
    if images or not shapes or not teacher.remembers:
        raise DfkdError(
            "--recompute is for passes that read the teacher's statistics and no features, "
            "and this run makes none: leave it out"
        )


def _evaluation(command: arguments.Distill, teacher: Teacher) -> Evaluation:
    data = None
    if command.eval:
        data = load_data(
            command.eval, spec=teacher.spec, class_names=teacher.class_names, subset=teacher.subset
        )
    unlabelled = (
        load_images(command.unlabelled, teacher, labels=False) if command.unlabelled else None
    )
    return Evaluation(data, 0, command.epsilon, command.teacher_accuracy, unlabelled)


def _tell_beginning(facts: Mapping[str, Any]) -> None:
    """What is decided before the first step: where the student starts, what is compared."""
    start = facts["init"]
    if start["mode"] == "teacher":
        count, share, frozen = len(start["layers"]), start["share"], len(start["frozen"])
        kept = f"; its first {frozen} layers stayed as they are there" if frozen else ""
        print(f"student started with {count} of the teacher's tensors ({share:.0%} of it){kept}")
    if start["mode"] == "given":
        print("student started with the weights that it brings")
    for line in facts["decisions"]:
        print(as_flags(line))
    tell_compiled(facts["compiled"])
    if pairs := facts["pairs"]:
        print(f"compared: {', '.join(pairs)}", flush=True)

"""``dfkd distill`` and ``dfkd demo``."""

import dataclasses
import sys
from collections.abc import Mapping
from typing import Any

from dfkd import recipes
from dfkd.cli import arguments
from dfkd.cli.build_recipe import plan_of
from dfkd.cli.common import (
    check_teachers,
    console,
    load_wrapped_teacher,
    origin_of,
    tell_attack,
    tell_compiled,
    tell_data,
)
from dfkd.cli.students import student_of
from dfkd.datasets import LabelledImages, load_data, load_images
from dfkd.errors import DfkdError
from dfkd.evaluation.robustness import check_epsilon
from dfkd.loading.uri import local_paths
from dfkd.recipes import Recipe, batches
from dfkd.report.progress import Progress
from dfkd.report.sentences import earliest_exit, kept_as_it_started
from dfkd.report.table import comparison_table
from dfkd.report.units import NARROW
from dfkd.runs import distillation, run_directory
from dfkd.teacher import Teacher
from dfkd.training import checkpoint, distributed
from dfkd.training.budget import Budget

DEMO_TEACHER = "bundled:fashion_resnet20"
DEMO_STUDENT = "dfkd.networks:resnet?blocks=(3,3,1)&widths=(16,32,32)"
DEMO_DATA = "bundled:fashion_resnet20"
FAILED = 3
"""Exit status of a run that came to its end without a student that has learnt anything."""


def demo(command: arguments.Demo) -> int:
    """The bundled teacher into a student with its first two stages and a third of its size."""
    shared = dataclasses.asdict(command)
    distillation = arguments.Distill(
        DEMO_TEACHER,
        DEMO_STUDENT,
        eval=DEMO_DATA,
        overwrite=command.out.exists(),
        **{name: shared[name] for name in ("minutes", "seed", "init", "out", "set", "debug")},
    )
    return distill(distillation)


def distill(command: arguments.Distill) -> int:
    """``dfkd.distill`` with everything loaded, and the table at the end."""
    if command.minutes is not None or command.steps is not None:
        Budget(command.minutes, command.steps)  # refused before anything is loaded
    checkpoint.check_interval(command.checkpoint_every)
    check_epsilon(command.epsilon, measured=command.eval is not None)
    plan = _plan(command)
    models = (command.teacher, command.student, *command.teachers)
    reads = local_paths(
        (*models, *getattr(plan.scheme_config, "peers", ())), (command.images, command.eval)
    )
    reads += [path for path in (command.config, *command.facts.class_names) if path]
    directory = run_directory.prepare(command.out, command.overwrite, command.resume, reads=reads)
    teacher = load_wrapped_teacher(command.teacher, command.teachers, command.facts, plan)
    if command.recompute:
        _check_recompute(plan, teacher, command.images)
    images = load_images(command.images, teacher) if command.images else None
    loaded, init = student_of(command.student, teacher, plan.seed, command.init or plan.init)
    evaluation = _evaluation(command.eval, teacher)
    for data in (images, evaluation):
        if data is not None:
            tell_data(data)
    with Progress("Distilling", console()) as progress:
        result = distillation.distill(
            teacher,
            loaded.network,
            minutes=command.minutes,
            steps=command.steps,
            init=init,
            recipe=plan,
            evaluation=evaluation,
            images=images,
            epsilon=command.epsilon,
            out=directory,
            overwrite=command.overwrite,
            resume=command.resume,
            device=command.device,
            precision=command.precision,
            devices=command.devices,
            compile=command.compile,
            recompute=command.recompute,
            batch_size=command.batch_size,
            checkpoint_every=command.checkpoint_every,
            begun=_tell_beginning,
            show=progress.update,
            origin=origin_of(command.teacher, command.student, loaded, command.teachers),
        )
    if not distributed.is_first():
        return 0
    if result.interrupted:
        print(f"interrupted; saved in {directory}: continue with --resume", file=sys.stderr)
        return 130
    rows = result.figures.get("comparison")
    if rows:
        if attack := result.figures.get("robustness"):
            print(tell_attack(attack["images"], attack["epsilon"]))
        console().print(comparison_table(rows))
        if said := earliest_exit(result.figures):
            print(said.replace(NARROW, " "))
    else:
        figures = result.figures
        others = (f", {name} {share:.1%}" for name, share in figures["agreement_of_others"].items())
        print(
            "agreement with the teacher on held-out synthetic images: "
            f"{figures['agreement']:.1%}{''.join(others)}; no --eval, no accuracy"
        )
    for name in ("student.safetensors", "report.html", "grid.png"):
        if (directory / name).exists():
            print(directory / name)
    if said := kept_as_it_started(result.figures):
        print(said.replace(NARROW, " "))
    if result.failure:
        print(result.failure)
        return FAILED
    return 0


def _plan(command: arguments.Distill) -> Recipe:
    if command.images and command.method:
        raise DfkdError("--images stands in for a method's: leave --method out")
    plan = plan_of(
        recipes.recipe(command.method or "default"),
        config=command.config,
        scheme=command.scheme,
        knowledge=command.knowledge,
        pairs=command.pair,
        exits=command.exits,
        seed=command.seed,
        assignments=command.set,
    )
    check_teachers(plan, command.teachers)
    return plan


def _check_recompute(plan: Recipe, teacher: Teacher, images: str | None) -> None:
    """Raise where no pass of the teacher is made that could be recomputed."""
    shapes, _ = batches.traced(plan, teacher.spec)
    if images or not shapes or not teacher.layers:
        raise DfkdError(
            "--recompute is for passes that read the teacher's statistics and no features, "
            "and this run makes none: leave it out"
        )


def _evaluation(uri: str | None, teacher: Teacher) -> LabelledImages | None:
    return load_data(uri, spec=teacher.spec, class_names=teacher.class_names) if uri else None


def _tell_beginning(told: Mapping[str, Any]) -> None:
    """What is decided before the first step: where the student starts, what is compared."""
    start = told["init"]
    if start["mode"] == "teacher":
        count, share, frozen = len(start["layers"]), start["share"], len(start["frozen"])
        kept = f"; its first {frozen} layers stayed as they are there" if frozen else ""
        print(f"student started with {count} of the teacher's tensors ({share:.0%} of it){kept}")
    if start["mode"] == "given":
        print("student started with the weights that it brings")
    for line in told["decisions"]:
        print(line)
    tell_compiled(told["compiled"])
    if pairs := told["pairs"]:
        print(f"compared: {', '.join(pairs)}", flush=True)

"""What each command does: words in, the Python API, words out."""

import dataclasses
import json
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from dfkd import api, cli, recipes, rundir, runtime
from dfkd.bench import bench_step
from dfkd.datasets import LabelledImages, load_data
from dfkd.engine import Budget
from dfkd.errors import DfkdError
from dfkd.evaluation.measure import compare
from dfkd.inversion import invert_run
from dfkd.loading import LoadedModel, load_student_model, load_teacher
from dfkd.networks import initialise
from dfkd.probing import probe
from dfkd.recipes import Recipe
from dfkd.report.grid import write_grid, write_images
from dfkd.report.log import MetricsLog
from dfkd.report.page import write_page
from dfkd.report.progress import Progress
from dfkd.report.table import comparison_table
from dfkd.teacher import Teacher

DEMO_TEACHER = "bundled:fashion_resnet20"
DEMO_STUDENT = "dfkd.networks:resnet?depth=8"
DEMO_DATA = "bundled:fashion_resnet20"


def run(command: Any) -> int:
    """Dispatch; returns the exit status."""
    actions: dict[type[Any], Callable[[Any], int]] = {
        cli.Demo: demo,
        cli.ProbeModel: show_probe,
        cli.Invert: invert,
        cli.Distill: distill,
        cli.Evaluate: evaluate,
        cli.Recipes: show_recipes,
        cli.Bench: bench,
    }
    return actions[type(command)](command)


def demo(command: cli.Demo) -> int:
    """The bundled teacher into a ResNet-8, then both side by side on real test images."""
    shared = dataclasses.asdict(command)
    distillation = cli.Distill(
        DEMO_TEACHER,
        DEMO_STUDENT,
        eval=DEMO_DATA,
        overwrite=command.out.exists(),
        **{name: shared[name] for name in ("minutes", "seed", "init", "out", "set", "debug")},
    )
    return distill(distillation)


def distill(command: cli.Distill) -> int:
    """``dfkd.distill`` with everything loaded, and the table at the end."""
    Budget(command.minutes, command.steps) if command.minutes or command.steps else None
    plan = _plan(command)
    directory = rundir.prepare(command.out, command.overwrite, command.resume)
    teacher = _teacher(command.teacher, command.facts)
    torch.manual_seed(command.seed)
    loaded = load_student_model(command.student, teacher)
    if "weights=" not in command.student and not command.student.startswith(("run:", "bundled:")):
        initialise(loaded.network, command.seed)
    evaluation = _evaluation(command.eval, teacher)
    with Progress("Distilling", _console()) as progress:
        result = api.distill(
            teacher,
            loaded.network,
            minutes=_minutes(command),
            steps=command.steps,
            init=command.init,
            recipe=plan,
            evaluation=evaluation,
            out=directory,
            resume=command.resume,
            device=command.device,
            precision=command.precision,
            devices=command.devices,
            show=progress.update,
            origin=_origin(command.teacher, command.student, loaded),
        )
    if not runtime.is_first():
        return 0
    if result.interrupted:
        print(f"interrupted; saved in {directory}: continue with --resume", file=sys.stderr)
        return 130
    _tell_start(result.figures["init"])
    rows = result.figures.get("comparison")
    if rows:
        _console().print(comparison_table(rows))
    else:
        share = result.figures["agreement"]
        print(
            f"agreement with the teacher on synthetic images: {share:.1%}; no --eval, no accuracy"
        )
    for name in ("student.safetensors", "report.html", "grid.png"):
        print(directory / name)
    return 0


def invert(command: cli.Invert) -> int:
    """Pictures, one PNG each, with a grid and a page."""
    classes = _class_list(command.classes)
    directory = rundir.prepare(command.out, command.overwrite)
    teacher = _teacher(command.teacher, command.facts)
    device = runtime.resolve_device(command.device)
    teacher.to(device)
    before = teacher.fingerprint()
    stop = threading.Event()
    previous = signal.signal(signal.SIGINT, lambda *_: stop.set())
    rows: list[tuple[int, float, dict[str, float]]] = []
    clock = _Clock()
    with Progress("Inverting", _console()) as progress:

        def show(share: float, metrics: Mapping[str, torch.Tensor]) -> None:
            clock.steps += 1
            if clock.due():
                values = {name: float(value) for name, value in metrics.items()}
                rows.append((clock.steps, clock.seconds, values))
                progress.update(share, clock.steps, values)

        try:
            result = invert_run(
                teacher,
                classes,
                command.count,
                steps=command.steps,
                minutes=command.minutes,
                seed=command.seed,
                progress=show,
                stop=stop.is_set,
            )
        finally:
            signal.signal(signal.SIGINT, previous)
    directory.mkdir(parents=True, exist_ok=True)
    log = MetricsLog(directory)
    for row in rows:
        log.write(*row)
    log.close()
    targets = result.targets.tolist()
    images = result.images.cpu()
    write_images(directory, images, targets)
    write_grid(directory / "grid.png", images, [teacher.class_names[i] for i in targets])
    figures = {
        "method": "deep_inversion",
        "own_top1": result.own_top1,
        "images_synthesized": len(images),
        "teacher_forwards": result.teacher_images,
        "teacher_parameters": probe(teacher).parameters,
        "steps": result.steps,
        "seconds": {
            "total": round(result.seconds, 2),
            "synthesis": round(result.seconds, 2),
            "distillation": 0.0,
        },
    }
    manifest = {
        **rundir.provenance(rundir.command_line(), runtime.hardware(device)),
        "teacher": command.teacher,
        "recipe": {"method": "deep_inversion", "classes": classes, "count": command.count},
        "seed": command.seed,
        "class_names": list(teacher.class_names),
        "teacher_hash_before": before,
        "teacher_hash_after": teacher.fingerprint(),
        "real_data": {"used": False, "purpose": "none"},
    }
    rundir.write_json(directory / "result.json", figures)
    rundir.write_json(directory / "manifest.json", manifest)
    write_page(directory)
    print(f"recognised by the teacher as their class: {result.own_top1:.1%}")
    for name in ("images", "report.html", "grid.png"):
        print(directory / name)
    return 130 if stop.is_set() else 0


class _Clock:
    """Steps and seconds, and whether two seconds have passed since the last report."""

    def __init__(self) -> None:
        self.steps, self._now = 0, time.perf_counter
        self._start = self._reported = self._now()

    @property
    def seconds(self) -> float:
        return self._now() - self._start

    def due(self) -> bool:
        if self._now() - self._reported < 2.0:
            return False
        self._reported = self._now()
        return True


def show_probe(command: cli.ProbeModel) -> int:
    """Facts of a teacher and the methods it allows."""
    found = probe(_teacher(command.teacher, command.facts))
    spec = found.spec
    shape = "x".join(map(str, spec.shape))
    console = _console()
    console.print(f"images      {shape}, mean {spec.mean}, std {spec.std}", highlight=False)
    console.print(f"classes     {len(found.class_names)}", highlight=False)
    console.print(f"parameters  {found.parameters:,}", highlight=False)
    console.print(f"statistics  {len(found.layers)} layers", highlight=False)
    console.print(f"sha256      {found.fingerprint}", highlight=False)
    table = Table("method", "allowed", "why", box=None, pad_edge=False)
    for advice in found.methods:
        table.add_row(advice.name, "yes" if advice.possible else "no", advice.reason)
    console.print(table)
    return 0


def evaluate(command: cli.Evaluate) -> int:
    """Models side by side on real images."""
    if not command.models:
        raise DfkdError("name at least one MODEL to evaluate")
    teachers = [_teacher(uri, command.facts) for uri in command.models]
    data = load_data(command.data, spec=teachers[0].spec, class_names=teachers[0].class_names)
    models = [
        (uri, teacher.network, teacher.spec)
        for uri, teacher in zip(command.models, teachers, strict=True)
    ]
    rows = [dataclasses.asdict(row) for row in compare(models, data)]
    _console().print(comparison_table(rows))
    return 0


def show_recipes(command: cli.Recipes) -> int:
    """All recipes with a line each, or one as YAML."""
    if command.name:
        print(recipes.to_yaml(recipes.recipe(command.name)), end="")
        return 0
    width = max(map(len, recipes.RECIPES))
    for name, build in recipes.RECIPES.items():
        print(f"{name:{width}}  {(build.__doc__ or '').strip()}")
    return 0


def bench(command: cli.Bench) -> int:
    """Ratios measured in one run, as a table and as JSON."""
    if command.what != "step":
        raise DfkdError(f"bench measures 'step', not {command.what!r}")
    teacher = _teacher(command.model, command.facts)
    figures = bench_step(teacher, command.batch_size, command.rounds)
    table = Table("variant", "median ms", "spread ms", "vs bare", box=None, pad_edge=False)
    for row in figures["variants"]:
        table.add_row(
            row["name"],
            f"{row['median_ms']:.1f}",
            f"{row['low_ms']:.1f} to {row['high_ms']:.1f}",
            f"{row['ratio']:.2f}",
        )
    _console().print(table)
    print(json.dumps(figures))
    return 0


def _plan(command: cli.Distill) -> Recipe:
    """Recipe, then ``--config``, then ``--set``, then the seed."""
    plan = recipes.recipe(command.method)
    if command.config:
        try:
            text = command.config.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise DfkdError(f"--config {command.config} cannot be read ({error})") from None
        plan = recipes.from_yaml(text, plan)
    return replace(recipes.override(plan, list(command.set)), seed=command.seed)


def _minutes(command: cli.Distill) -> float | None:
    return 4.0 if command.minutes is None and command.steps is None else command.minutes


def _teacher(uri: str, facts: cli.ImageFacts) -> Teacher:
    names: Sequence[str] | None = None
    if facts.class_names:
        try:
            names = facts.class_names.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise DfkdError(f"--class-names {facts.class_names} cannot be read ({error})") from None
    return load_teacher(uri, image=facts.image, mean=facts.mean, std=facts.std, class_names=names)


def _evaluation(uri: str | None, teacher: Teacher) -> LabelledImages | None:
    return load_data(uri, spec=teacher.spec, class_names=teacher.class_names) if uri else None


def _origin(teacher: str, student: str, loaded: LoadedModel) -> api.Origin:
    return api.Origin(teacher, student, loaded.factory, loaded.keywords, rundir.command_line())


def _class_list(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise DfkdError(f"--classes wants indices such as 1,7, not {text!r}") from None


def _tell_start(start: Mapping[str, Any]) -> None:
    if start["mode"] == "teacher":
        count, share = len(start["layers"]), start["share"]
        print(f"student started with {count} of the teacher's tensors ({share:.0%} of it)")


def _console() -> Console:
    return Console(highlight=False)

"""``dfkd probe``, ``evaluate``, the lists of what there is, and ``bench``: nothing is trained."""

import dataclasses
import inspect
import json
from typing import Any

from rich.table import Table
from torch import nn

from dfkd import recipes
from dfkd.bench import bench_distill, bench_methods, bench_scaling, bench_step
from dfkd.cli import arguments
from dfkd.cli.common import (
    console,
    teacher_of,
    teachers_of,
    tell_attack,
    tell_data,
    tell_orders,
)
from dfkd.datasets import load_data
from dfkd.datasets.images import relabelled
from dfkd.errors import DfkdError, nearest
from dfkd.evaluation.accuracy import compare
from dfkd.evaluation.robustness import check_epsilon, robustness
from dfkd.loading import load_student_model
from dfkd.losses.registry import KNOWLEDGE
from dfkd.networks.early_exits import EarlyExits
from dfkd.recipes.probe import probe
from dfkd.recipes.schemes import SCHEMES
from dfkd.report.table import comparison_table
from dfkd.tasks.orders import line_up
from dfkd.teacher.spec import ImageSpec

BENCHES = ("step", "distill", "methods", "scaling")


def show_probe(command: arguments.ProbeModel) -> int:
    """Facts of a teacher and the methods it allows."""
    found = probe(teacher_of(command.teacher, command.facts))
    spec = found.spec
    shape = "x".join(map(str, spec.shape))
    out = console()
    out.print(f"images      {shape}, mean {spec.mean}, std {spec.std}", highlight=False)
    out.print(f"classes     {len(found.class_names)}", highlight=False)
    out.print(f"parameters  {found.parameters:,}", highlight=False)
    out.print(f"statistics  {len(found.layers)} layers", highlight=False)
    out.print(f"sha256      {found.fingerprint}", highlight=False)
    table = Table("method", "allowed", "why", box=None, pad_edge=False)
    for advice in found.methods:
        table.add_row(advice.name, "yes" if advice.possible else "no", advice.reason)
    out.print(table)
    if command.layers:
        layers = Table("layer", "kind", "channels", "folded", box=None, pad_edge=False)
        for layer in found.layers:
            folded = f"no: {layer.unfolded}" if layer.unfolded else "yes"
            layers.add_row(layer.name, layer.kind, str(layer.channels), folded)
        out.print(layers)
    return 0


def evaluate(command: arguments.Evaluate) -> int:
    """Models side by side on real images; of those that kept their exits each exit as well."""
    if not command.models:
        raise DfkdError("name at least one MODEL to evaluate")
    check_epsilon(command.epsilon, measured=True)
    teachers = teachers_of(command.models, command.facts)
    named = [(uri, t.class_names) for uri, t in zip(command.models, teachers, strict=True)]
    lineup = line_up(named)
    data = load_data(command.data, spec=teachers[0].spec, class_names=lineup.names)
    tell_data(data)
    tell_orders(command.models, teachers, lineup)
    models: list[tuple[str, nn.Module, ImageSpec]] = []
    families, columns = [], []
    for uri, teacher, own in zip(command.models, teachers, lineup.columns, strict=True):
        network = teacher.network
        exits = network.exits() if isinstance(network, EarlyExits) else {}
        families.append(range(len(models), len(models) + 1 + len(exits)))
        models.append((uri, network, teacher.spec))
        models += [(f"{uri}, {name}", part, teacher.spec) for name, part in exits.items()]
        columns += [own] * (1 + len(exits))
    rows = [dataclasses.asdict(row) for row in compare(models, data, columns)]
    for family in families:
        for place in family if len(family) > 1 else ():
            rows[place]["share_of_compute"] = rows[place]["flops"] / rows[family[0]]["flops"]
    if command.epsilon is not None:
        for row, model, own in zip(rows, models, columns, strict=True):
            (row["robust_accuracy"],), attack = robustness(
                [model], relabelled(data, own), command.epsilon
            )
        print(tell_attack(attack["images"], attack["epsilon"]))
    console().print(comparison_table(rows))
    return 0


def show_recipes(command: arguments.Recipes) -> int:
    """All recipes with a line each, or one as YAML."""
    if command.name:
        print(recipes.to_yaml(recipes.recipe(command.name)), end="")
        return 0
    width = max(map(len, recipes.RECIPES))
    for name, build in recipes.RECIPES.items():
        print(f"{name:{width}}  {(build.__doc__ or '').strip()}")
    return 0


def show_knowledge(command: arguments.Knowledge) -> int:
    """Every kind with a line, and the weight to start from beside ``kd``."""
    for name, kind in KNOWLEDGE.items():
        print(f"{name:{max(map(len, KNOWLEDGE))}}  {kind.weight:>5g}*  {kind.summary}")
    return 0


def show_schemes(command: arguments.Schemes) -> int:
    """Every scheme with a line, or what one can be told by ``--set``, and its values."""
    if command.name:
        if command.name not in SCHEMES:
            raise DfkdError(f"unknown scheme {command.name!r}{nearest(command.name, SCHEMES)}")
        row = SCHEMES[command.name]
        settings = row.config()
        # As --set reads them: lists, no tuples.
        shown = {k: list(v) if isinstance(v, tuple) else v for k, v in vars(settings).items()}
        lines = [f"scheme_config.{name}={value}" for name, value in shown.items()]
        print("\n".join([row.line, "", inspect.getdoc(settings) or "", *lines]))
        return 0
    for name, row in SCHEMES.items():
        print(f"{name:{max(map(len, SCHEMES))}}  {row.line}")
    return 0


def bench(command: arguments.Bench) -> int:
    """Ratios measured in one run, as a table and as JSON."""
    if command.what not in BENCHES:
        raise DfkdError(f"bench measures {', '.join(BENCHES)}, not {command.what!r}")
    if command.compile not in ("on", "off"):
        raise DfkdError(f"--compile must be on or off here, not {command.compile!r}")
    if min(command.batch_size, command.rounds) < 1:
        raise DfkdError("--batch-size and --rounds must be at least 1")
    figures = _measure(command)
    table = Table("variant", "median ms", "spread ms", "vs first", box=None, pad_edge=False)
    for row in figures["variants"]:
        table.add_row(
            row["name"],
            f"{row['median_ms']:.1f}",
            f"{row['low_ms']:.1f} to {row['high_ms']:.1f}",
            f"{row['ratio']:.2f}",
        )
    console().print(table)
    print(json.dumps(figures))
    return 0


def _measure(command: arguments.Bench) -> dict[str, Any]:
    if command.what == "scaling":
        return bench_scaling(command.rounds)
    teacher = teacher_of(command.model, command.facts)
    if command.what == "step":
        compiled = command.compile == "on"
        return bench_step(teacher, command.batch_size, command.rounds, compiled)
    student = load_student_model(command.student, teacher).network
    measure = bench_distill if command.what == "distill" else bench_methods
    return measure(teacher, student, command.batch_size, command.rounds)

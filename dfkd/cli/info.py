"""``dfkd probe``, ``evaluate``, the lists of what there is, and ``bench``: nothing is trained."""

import inspect
import json
from collections.abc import Sequence
from typing import Any

from rich.table import Table

from dfkd import recipes
from dfkd.access.teacher import MeteredTeacher
from dfkd.bench import (
    bench_distill,
    bench_methods,
    bench_patches,
    bench_scaling,
    bench_step,
)
from dfkd.cli import arguments
from dfkd.cli.common import (
    console,
    teacher_of,
    teachers_of,
    tell_attack,
    tell_data,
    tell_notes,
    tell_orders,
)
from dfkd.cli.flags import as_flags
from dfkd.datasets import load_data
from dfkd.errors import DfkdError
from dfkd.evaluation.evaluate import evaluate_named
from dfkd.evaluation.invariances import CHANGES, Invariance
from dfkd.evaluation.label_figures import label_report
from dfkd.evaluation.peculiarities import unsteady
from dfkd.evaluation.robustness import check_epsilon, select_evenly
from dfkd.loading import load_student_model
from dfkd.losses.modifiers import MODIFIERS
from dfkd.recipes.catalogue import Entry, list_losses, list_methods, list_schemes
from dfkd.recipes.probe import probe
from dfkd.recipes.schemes import SCHEMES
from dfkd.recipes.settings import check_scheme
from dfkd.report.label_lines import label_lines
from dfkd.report.table import comparison_table
from dfkd.runs.doctor import diagnose
from dfkd.tasks.orders import line_up

_BENCHES = ("step", "distill", "methods", "patches", "scaling")


def show_probe(command: arguments.ProbeModel) -> int:
    """Print facts of a teacher and the methods that it allows."""
    teacher = teacher_of(command.teacher, command.facts)
    found = probe(teacher, invariances=command.invariances)
    spec = found.spec
    shape = "x".join(map(str, spec.shape))
    out = console()
    tell_notes(teacher)
    out.print(f"images      {shape}, mean {spec.mean}, std {spec.std}", highlight=False)
    kind = "labels    " if teacher.task.rows > 1 else "classes   "
    out.print(f"{kind}  {len(found.class_names):,}", highlight=False)
    out.print(f"parameters  {found.parameters:,}", highlight=False)
    out.print(f"statistics  {len(found.layers)} layers", highlight=False)
    out.print(f"prior       {as_flags(found.prior)}", highlight=False, soft_wrap=True)
    out.print(f"sha256      {found.fingerprint}", highlight=False)
    for line in found.findings:
        out.print(f"note        {as_flags(line)}", highlight=False)
    for line in teacher.told() if isinstance(teacher, MeteredTeacher) else ():
        out.print(line)
    table = Table("method", "allowed", "why", box=None, pad_edge=False)
    for advice in found.methods:
        table.add_row(advice.name, "yes" if advice.possible else "no", as_flags(advice.reason))
    out.print(table)
    if command.layers:
        layers = Table("layer", "kind", "channels", "folded", box=None, pad_edge=False)
        for layer in found.layers:
            folded = f"no: {layer.unfolded}" if layer.unfolded else "yes"
            layers.add_row(layer.name, layer.kind, str(layer.channels), folded)
        out.print(layers)
    if command.invariances:
        out.print(_invariances_table(found.invariances))
    return 0


def _invariances_table(answers: Sequence[Invariance]) -> Table:
    heads = ("change", "class stays", "95 %", "drawings", "alike", "what is done")
    table = Table(*heads, box=None, pad_edge=False)
    for answer in answers:
        table.add_row(
            answer.name,
            f"{answer.kept:.0%}",
            f"{answer.low:.0%} to {answer.high:.0%}",
            f"{answer.drawings:.0%}",
            "yes" if answer.holds else "no",
            CHANGES[answer.name].line,
        )
    return table


def run_evaluate(command: arguments.Evaluate) -> int:
    """Print models side by side on real images, with the exits of those that kept theirs."""
    if not command.models:
        raise DfkdError("name at least one MODEL to evaluate")
    check_epsilon(command.epsilon, measured=True)
    teachers = teachers_of(command.models, command.facts)
    lineup = line_up([(u, t.class_names) for u, t in zip(command.models, teachers, strict=True)])
    data = load_data(
        command.data, spec=teachers[0].spec, class_names=lineup.names, subset=teachers[0].subset
    )
    tell_data(data)
    for teacher in teachers:
        tell_notes(teacher)
    tell_orders(command.models, teachers, lineup)
    named_models = [*zip(command.models, teachers, strict=True)]
    rows = evaluate_named(named_models, data, command.epsilon)
    if command.epsilon is not None:
        print(tell_attack(len(select_evenly(data)), command.epsilon))
    console().print(comparison_table([row.as_dict() for row in rows]))
    if teachers[0].task.rows > 1:
        own = [(name, one.network, one.spec) for name, one in named_models]
        report = label_report(own, [one.task for one in teachers], data)
        for line in label_lines(report["mean_average_precision"], report["labels"]):
            print(line)
    for name, one in named_models:
        if not one.opaque and (line := unsteady(one)):  # an answer may cost something
            print(f"{name}: {line}")
    return 0


def show_findings(command: arguments.Doctor) -> int:
    """Print what is wrong with a run, the gravest first."""
    found = diagnose(command.run)
    for one in found:
        print(f"{one.name}: {one.evidence}\n  likely: {one.cause}\n  try: {as_flags(one.remedy)}")
    if not found:
        print("nothing found: the run shows none of the known symptoms")
    return 0


def show_recipes(command: arguments.Recipes) -> int:
    """Print all recipes with a line each, or one as YAML."""
    if command.name:
        print(recipes.described(recipes.recipe(command.name)))
        return 0
    return _print_lines(list_methods())


def _print_lines(entries: list[Entry]) -> int:
    width = max(len(entry.name) for entry in entries)
    for name, line in entries:
        print(f"{name:{width}}  {line}")
    return 0


def show_knowledge(command: arguments.Knowledge) -> int:
    """Print every loss with a line, and the weight to start from beside ``kd``."""
    losses = list_losses()
    lines = [Entry(name, f"{weight:>5g}*  {line}") for name, weight, line in losses]
    for name, row in MODIFIERS.items():
        line = f"{row.weight:>5g}*  a loss of logits, {row.line} ({row.source})"
        lines.append(Entry(f"kd@{name}", line))
    return _print_lines(lines)


def show_schemes(command: arguments.Schemes) -> int:
    """Print every scheme with a line, or the settings of one with their values."""
    if command.name:
        check_scheme(command.name)
        row = SCHEMES[command.name]
        settings = row.config()
        # As --set reads them: lists, no tuples.
        shown = {k: list(v) if isinstance(v, tuple) else v for k, v in vars(settings).items()}
        lines = [f"scheme_config.{name}={value}" for name, value in shown.items()]
        print("\n".join([row.line, "", inspect.getdoc(settings) or "", *lines]))
        return 0
    return _print_lines(list_schemes())


def run_bench(command: arguments.Bench) -> int:
    """Measure ratios in one run, and print them as a table and as JSON."""
    if command.what not in _BENCHES:
        raise DfkdError(f"bench measures {', '.join(_BENCHES)}, not {command.what!r}")
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
    if command.what == "patches":
        return bench_patches(teacher, command.batch_size, command.rounds)
    student = load_student_model(command.student, teacher).network
    measure = bench_distill if command.what == "distill" else bench_methods
    return measure(teacher, student, command.batch_size, command.rounds)

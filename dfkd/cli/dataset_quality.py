"""``dfkd dataset quality`` and ``dfkd dataset select``."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from dfkd.cli import arguments
from dfkd.cli.common import console, teachers_of
from dfkd.errors import DfkdError, unwritable
from dfkd.report.table import text_table
from dfkd.report.units import MISSING, number, percent, whole
from dfkd.runs.options import Output
from dfkd.sets.quality import measure_quality
from dfkd.sets.quality_figures import Distances, NetworkFigures, SetQuality
from dfkd.sets.recut import prepare_copy
from dfkd.sets.rules import RULES, SelectionOrder
from dfkd.sets.selection import compare_rules, select
from dfkd.sets.selection_pool import DRAWS, ChoiceFigures
from dfkd.teacher import Teacher
from dfkd.training import devices
from dfkd.training.files import write_text


def run_quality(command: arguments.DatasetQuality) -> int:
    """Print the figures of a set; write them where asked."""
    _check_json(command.json, command.directory)
    teacher, judge = _loaded([command.teacher, command.judge], command)
    found = measure_quality(
        command.directory, teacher=teacher, judge=judge, real=command.real,
        names=(command.teacher or "", command.judge or ""),
    )  # fmt: skip
    print(
        f"{found.images:,} images of {found.classes} classes; the stored answers are the label for "
        f"{percent(found.agreement)}, mean confidence {found.confidence:.3f}"
    )
    if found.colour_noise is not None:
        beside = "" if found.real_colour_noise is None else _real_noise(found.real_colour_noise)
        print(f"colour noise in {percent(found.colour_noise)} of blocks{beside}")
    _print_networks(found)
    for line in found.notes():
        print(f"note: {line}")
    if not found.networks:
        print("note: diversity and distances need a network's features: add --teacher or --judge")
    if command.json is not None:
        try:
            write_text(command.json, json.dumps(found.as_dict(), indent=1) + "\n")
        except OSError as error:
            raise unwritable(error, command.json) from error
        print(command.json)
    return 0


def run_select(command: arguments.DatasetSelect) -> int:
    """Write a part of a set and print what it has; with ``--compare``, what every rule keeps."""
    order = SelectionOrder(command.keep, command.per_class, command.unbalanced, command.seed)
    if command.out is None and not command.compare:
        raise DfkdError("name the new set's directory as `output`, or add `compare` to only look")
    output = Output(command.out, command.overwrite)
    if command.out is not None:
        prepare_copy(output, command.directory)
    (teacher,) = _loaded([command.teacher], command)
    if command.compare:
        _print_choices(compare_rules(command.directory, order, teacher=teacher))
        if command.out is None:
            print("nothing is written: name --out")
            return 0
    made = select(
        command.directory, output=output, keep=command.keep, per_class=command.per_class,
        by=command.by, unbalanced=command.unbalanced, teacher=teacher, seed=command.seed,
    )  # fmt: skip
    if not command.compare:
        chance = {f"random, mean of {DRAWS}": made.chance}
        _print_choices({"whole set": made.source, **chance, made.by: made.figures})
    counts = [one.count for one in made.dataset.manifest.classes if one.count]
    each = f"{min(counts)}" if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"
    print(f"{made.figures.images:,} images, {each} a class: {RULES[made.by].line}")
    if made.labels:
        print(made.labels)
    print(made.directory)
    return 0


def _loaded(
    uris: Sequence[str | None], command: arguments.DatasetQuality | arguments.DatasetSelect
) -> list[Teacher | None]:
    """Load the networks that are named, on the device."""
    named = [uri for uri in uris if uri]
    device = devices.resolve_device(command.device)
    found = iter([one.to(device) for one in teachers_of(named, command.facts)])
    return [next(found) if uri else None for uri in uris]


def _check_json(path: Path | None, directory: Path) -> None:
    """Refuse a place for the figures before any work."""
    if path is None:
        return
    if path.resolve().is_relative_to(directory.resolve()):
        raise DfkdError(f"`json` {path} lies in the set, which is only read; choose another file")
    if path.is_dir() or not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise DfkdError(f"`json` {path} cannot be written: name a file in a directory that exists")


def _real_noise(share: float) -> str:
    return f", of the real images' in {percent(share)}"


def _print_networks(found: SetQuality) -> None:
    if not found.networks:
        return
    rows: dict[str, list[str]] = {}
    for one in found.networks:
        for name, value in _figures(one).items():
            rows.setdefault(name, []).append(value)
    heads = [f"{one.role}{', circular' * one.circular}" for one in found.networks]
    told = [[name, *cells] for name, cells in rows.items() if set(cells) != {MISSING}]
    console().print(text_table(["", *heads], told))


def _figures(one: NetworkFigures) -> dict[str, str]:
    within, real = one.diversity, one.real
    alike = real.diversity if real else None
    each = "" if within is None else " to ".join(map(str, sorted(set(within.images))))
    return {
        "features": one.layer,
        "label is its answer": percent(one.top1),
        "label among its five": percent(one.top5),
        "confidence": _decimals(one.confidence),
        f"Vendi score of a class of {each}": _decimals(within.vendi if within else None, 2),
        "  of as many real images": _decimals(alike.vendi if alike else None, 2),
        "cosine within a class": _decimals(within.cosine if within else None),
        "  of as many real ones": _decimals(alike.cosine if alike else None),
        **_distances("", real.distances if real else None),
        **_distances(", as many real", real.floor if real else None),
    }


def _distances(whose: str, found: Distances | None) -> dict[str, str]:
    if found is None:
        return {}
    overlap = found.overlap
    return {
        f"Fréchet distance{whose}": _decimals(found.frechet, 2),
        f"kernel distance{whose}": f"{found.kernel.mean:.4f} ± {found.kernel.deviation:.4f}",
        f"precision{whose}": _decimals(overlap.precision if overlap else None),
        f"recall{whose}": _decimals(overlap.recall if overlap else None),
    }


def _print_choices(choices: Mapping[str, ChoiceFigures]) -> None:
    heads = ["", "images", "confidence", "label answered", "Vendi a class", "radius"]
    rows = [
        [
            name,
            whole(one.images),
            _decimals(one.confidence),
            percent(one.agreement),
            _decimals(one.vendi, 2),
            _decimals(one.radius, 2),
        ]
        for name, one in choices.items()
    ]
    console().print(text_table(heads, rows))


def _decimals(value: float | None, digits: int = 3) -> str:
    amount = number(value)
    return MISSING if amount is None else f"{amount:.{digits}f}"

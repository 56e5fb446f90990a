"""``write_card``: a page in Markdown that tells a stranger what a set is, beside it."""

from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from dfkd.datasets.written import SetManifest, WrittenSet
from dfkd.errors import DfkdError, unwritable
from dfkd.recipes.methods import METHODS
from dfkd.report.grid import write_grid
from dfkd.report.markdown import markdown_code, markdown_environment
from dfkd.report.units import percent, whole
from dfkd.runs.run_entries import misplaced
from dfkd.sets.check import check_set
from dfkd.sets.findings import SetCheck
from dfkd.sets.label_damage import KIND
from dfkd.sets.plan import SET
from dfkd.sets.repair import check_inside
from dfkd.sets.whole import StoredAnswers, answers_of
from dfkd.tasks.words import shown
from dfkd.training.files import write_text

CARD, PICTURE = "card.md", "card.png"
_ROWS, _COLUMNS = 20, 8
_MOST_CLASSES = 50
"""That are listed openly."""
_SIDE = 112
"""Pixels; larger images are shown smaller."""
_HARMLESS = ("constant", "saturated", "duplicates", "near-duplicates", "leftover", "stranger", KIND)
"""Kinds of findings that a card can tell, in place of numbers that are not those of the set."""


def write_card(directory: Path | str) -> Path:
    """Write ``card.md`` and the picture beside it into a closed set; returns the former.

    Raises:
        DfkdError: no closed set, a damaged one, or it cannot be written.
    """
    directory = Path(directory)
    check_inside(directory)
    data, found = WrittenSet(directory), check_set(directory)
    grave = [one for one in found.findings if one.kind not in _HARMLESS]
    if grave:
        raise DfkdError(
            f"{shown(str(directory), 100)} is damaged ({shown(str(grave[0]), 80)}): run "
            "dfkd dataset check --repair first"
        )
    if (entry := misplaced(directory, SET)) is not None:
        raise DfkdError(f"{shown(str(entry), 120)} is a link or no file: move it away first")
    answers = answers_of(data)
    try:
        shown_classes = _draw(data, answers, directory / PICTURE)
        text = _text(data.manifest, answers, found, shown_classes)
        write_text(directory / CARD, text)
    except OSError as error:
        raise unwritable(error, directory) from error
    return directory / CARD


def _draw(data: WrittenSet, answers: StoredAnswers, path: Path) -> int:
    """Draw the first images of some classes, spread over all; returns how many classes."""
    there = torch.unique(answers.labels).tolist()
    rows = min(_ROWS, len(there))
    chosen = [there[i * len(there) // rows] for i in range(rows)]
    images, captions = [], []
    for label in chosen:
        places = (answers.labels == label).nonzero()[:_COLUMNS, 0]
        name = shown(data.manifest.class_names[label], 24)
        shares = [f"{share:.0%}" for share in answers.own[places].exp().tolist()]
        images.append(_row(data.rows(places, "images")["images"]))
        captions += [f"{name} {shares[0]}", *shares[1:], *[""] * (_COLUMNS - len(shares))]
    write_grid(path, torch.cat(images), captions, _COLUMNS)
    return rows


def _row(images: Tensor) -> Tensor:
    """One row of the picture: small enough, and filled up with white."""
    found = images.float() / 255
    if max(found.shape[2:]) > _SIDE:
        factor = _SIDE / max(found.shape[2:])
        size = [max(1, round(side * factor)) for side in found.shape[2:]]
        found = functional.interpolate(found, size, mode="bilinear", antialias=True)
    return functional.pad(found, (0, 0, 0, 0, 0, 0, 0, _COLUMNS - len(found)), value=1.0)


def _text(
    manifest: SetManifest, answers: StoredAnswers, found: SetCheck, shown_classes: int
) -> str:
    used = sum(entry.count > 0 for entry in manifest.classes)
    counts = [entry.count for entry in manifest.classes]
    long = len(counts) > _MOST_CLASSES
    teachers = "a teacher" if len(manifest.teachers) == 1 else f"{len(manifest.teachers)} teachers"
    return markdown_environment().get_template("card.md.j2").render(
        title=f"{whole(manifest.count)} synthetic images of {whole(used)} classes",
        lead=f"Made by dfkd from the weights of {teachers} alone, with labels and the answers "
        "that stand behind them.",
        grid=shown_classes, grid_columns=_COLUMNS,
        grid_note=f" ({shown_classes} of {used} classes)" if shown_classes < used else "",
        facts=list(_facts(manifest)),
        made=list(_made(manifest)),
        decisions=manifest.decisions,
        numbers=list(_numbers(answers, found)),
        note="Probabilities and agreement are of the answers that are stored with the images, in "
        "half precision.",
        collapsed=f"{len(counts):,} classes, of {min(counts):,} to {max(counts):,} images each"
        if long else "",
        classes=[(i, shown(one.name, 60), one.count) for i, one in enumerate(manifest.classes)],
        real="Real images had a part in the making." if manifest.real_data_used
        else "No real image had a part in the making.",
        cautions=[str(one) for one in found.findings],
    )  # fmt: skip


def _facts(manifest: SetManifest) -> Iterator[tuple[str, Any]]:
    spec = manifest.image
    yield "images", f"{whole(manifest.count)}, uint8, {'x'.join(map(str, spec.shape))} (CxHxW)"
    yield (
        "normalisation that the teacher wants",
        f"mean {_values(spec.mean)}, std " + (f"{_values(spec.std)}, in units of [0, 1]"),
    )
    yield "classes", f"{len(manifest.classes):,}, in the order of the teacher's outputs"
    yield "files", f"{counted_shards(manifest)}, their SHA-256 in manifest.json"


def counted_shards(manifest: SetManifest) -> str:
    """Say in how many shards a set lies."""
    return f"{len(manifest.shards):,} shard{'s' * (len(manifest.shards) != 1)}"


def _values(numbers: Sequence[float]) -> str:
    return ", ".join(f"{number:.4g}" for number in numbers)


def _made(manifest: SetManifest) -> Iterator[tuple[str, Any]]:
    """The method, what was set of it, whom it asked."""
    recipe = manifest.recipe
    method = str(recipe.get("method", "unknown"))
    yield "method", markdown_code(method)
    asked = recipe.get("asked", {})
    for name in ("per_class", "count", "classes", "priors", "mixtures", "steps", "shard_size"):
        if asked.get(name):
            yield name.replace("_", " "), str(asked[name])
    yield "seed", str(manifest.seed)
    changed = ", ".join(f"{name}={value}" for name, value in _settings(recipe, method))
    if changed:
        yield "settings", markdown_code(changed)
    for number, teacher in enumerate(manifest.teachers):
        name = "teacher" if len(manifest.teachers) == 1 else f"teacher {number}"
        yield name, markdown_code(teacher.source)
        if seen := manifest.access[number]:
            yield f"{name}, seen of its answers", markdown_code(seen)
        what = "where it answers" if seen else "its weights"
        yield f"{name}, SHA-256 of {what}", markdown_code(teacher.hash)
    if manifest.selected is not None:
        kept, of, by = (manifest.selected.get(key) for key in ("kept", "of", "by"))
        yield "selected", f"{kept} of {of} images, by {by}"
    versions = (f"{name} {number}" for name, number in manifest.versions.items())
    yield "versions", ", ".join(versions)


def _settings(recipe: dict[str, Any], method: str) -> Iterator[tuple[str, Any]]:
    """What was settled on that is not the method's default; all of it where that is unknown."""
    settled = recipe.get("settings", {})
    base = METHODS[method].config() if method in METHODS else None
    plain = {} if base is None else {f.name: getattr(base, f.name) for f in fields(base)}
    for name, value in settled.items():
        own = plain.get(name)
        if value != (list(own) if isinstance(own, tuple) else own) or base is None:
            yield name, value


def _numbers(answers: StoredAnswers, found: SetCheck) -> Iterator[tuple[str, str]]:
    shares = answers.own.exp()
    points = torch.tensor([0.25, 0.5, 0.75], dtype=shares.dtype)
    # Of more than 16 million torch computes no quantiles: every n-th tells as much.
    some = shares[:: 1 + len(shares) // 1_000_000]
    low, middle, high = some.quantile(points).tolist()
    yield "probability of the label, median", percent(middle)
    yield "probability of the label, quartiles", f"{percent(low)} to {percent(high)}"
    yield "images that the teacher takes for their label", percent(answers.agreement)
    yield "images equal to an earlier one", whole(found.copies)
    yield "images nearly equal to an earlier one", whole(found.near_copies)

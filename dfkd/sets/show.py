"""``show_set``: a written dataset as one page, beside it."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dfkd.datasets.written import WrittenSet
from dfkd.errors import DfkdError, unwritable
from dfkd.report.gallery import (
    MOST_CLASSES,
    OPEN_CLASSES,
    Gallery,
    class_panel,
    evolution_strips,
    images_a_class,
)
from dfkd.report.thumbnails import thumbnails
from dfkd.runs.run_entries import misplaced
from dfkd.sets.duplicates import copies, look_alikes, low_frequencies
from dfkd.sets.evolution_again import watch_first_shard
from dfkd.sets.plan import SET
from dfkd.sets.show_page import Alike, write_show
from dfkd.sets.whole import StoredAnswers, answers_of
from dfkd.tasks.words import shown
from dfkd.teacher import Teacher

COMPARED = 20_000
"""Images among which duplicates are looked for; of a larger set, the first."""
_MOST_PAIRS = 24
_AT_ONCE = 32 * 2**20
"""Bytes of images that are read at once."""


def show_set(
    directory: Path | str,
    teacher: Teacher | None = None,
    pulse: Callable[[float, int], None] = lambda share, step: None,
) -> Path:
    """Write ``show.html`` into a closed set: what it is, its images, its duplicates.

    Args:
        directory: of the set; nothing else in it changes.
        teacher: that made it; then the page shows how the first images came to be, which takes as
            long as the first shard did.
        pulse: called with the share of that which is done, and the number of the step.

    Returns:
        The page.

    Raises:
        DfkdError: no closed set, a damaged one, another teacher, or it cannot be written.
    """
    data = WrittenSet(directory)
    if (entry := misplaced(data.directory, SET)) is not None:
        raise DfkdError(f"{shown(str(entry), 120)} is a link or no file: move it away first")
    answers = answers_of(data)
    gallery = _gallery(data, answers)
    gallery = replace(gallery, **_evolution(data, teacher, pulse))
    try:
        size = sum(path.stat().st_size for path in (data.directory / "shards").glob("*"))
        return write_show(data.directory, data.manifest, gallery, {
            "agreement": answers.agreement, "confidence": answers.confidence, "bytes": size,
            "compared": min(len(data), COMPARED),
        }, *_alike(data, answers.labels))  # fmt: skip
    except OSError as error:
        raise unwritable(error, data.directory) from error


def _gallery(data: WrittenSet, answers: StoredAnswers) -> Gallery:
    """A panel a class that has images, and the confidences of all."""
    names, sure = data.manifest.class_names, answers.own.exp()
    order = answers.labels.argsort(stable=True)
    kinds, counts = torch.unique(answers.labels, return_counts=True)
    most = images_a_class(len(kinds))
    panels = []
    groups = zip(kinds.tolist(), order.split(counts.tolist()), strict=True)
    for label, members in list(groups)[:MOST_CLASSES]:
        own = members[:most]
        images = data.rows(own, "images")["images"]
        panels.append(class_panel(names[label], len(members), images, sure[own].tolist()))
    omitted = len(kinds) - len(panels)
    return Gallery(panels, len(panels) > OPEN_CLASSES, omitted, sure.tolist())


def _evolution(
    data: WrittenSet, teacher: Teacher | None, pulse: Callable[[float, int], None]
) -> dict[str, Any]:
    """What the gallery says of how images came to be."""
    if teacher is None:
        return {
            "note": "How the first images came to be is shown where dfkd dataset show is given "
            "--teacher, the one that made them: it makes the first shard again."
        }
    watched = watch_first_shard(data, teacher, pulse=pulse)
    frames = watched.evolution.stacked()
    labels = data.rows(range(frames.shape[1]), "labels")["labels"].tolist()
    names = [data.manifest.class_names[label] for label in labels]
    strips, moments = evolution_strips(frames, names, watched.evolution.shares)
    end = (
        "came out bit for bit as it is in the set"
        if watched.same
        else "came out with other images than the set has: it was made on another kind of machine"
    )
    note = f"The first shard was made again for this page, and {end}."
    return {"strips": strips, "moments": moments, "note": note}


def _alike(data: WrittenSet, labels: Tensor) -> tuple[list[Alike], list[Alike]]:
    """Pairs of equal images and of near ones, the first few to be shown, and how many there are."""
    count = min(len(data), COMPARED)
    signs, low = [], []
    for images in _pieces(data, count):
        signs += [hashlib.blake2b(one.numpy().tobytes(), digest_size=16).digest() for one in images]
        low.append(low_frequencies(images))
    equal = copies(signs)
    near = {
        place: other
        for place, other in look_alikes(torch.cat(low), labels[:count]).items()
        if place not in equal
    }
    return _pairs(data, equal), _pairs(data, near)


def _pieces(data: WrittenSet, count: int) -> Iterator[Tensor]:
    """Read the first images some at a time."""
    step = max(1, _AT_ONCE // max(1, torch.Size(data.manifest.image.shape).numel()))
    for start in range(0, count, step):
        yield data.rows(range(start, min(start + step, count)), "images")["images"]


def _pairs(data: WrittenSet, found: dict[int, int]) -> list[Alike]:
    """The pairs; only the first few have their pictures."""
    names, pairs = data.manifest.class_names, []
    for number, (place, earlier) in enumerate(sorted(found.items())):
        if number >= _MOST_PAIRS:
            pairs.append(Alike((), ()))
            continue
        rows = data.rows([earlier, place])
        captions = [
            f"{index}: {shown(names[label], 40)}"
            for index, label in zip((earlier, place), rows["labels"].tolist(), strict=True)
        ]
        pairs.append(Alike(thumbnails(rows["images"], captions), captions))
    return pairs

"""``measure_quality``: what the images of a set are worth, as far as networks and figures tell."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from dfkd.datasets import check_fits, load_data
from dfkd.datasets.images import LabelledImages
from dfkd.datasets.written import WrittenSet
from dfkd.errors import DfkdError
from dfkd.evaluation.accuracy import in_unit_range
from dfkd.evaluation.colour import colour_noise
from dfkd.evaluation.diversity import class_diversity
from dfkd.evaluation.frechet import frechet_distance, kernel_distance
from dfkd.evaluation.manifolds import NEIGHBOURS, manifold_overlap
from dfkd.evaluation.penultimate import Sight, look_at
from dfkd.sets.quality_figures import (
    Distances,
    NetworkFigures,
    RealFigures,
    SetQuality,
)
from dfkd.sets.whole import StoredAnswers, answers_of, check_sees, image_batches
from dfkd.tasks.orders import line_up
from dfkd.teacher import Teacher

_TOP = 5


def measure_quality(
    directory: Path | str,
    *,
    teacher: Teacher | None = None,
    judge: Teacher | None = None,
    real: str | LabelledImages | None = None,
    names: Sequence[str] = ("teacher", "judge"),
) -> SetQuality:
    """Measure the images of a set; nothing is written and nothing fetched.

    Without networks, what the set itself tells. Networks add diversity and their opinion of the
    labels; real images add distances. 50,000 images need their features in memory, and no matrix
    of all pairs.

    Args:
        directory: of a closed set.
        teacher: whom the images were made from, or one like it; its figures may be circular.
        judge: a network that had no part in it; its classes are matched by name.
        real: labelled images to compare with, or their DATA URI; for these figures alone.
        names: what messages call the two networks.

    Raises:
        DfkdError: no closed set, a network or real images that do not fit it, or real images and
            no network to compare them.
    """
    if real is not None and teacher is None and judge is None:
        raise DfkdError(
            "`real` images are compared by a network's features: add `teacher` or `judge`"
        )
    data = WrittenSet(directory)
    spec, classes = data.manifest.image, data.manifest.class_names
    networks = _networks(data, {"teacher": teacher, "judge": judge}, names)
    found = load_data(real, spec, classes) if isinstance(real, str) else real
    if found is not None:
        check_fits(found, spec, len(classes))
        if min(len(found), len(data)) < 2:
            raise DfkdError("distances to real images need two images or more of both kinds")
    answers = answers_of(data)
    return SetQuality(
        data.directory,
        len(data),
        int((answers.labels.bincount() > 0).sum()),
        answers.agreement,
        answers.confidence,
        _colour_noise(image_batches(data)),
        None if found is None else _colour_noise(torch.split(found.images, 256)),
        tuple(_figures(data, answers, *each, found) for each in networks),
    )


_Network = tuple[str, str, Teacher, tuple[int, ...] | None]
"""Name, role, the network, and its outputs in the order of the set's classes."""


def _networks(
    data: WrittenSet, networks: dict[str, Teacher | None], names: Sequence[str]
) -> list[_Network]:
    found: list[_Network] = []
    for (role, one), name in zip(networks.items(), names, strict=True):
        if one is None:
            continue
        check_sees(one, data, role, name)
        lineup = line_up([("the set", data.manifest.class_names), (name, one.class_names)])
        # Relative to the set's order, whichever of the two names its classes.
        found.append((name, role, one, lineup.columns[1]))
    return found


def _figures(
    data: WrittenSet, answers: StoredAnswers, name: str, role: str, network: Teacher,
    columns: tuple[int, ...] | None, real: LabelledImages | None,
) -> NetworkFigures:  # fmt: skip
    labels = answers.labels
    sight = look_at(network, image_batches(data))
    logits = sight.logits if columns is None else sight.logits[:, list(columns)]
    own = logits.softmax(1).gather(1, labels[:, None])
    right = logits.topk(min(_TOP, logits.shape[1]), dim=1).indices == labels[:, None]
    return NetworkFigures(
        name,
        role,
        network.fingerprint() in {one.hash for one in data.manifest.teachers},
        sight.layer,
        float(right[:, 0].double().mean()),
        float(right.any(1).double().mean()) if logits.shape[1] > _TOP else None,
        float(own.double().mean()),
        class_diversity(sight.features, labels),
        None if real is None else _beside(network, sight, labels, real),
    )


def _beside(network: Teacher, sight: Sight, labels: Tensor, real: LabelledImages) -> RealFigures:
    other = look_at(network, torch.split(real.images, 256)).features
    alike = _as_many(labels, real.labels)
    floor = diversity = None
    if alike is not None:
        diversity = class_diversity(other[alike], real.labels[alike])
        rest = torch.ones(len(other), dtype=torch.bool)
        rest[alike] = False
        if int(rest.sum()) >= len(alike):
            floor = _distances(other[alike], other[rest])
    return RealFigures(len(other), _distances(sight.features, other), floor, diversity)


def _distances(features: Tensor, real: Tensor) -> Distances:
    enough = min(len(features), len(real)) > NEIGHBOURS
    return Distances(
        frechet_distance(features, real),
        kernel_distance(features, real),
        manifold_overlap(features, real) if enough else None,
    )


def _as_many(labels: Tensor, real: Tensor, seed: int = 0) -> Tensor | None:
    """Draw as many real images of each class as the set has; None where there are fewer."""
    length = 1 + int(max(labels.max(), real.max()))
    counts = labels.bincount(minlength=length)
    if (counts > real.bincount(minlength=length)).any():
        return None
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(real), generator=generator)
    return torch.cat([order[real[order] == i][:n] for i, n in enumerate(counts.tolist())])


def _colour_noise(batches: Iterator[Tensor] | Sequence[Tensor]) -> float | None:
    total, count = 0.0, 0
    for batch in batches:
        if batch.shape[1] != 3 or min(batch.shape[2:]) < 16:
            return None
        for part in torch.split(batch, 256):
            total += colour_noise(in_unit_range(part)) * len(part)
            count += len(part)
    return total / count

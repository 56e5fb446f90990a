"""What each image contributes to the statistics of a teacher's layers, in units that need no data.

Of x = (input - m)/d, where m and d are a channel's units, an image contributes the means of x and
of ``SECOND`` x^2 over its places; before all channels stands one constant. Averages over images,
and over images that count less than others, give back mean and variance, which is never negative.
"""

import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from dfkd.errors import DfkdError
from dfkd.tasks.words import shown
from dfkd.teacher import Teacher
from dfkd.teacher.layer_inputs import input_rows, open_inputs
from dfkd.teacher.pack import PackedLayer
from generators.procedural import draw

DRAWN = 256
"""Drawings that the units are made of."""
_BATCH = 64
"""Images shown at once."""
SECOND = 0.3
"""Factor of second moments: data excite many channels more than drawings do, and squares grow."""
_CONSTANT = 0.1
"""The constant, over the root of a contribution's length."""


class Unit(NamedTuple):
    """A layer's units, float64 of shape (C,): of what enters it where drawings are shown."""

    axis: int
    mean: Tensor
    deviation: Tensor


@torch.no_grad()
def units_of(teacher: Teacher, axes: Mapping[str, int]) -> dict[str, Unit]:
    """Compute the units from drawings: without data, and the same whenever it is done.

    Args:
        teacher: frozen.
        axes: of the layers' channels, by name.

    Returns:
        By the labels of the layers' calls, in their order.
    """
    generator = torch.Generator(teacher.device).manual_seed(0)
    images = draw(DRAWN, teacher.spec.shape, generator, device=teacher.device)
    rows: dict[str, list[Tensor]] = {}
    for part in torch.split(images, _BATCH):
        for label, (axis, own) in _inputs(teacher, axes, part).items():
            rows.setdefault(label, []).append(own.flatten(0, 1))
            axes = {**axes, label: axis}
    units = {}
    for label, parts in rows.items():
        var, mean = torch.var_mean(torch.cat(parts), 0, correction=0)
        scale = float(var.mean().sqrt()) or 1.0  # drawings leave channels dead that data excite
        units[label] = Unit(axes[label], mean, var.sqrt().clamp_min(scale))
    return units


def length_of(units: Mapping[str, Unit]) -> int:
    """Return how many numbers of layers a contribution has, beside its constant."""
    return sum(2 * len(unit.mean) for unit in units.values())


@torch.no_grad()
def contributions(
    teacher: Teacher, images: Tensor, units: Mapping[str, Unit], cut: float = math.inf
) -> Iterator[Tensor]:
    """Yield what each image contributes, N x (1 + 2C) over all layers, batch by batch.

    Args:
        teacher: frozen.
        images: uint8, N x C x H x W.
        units: by the labels of the layers' calls.
        cut: largest size of x.
    """
    axes = {label.partition("@")[0]: unit.axis for label, unit in units.items()}
    constant = _CONSTANT * math.sqrt(length_of(units))
    for part in torch.split(images, _BATCH):
        found = _inputs(teacher, axes, teacher.spec.decode(part.to(teacher.device)))
        columns = []
        for label, unit in units.items():
            x = ((found[label][1] - unit.mean) / unit.deviation).clamp(-cut, cut)
            columns += [x.mean(1), SECOND * x.square().mean(1)]
        yield torch.cat([columns[0].new_full((len(part), 1), constant), *columns], 1)


def bounded(rows: Tensor, norm: float) -> Tensor:
    """Let rows that are longer count less: scale them to an L2 norm of ``norm``.

    Args:
        rows: N x D.
        norm: the most that a row may have.

    >>> bounded(torch.tensor([[3.0, 4.0], [0.3, 0.4]]), 1.0)
    tensor([[0.6000, 0.8000],
            [0.3000, 0.4000]])
    """
    lengths = rows.norm(dim=1, keepdim=True)
    found: Tensor = rows * (norm / lengths.clamp_min(norm))
    return found


def read_off(
    average: Tensor, units: Mapping[str, Unit], deviation: float = 0.0
) -> tuple[PackedLayer, ...]:
    """Turn averaged contributions into means and variances.

    Args:
        average: 1 + 2C numbers over all layers.
        units: that they are in.
        deviation: of the noise in them; no variance is taken to be smaller than it can tell.

    Raises:
        DfkdError: a number that is not finite, or nothing but noise.
    """
    if float(average[0]) <= 4 * deviation:
        raise DfkdError(
            "the noise drowns these images: give more of them, name fewer `layers`, or ask for a "
            "larger `noise_epsilon`"
        )
    counted = float(average[0]) / (_CONSTANT * math.sqrt(length_of(units)))  # share of all images
    average, least = average / counted, 2 * deviation / counted / SECOND
    layers, start = [], 1
    for label, (axis, mean, unit) in units.items():
        shift, second = average[start : start + 2 * len(mean)].chunk(2)
        start += 2 * len(mean)
        var = unit.square() * (second / SECOND - shift.square()).clamp_min(least)
        own = mean + unit * shift
        if not bool((own.isfinite() & var.isfinite()).all()):
            raise DfkdError(
                f"what enters the teacher's layer {shown(label, 60)!r} is not finite for some "
                "image: leave that layer, or that image, out"
            )
        layers.append(PackedLayer(label, axis, own.float().cpu(), var.float().cpu()))
    return tuple(layers)


@torch.no_grad()
def check_images_apart(teacher: Teacher, units: Mapping[str, Unit], images: Tensor) -> None:
    """Raise unless an image contributes the same, whatever is shown beside it.

    Args:
        teacher: frozen.
        units: whose layers are looked at.
        images: uint8, some that differ.

    Raises:
        DfkdError: names the first layer that mixes images: no one's contribution can be bounded.
    """
    together = next(contributions(teacher, images, units))
    alone = torch.cat([next(contributions(teacher, one[None], units)) for one in images])
    start = 1
    for label, unit in units.items():
        here = slice(start, start + 2 * len(unit.mean))
        start = here.stop
        if not torch.allclose(together[:, here], alone[:, here], rtol=1e-2, atol=1e-2):
            raise DfkdError(
                f"the teacher's layer {shown(label, 60)!r} mixes the images of a batch, or keeps "
                "them in another order: noise could hide none of them; name other `layers`"
            )


def _inputs(
    teacher: Teacher, axes: Mapping[str, int], images: Tensor
) -> dict[str, tuple[int, Tensor]]:
    """By label the channels' axis and N x positions x C of what enters, float64."""
    with open_inputs(teacher, list(axes)) as found:
        teacher.trace(images)
    rows = {}
    for label, _, value in found:
        axis = axes[label.partition("@")[0]]
        rows[label] = axis, input_rows(value, axis, len(images))
    return rows

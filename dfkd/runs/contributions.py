"""What each image contributes to the statistics of a teacher's layers, in units that need no data.

Of a channel with reference mean m and deviation d an image contributes (mean(x) - m)/d and
mean((x - m)^2)/d^2 - 1, over its places. Averages over images give back all mean and variance.
"""

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
"""Drawings that the reference is made of."""
_BATCH = 64
"""Images shown at once."""
SMALLEST_UNIT = 0.01
"""Of a channel, over the root mean square of its layer's: drawings may leave one dead."""
CUT = 10.0
"""Largest size of one number of a clipped contribution."""


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
        scale = float(var.mean().sqrt()) or 1.0
        units[label] = Unit(axes[label], mean, var.sqrt().clamp_min(SMALLEST_UNIT * scale))
    return units


@torch.no_grad()
def contributions(teacher: Teacher, images: Tensor, units: Mapping[str, Unit]) -> Iterator[Tensor]:
    """Yield what each image contributes, N x 2C over all layers, batch by batch.

    Args:
        teacher: frozen.
        images: uint8, N x C x H x W.
        units: by the labels of the layers' calls.
    """
    axes = {label.partition("@")[0]: unit.axis for label, unit in units.items()}
    for part in torch.split(images, _BATCH):
        shown_images = teacher.spec.decode(part.to(teacher.device))
        found = _inputs(teacher, axes, shown_images)
        columns = []
        for label, unit in units.items():
            distance = (found[label][1] - unit.mean) / unit.deviation
            columns += [distance.mean(1), distance.square().mean(1) - 1]
        yield torch.cat(columns, 1)


def clipped(rows: Tensor, norm: float) -> Tensor:
    """Bound each image's contribution: numbers to +-``CUT``, then the vector's L2 norm.

    Args:
        rows: N x D.
        norm: the most that a row may have.

    >>> clipped(torch.tensor([[3.0, 4.0], [0.3, 0.4]]), 1.0)
    tensor([[0.6000, 0.8000],
            [0.3000, 0.4000]])
    """
    rows = rows.clamp(-CUT, CUT)
    lengths = rows.norm(dim=1, keepdim=True)
    bounded: Tensor = rows * (norm / lengths.clamp_min(norm))
    return bounded


def read_off(average: Tensor, units: Mapping[str, Unit], least: float) -> tuple[PackedLayer, ...]:
    """Turn averaged contributions into means and variances.

    Args:
        average: 2C numbers over all layers.
        units: that they are in.
        least: variance that is kept at least, over the reference's.

    Raises:
        DfkdError: a number that is not finite.
    """
    layers, start = [], 0
    for label, (axis, mean, deviation) in units.items():
        shift, second = average[start : start + 2 * len(mean)].chunk(2)
        start += 2 * len(mean)
        var = deviation.square() * (second + 1 - shift.square()).clamp_min(least)
        own = mean + deviation * shift
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
    start = 0
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

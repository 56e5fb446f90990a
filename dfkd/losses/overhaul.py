"""OFD, "A Comprehensive Overhaul of Feature Distillation" (Heo et al., ICCV 2019).

The paper taps features before their ReLU and lets the teacher's keep a little below zero, a
channel's *margin*. Behind a ReLU nothing is below zero: the same formulas then compare what is
active, and ask of the rest that the student's be no more than 0.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dfkd.errors import DfkdError
from dfkd.losses.modules import Features

LEAST = 1e-3
"""Share of values below zero under which a channel's mean of them is not computed."""


def gaussian_margin(mean: Tensor, deviation: Tensor) -> Tensor:
    """Return E[x | x < 0] of Gaussians: the margin of eq. 2, from what a batch-norm gives.

    Args:
        mean: C, the norm's shift.
        deviation: C, >= 0, the norm's scale. Where fewer than 1 in 1,000 values are below zero the
            margin is -3 deviations, as in the authors' code.

    Returns:
        C values <= 0.

    >>> round(gaussian_margin(torch.zeros(1), torch.ones(1)).item(), 4)
    -0.7979
    """
    deviation = deviation.clamp(min=torch.finfo(deviation.dtype).tiny ** 0.5)
    ratio = mean / deviation
    below = torch.special.ndtr(-ratio)
    density = (-ratio.square() / 2).exp() / math.sqrt(2 * math.pi)
    inner = mean - deviation * density / below.clamp(min=LEAST)
    return torch.where(below > LEAST, inner, -3 * deviation).clamp(max=0)


def observed_margin(maps: Tensor) -> Tensor:
    """Return each channel's mean of its values below zero, 0 where there are none.

    What ``gaussian_margin`` expects, measured: for layers that end with no batch-norm.

    Args:
        maps: N x C x H x W.

    >>> observed_margin(torch.tensor([[[[1.0, -3.0, -1.0]], [[2.0, 0.0, 1.0]]]]))
    tensor([-2.,  0.])
    """
    below = maps < 0
    total = (maps * below).sum((0, 2, 3))
    return total / below.sum((0, 2, 3)).clamp(min=1)


def partial_distance(student_maps: Tensor, teacher_maps: Tensor, margin: Tensor) -> Tensor:
    """Average (s - t')^2, t' = max(t, margin), but where s <= t' <= 0 (eqs. 1, 3).

    A student that is below a teacher that is off is off as well: nothing to correct.

    Args:
        student_maps: N x C x H x W, behind the paper's regressor.
        teacher_maps: the same shape.
        margin: C values <= 0.

    Returns:
        In squared units of the features, a mean over all N x C x H x W, >= 0. The authors sum, and
        halve the sum from each depth to the one before, which has twice as many numbers.

    >>> student = torch.tensor([-5.0, 1.0, 0.0]).view(1, 1, 1, 3)
    >>> teacher = torch.tensor([-2.0, -2.0, 3.0]).view(1, 1, 1, 3)
    >>> round(partial_distance(student, teacher, torch.tensor([-1.0])).item(), 4)
    4.3333
    """
    if student_maps.shape != teacher_maps.shape or student_maps.ndim != 4:
        shapes = f"{tuple(student_maps.shape)} and {tuple(teacher_maps.shape)}"
        raise DfkdError(f"ofd needs N x C x H x W maps of one shape, not {shapes}")
    target = torch.maximum(teacher_maps, margin.view(1, -1, 1, 1))
    counts = (student_maps > target) | (target > 0)
    return ((student_maps - target).square() * counts).mean()


class Overhaul(nn.Module):
    """A regressor a depth, and the teacher's margins: of its batch-norms where it has them."""

    def __init__(
        self, student: Features, teacher: Features, margins: Sequence[Tensor | None]
    ) -> None:
        super().__init__()
        rows = zip(student, teacher, margins, strict=True)
        self.connectors = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(mine.shape[1], theirs.shape[1], 1, bias=False),
                nn.BatchNorm2d(theirs.shape[1]),
            )
            for mine, theirs, _ in rows
        )

    def forward(
        self, student: Features, teacher: Features, margins: Sequence[Tensor | None]
    ) -> Tensor:
        """Sum the distances over depths.

        Args:
            student, teacher: N x C x H x W each.
            margins: C values each; None: measured on the teacher's maps.
        """
        rows = zip(self.connectors, student, teacher, margins, strict=True)
        losses = [
            partial_distance(
                connector(mine), theirs, observed_margin(theirs) if margin is None else margin
            )
            for connector, mine, theirs, margin in rows
        ]
        return torch.stack(losses).sum()

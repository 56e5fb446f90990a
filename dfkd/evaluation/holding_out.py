"""How held-out images are made: by other means than what trains the student, from another seed.

Drawings and their corrections, as the default method has them, are what the teacher is asked about.
Students are judged by what no method shows them: patchworks, and noise corrected to the end.
"""

from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from dfkd.evaluation.accuracy import predictions
from dfkd.evaluation.heldout import HELD_OUT_BATCH, HeldOut
from dfkd.synthesis.methods.redraw import Redraw
from dfkd.synthesis.methods.redraw_config import RedrawConfig
from dfkd.teacher import Teacher
from dfkd.teacher.spec import ImageSpec, quantize

_SEED = 0x4E1D
"""Of the held-out images: no run's own, so that what it draws for its student is not among them."""
_RATE = 0.03
"""Of a drawing's correction. At the default method's .06 the steps overshoot: of Fashion's own
images the teacher then knows .77 again when they are mirrored, at .03 .90 (20 steps; real: .98)."""
_NOISE_RATE, _NOISE_CLASS = 0.05, 0.1
"""Of the correction of noise: its rate, and the weight of the pull towards a class, without which
noise stays of few classes."""
_COVERED = 0.2, 0.8
"""Share of an image that another one covers in a patchwork: neither is to be what it was."""


@dataclass(frozen=True)
class Effort:
    """What the held-out images may cost.

    Attributes:
        draws: images drawn to choose from, classes being rare.
        images: of either kind that are kept.
        steps: of the correction of a drawing.
        noise_steps: of that of noise; 0: students are judged without it.
    """

    draws: int = 512
    images: int = 128
    steps: int = 20
    noise_steps: int = 60


EFFORTS = (
    Effort(),
    Effort(512, 64, 20, 60),
    Effort(512, 64, 20, 0),
    Effort(256, 64, 10, 0),
    Effort(64, 32, 8, 0),
    Effort(32, 16, 3, 0),
)
"""From the best on; where a budget has no time for the last, it takes that all the same. It is for
large images and few minutes: sixteen images tell a copy from a wreck, and little more."""
_LARGE = 96
"""Pixels of a side from which on images are dear, where that cannot be measured."""


def unclocked(spec: ImageSpec) -> Effort:
    """Choose the effort for a budget in steps: the same everywhere, little for large images."""
    return EFFORTS[0] if min(spec.height, spec.width) < _LARGE else EFFORTS[-2]


def hold_out(teacher: Teacher, effort: Effort, working: Teacher | None = None) -> HeldOut:
    """Make them; the same teacher and effort give the same on the same machine.

    Args:
        teacher: one without statistics gets drawings and patchworks alone.
        effort: how many, and how well.
        working: a faster teacher that corrects in its place (``dfkd.teacher.folding``).
    """
    maker = _updated(working or teacher, effort, refine_lr=_RATE)
    # A teacher without statistics has nothing corrected.
    kinds: dict[str, Tensor] = {}
    if len(maker.refined):
        kinds["corrected"] = maker.refined.sample(effort.images).inputs
    kinds["drawn"] = maker.drawings.sample(effort.images, balanced=True).inputs
    kinds["patched"] = _patched(next(iter(kinds.values())))
    if len(maker.refined) and effort.noise_steps:
        noise = _updated(
            working or teacher, effort, drawn=False, refine_lr=_NOISE_RATE,
            refine_steps=effort.noise_steps, cross_entropy=_NOISE_CLASS,
        )  # fmt: skip
        kinds["pixels"] = noise.refined.sample(effort.images).inputs
    images = quantize(torch.cat(list(kinds.values()))).cpu()
    logits = predictions(teacher, teacher.spec, images, batch_size=HELD_OUT_BATCH)
    counts = {name: len(part) for name, part in kinds.items()}
    return HeldOut(images, logits, MappingProxyType(counts), maker.style or "")


def _updated(teacher: Teacher, effort: Effort, **settings: Any) -> Redraw:
    """The default method after one update, in which no student competes."""
    values: dict[str, Any] = {"refine_steps": effort.steps, **settings}
    config = RedrawConfig(
        draws=effort.draws, refine_batch=effort.images, refine_growth=0, competition=0.0,
        capacity=max(effort.draws, effort.images), **values,
    )  # fmt: skip
    maker = Redraw(teacher, config, _SEED)
    with torch.enable_grad():
        maker.update(nn.Identity())
    return maker


def _patched(images: Tensor) -> Tensor:
    """As many patchworks: a rectangle of each image shows its neighbour (CutMix, ICCV 2019)."""
    generator = torch.Generator().manual_seed(_SEED)
    count, _, height, width = images.shape
    low, high = _COVERED
    drawn = torch.rand((3, count, 1, 1), generator=generator).to(images.device)
    side = (low + (high - low) * drawn[0]).sqrt()
    rows = torch.linspace(0, 1, height, device=images.device).view(1, -1, 1)
    columns = torch.linspace(0, 1, width, device=images.device).view(1, 1, -1)
    inside = (rows - drawn[1]).abs() < side / 2, (columns - drawn[2]).abs() < side / 2
    return torch.where((inside[0] & inside[1])[:, None], images.roll(1, 0), images)

"""Images that no student learns from: what the teacher is asked about, and students judged by.

Half of them are drawings, half are drawings that the teacher's memory has corrected: as near to
its data as anything that can be had without it.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dfkd.evaluation.accuracy import predictions
from dfkd.synthesis.methods.default import Default
from dfkd.synthesis.methods.default_config import DefaultConfig
from dfkd.teacher import Teacher
from dfkd.teacher.spec import ImageSpec, quantize

_SEED = 0x4E1D
"""Of the held-out images: no run's own, so that what it draws for its student is not among them."""
_RATE = 0.03
"""Of their correction. At the default method's .06 the steps overshoot: of Fashion's own images the
teacher then knows .77 again when they are mirrored, at .03 .90 (20 steps; real ones: .98)."""


HELD_OUT_BATCH = 64
"""Images that a network is shown at once."""


@dataclass(frozen=True)
class Effort:
    """What the held-out images may cost.

    Attributes:
        draws: images drawn to choose from, classes being rare.
        images: of either kind that are kept.
        steps: of the correction.
    """

    draws: int = 512
    images: int = 128
    steps: int = 20


EFFORTS = (
    Effort(),
    Effort(256, 64, 20),
    Effort(256, 64, 10),
    Effort(64, 32, 8),
)
"""From the best on; where a budget has no time for the last, it takes that all the same: fewer
images than 32 say nothing."""
_LARGE = 96
"""Pixels of a side from which on images are dear, where that cannot be measured."""


def unclocked(spec: ImageSpec) -> Effort:
    """Choose the effort for a budget in steps: the same everywhere, little for large images."""
    return EFFORTS[0] if min(spec.height, spec.width) < _LARGE else EFFORTS[-1]


@dataclass(frozen=True)
class HeldOut:
    """``images`` uint8 N x C x H x W, the ``corrected`` ones first; ``logits`` N x classes."""

    images: Tensor
    logits: Tensor
    corrected: int

    def __len__(self) -> int:
        return len(self.images)

    @property
    def own(self) -> Tensor:
        """What is nearest to the teacher's data: the corrected images, or all where none is."""
        return self.images[: self.corrected or len(self)]

    def answers(self, network: nn.Module, teacher: Teacher) -> Tensor:
        """Compute a student's logits in eval mode, N x classes, on the CPU."""
        return predictions(network, teacher.spec, self.images, batch_size=HELD_OUT_BATCH)


def hold_out(
    teacher: Teacher,
    effort: Effort,
    working: Teacher | None = None,
) -> HeldOut:
    """Make them; the same teacher and effort give the same on the same machine.

    Args:
        teacher: one without statistics gets drawings alone.
        effort: how many, and how well.
        working: a faster teacher that corrects in its place (``dfkd.teacher.folding``).
    """
    config = DefaultConfig(
        draws=effort.draws,
        refine_batch=effort.images,
        refine_steps=effort.steps,
        refine_growth=0,
        refine_lr=_RATE,
        competition=0.0,
        capacity=max(effort.draws, effort.images),
    )
    maker = Default(working or teacher, config, _SEED)
    with torch.enable_grad():
        maker.update(nn.Identity())  # no competition: nobody is asked but the teacher
    # A teacher without statistics has nothing corrected.
    corrected = min(effort.images, len(maker.refined))
    banks = [maker.refined.sample(corrected)] if corrected else []
    banks.append(maker.drawings.sample(effort.images, balanced=True))
    images = quantize(torch.cat([bank.inputs for bank in banks])).cpu()
    logits = predictions(teacher, teacher.spec, images, batch_size=HELD_OUT_BATCH)
    return HeldOut(images, logits, corrected)

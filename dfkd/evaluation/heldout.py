"""Images that no student learns from: what the teacher is asked about, and students judged by.

Three kinds, for no single one is like the teacher's data: drawings, drawings that its memory has
corrected, and mixtures of two of these. Who has unlabelled images of the teacher's kind adds them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

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


HELD_OUT_KINDS = ("unlabelled", "corrected", "drawn", "mixed")
"""Of held-out images: the user's own, those that the teacher's memory has corrected, drawings,
and mixtures of two of the corrected ones (of drawings, where none is)."""
_MIXED = 0.3, 0.7
"""Share of the first image in a mixture of two: neither is to be what it was."""


@dataclass(frozen=True)
class HeldOut:
    """Held-out images with the teacher's answers.

    Attributes:
        images: uint8 N x C x H x W, kind by kind.
        logits: the teacher's, N x classes.
        counts: how many there are of each of ``HELD_OUT_KINDS``, in their order.
        style: of the drawings, the one of ``STYLES`` that suits the teacher best.
    """

    images: Tensor
    logits: Tensor
    counts: Mapping[str, int]
    style: str = ""

    def __len__(self) -> int:
        return len(self.images)

    def places(self, kind: str) -> slice:
        """Return where the images of a kind are; an empty slice where there is none."""
        names = list(self.counts)
        if kind not in names:
            return slice(0, 0)
        first = sum(self.counts[name] for name in names[: names.index(kind)])
        return slice(first, first + self.counts[kind])

    @property
    def own_kind(self) -> str:
        """The kind that is nearest to the teacher's data."""
        return next(kind for kind in HELD_OUT_KINDS if self.counts.get(kind))

    @property
    def own(self) -> Tensor:
        """The images of ``own_kind``."""
        return self.images[self.places(self.own_kind)]

    def with_unlabelled(self, images: Tensor, teacher: Teacher) -> "HeldOut":
        """Return these and the user's own images, uint8 N x C x H x W, before all others."""
        logits = predictions(teacher, teacher.spec, images, batch_size=HELD_OUT_BATCH)
        return HeldOut(
            torch.cat([images, self.images]),
            torch.cat([logits, self.logits]),
            MappingProxyType({"unlabelled": len(images), **self.counts}),
            self.style,
        )

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
    kinds: dict[str, Tensor] = {}
    if len(maker.refined):
        kinds["corrected"] = maker.refined.sample(effort.images).inputs
    kinds["drawn"] = maker.drawings.sample(effort.images, balanced=True).inputs
    kinds["mixed"] = _mixed(next(iter(kinds.values())))
    images = quantize(torch.cat(list(kinds.values()))).cpu()
    logits = predictions(teacher, teacher.spec, images, batch_size=HELD_OUT_BATCH)
    counts = {name: len(part) for name, part in kinds.items()}
    return HeldOut(images, logits, MappingProxyType(counts), maker.style or "")


def _mixed(images: Tensor) -> Tensor:
    """As many mixtures, of each image and another."""
    generator = torch.Generator().manual_seed(_SEED)
    low, high = _MIXED
    share = low + (high - low) * torch.rand((len(images), 1, 1, 1), generator=generator)
    share = share.to(images.device)
    return share * images + (1 - share) * images.roll(1, 0)

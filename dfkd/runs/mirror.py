"""Does a mirror image keep its class? The teacher is asked, for nobody else can know.

A student that is shown mirror images with the answers to the originals is taught that left and
right do not matter. Of clothes that is right and of digits it is wrong. What is asked about is
what the teacher's memory has corrected: to such images it answers as to its data.
"""

from dataclasses import dataclass, replace

from torch import Tensor

from dfkd.evaluation.accuracy import agreement, predictions
from dfkd.evaluation.heldout import HELD_OUT_BATCH, HeldOut
from dfkd.recipes import Recipe
from dfkd.teacher import Teacher
from dfkd.training.augment import with_flip

_LEAST_KEPT = 0.8
"""Least share of images that keep their class when mirrored, over that of images moved by a pixel.
Measured: .90 Fashion (of real images .99), .93 spectrograms of vowels (.97) and .98 MobileNetV2;
.55 digits (.32) and .63 of a Fashion teacher that never saw a mirror image (.83)."""


@dataclass(frozen=True)
class Mirror:
    """What the teacher said.

    Attributes:
        mirrored, moved: shares of ``images`` whose class stays when they are mirrored, and when
            they are moved sideways by a pixel, which should change nothing.
        images: how many were asked about.
        corrected: by the teacher's memory; else they are drawings.
    """

    mirrored: float
    moved: float
    images: int
    corrected: bool

    @property
    def keeps(self) -> bool:
        """Whether mirror images keep their class; where even a pixel changes it none can tell."""
        return self.mirrored >= _LEAST_KEPT * self.moved and self.moved >= _LEAST_KEPT

    def summary(self) -> str:
        """Return the decision in a line."""
        kind = "its own images" if self.corrected else "drawings"
        decision = "mirror images are used" if self.keeps else "no mirror images"
        return (
            f"{decision}: the teacher's class stays for {self.mirrored:.0%} of {self.images} of "
            f"{kind} when mirrored, for {self.moved:.0%} when moved by a pixel"
        )


def try_mirroring(teacher: Teacher, held_out: HeldOut) -> Mirror:
    """Show the teacher its own images, their mirror images, and both neighbours a pixel away."""
    images = held_out.own
    before = held_out.logits[: len(images)]

    def kept(changed: Tensor) -> float:
        logits = predictions(teacher, teacher.spec, changed, batch_size=HELD_OUT_BATCH)
        return agreement(logits, before)

    moved = sum(kept(images.roll(pixels, -1)) for pixels in (1, -1)) / 2
    return Mirror(kept(images.flip(-1)), moved, len(images), bool(held_out.corrected))


def is_open(recipe: Recipe) -> bool:
    """Tell whether ``recipe`` leaves mirror images to the teacher."""
    return recipe.learner.flip is None or getattr(recipe.synthesizer, "flip", 0.0) is None


def apply(recipe: Recipe, keeps: bool) -> Recipe:
    """Switch mirror images on or off where ``recipe`` leaves them open."""
    learning, making = (with_flip(part, keeps) for part in (recipe.learner, recipe.synthesizer))
    return replace(recipe, learner=learning, synthesizer=making)

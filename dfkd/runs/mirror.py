"""Does a mirror image keep its class? The teacher is asked (``dfkd.evaluation.invariances``).

A student that is shown mirror images with the answers to the originals is taught that left and
right do not matter. Of clothes that is right and of digits it is wrong. What is asked about is
what the teacher's memory has corrected: to such images it answers as to its data.
"""

from dataclasses import dataclass, replace

from dfkd.evaluation.heldout import HeldOut
from dfkd.evaluation.holding_out import unclocked
from dfkd.evaluation.invariances import HARMLESS, keeps, share_kept
from dfkd.recipes import Recipe
from dfkd.runs import pace
from dfkd.runs.costs import measure_costs
from dfkd.runs.held_out_images import held_out_images
from dfkd.teacher import Teacher
from dfkd.training.augment import with_flip
from dfkd.training.distributed import SINGLE_PROCESS

_NAMES = {"corrected": "its own images", "unlabelled": "the unlabelled images", "drawn": "drawings"}


@dataclass(frozen=True)
class Mirror:
    """What the teacher said.

    Attributes:
        mirrored, moved: shares of ``images`` whose class stays when they are mirrored, and when
            they are moved sideways by a pixel, which should change nothing.
        images: how many were asked about.
        kind: of the images, one of ``dfkd.evaluation.heldout.HELD_OUT_KINDS``.
    """

    mirrored: float
    moved: float
    images: int
    kind: str

    @property
    def keeps(self) -> bool:
        """Whether mirror images keep their class; of drawings, nobody's data, none can tell."""
        return self.kind != "drawn" and keeps(self.mirrored, self.moved)

    def summary(self) -> str:
        """Return the decision in a line."""
        kind = _NAMES.get(self.kind, self.kind)
        decision = "mirror images are used" if self.keeps else "no mirror images"
        return (
            f"{decision}: the teacher's class stays for {self.mirrored:.0%} of {self.images} of "
            f"{kind} when mirrored, for {self.moved:.0%} when moved by a pixel"
        )


def try_mirroring(teacher: Teacher, held_out: HeldOut) -> Mirror:
    """Show the teacher its own images, their mirror images, and both neighbours a pixel away."""
    images = held_out.own
    before = held_out.logits_at(held_out.places(held_out.own_kind))
    mirrored, moved = (share_kept(teacher, images, before, name) for name in ("mirror", HARMLESS))
    return Mirror(mirrored, moved, len(images), held_out.own_kind)


def is_open(recipe: Recipe) -> bool:
    """Tell whether ``recipe`` leaves mirror images to the teacher."""
    return recipe.learner.flip is None or getattr(recipe.synthesizer, "flip", 0.0) is None


def apply(recipe: Recipe, keeps: bool) -> Recipe:
    """Switch mirror images on or off where ``recipe`` leaves them open."""
    learning, making = (with_flip(part, keeps) for part in (recipe.learner, recipe.synthesizer))
    return replace(recipe, learner=learning, synthesizer=making)


def ask_mirror(teacher: Teacher, fast: Teacher, minutes: float | None, most: int) -> Mirror:
    """Ask whether mirror images keep their class, at the price that a budget has for it.

    Args:
        teacher: as the user gave it.
        fast: a teacher that answers alike and costs less.
        minutes: without any, what a budget in steps would have.
        most: images that the teacher is to be shown at once.
    """
    effort = unclocked(teacher.spec)
    if minutes is not None:
        effort = pace.effort(measure_costs(fast), 60 * minutes)
    effort = replace(effort, images=min(effort.images, max(2, most)))
    held_out, _ = held_out_images(teacher, fast, effort, SINGLE_PROCESS)
    return try_mirroring(teacher, held_out)

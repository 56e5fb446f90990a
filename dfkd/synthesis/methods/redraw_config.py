"""How ReDraw draws and corrects: data alone."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from dfkd.errors import DfkdError, check_within, nearest
from generators.procedural import Style

_WRITTEN = Style(strokes=1.0, texture=0.05, mirrored=0.3, holes=0.0, inner=0.0)
STYLES: Mapping[str, Style] = {
    "silhouettes on black": Style(),
    "silhouettes on textures": Style(dark_ground=0.0, plain_ground=0.0),
    "strokes on black": _WRITTEN,
    "strokes on colours": replace(_WRITTEN, dark_ground=0.0, colour=0.4),
}
"""What can be drawn; the teacher is asked which suits it best."""


@dataclass(frozen=True)
class RedrawConfig:
    """How images are drawn and corrected.

    Attributes:
        draws: images drawn in one update.
        style: of the drawings, a name of ``STYLES``; left out, the teacher is asked.
        drawn: False is the ablation that corrects grey noise instead, and shows the
            student nothing else.
        refine_batch, refine_steps: images corrected in one update, and by how many
            steps of Adam (betas 0.5 and 0.9) at first; 0 steps correct nothing.
        refine_growth, refine_most: updates after which a correction takes one step more, and
            the most that it comes to. A short run needs many images, a long one better ones;
            0 leaves the steps as they are.
        refine_lr: their rate, in units of [0, 1] intensity.
        statistics, competition, cross_entropy: weights of the three terms; 0 leaves one out.
        refined_share: share of the student's batch that was corrected.
        capacity: images of either kind that are kept, the latest ones.
    """

    draws: int = 1024
    style: str | None = None
    drawn: bool = True
    refine_batch: int = 256
    refine_steps: int = 5
    refine_growth: int = 8
    refine_most: int = 20
    refine_lr: float = 0.06
    statistics: float = 1.0
    competition: float = 0.1
    cross_entropy: float = 0.01
    refined_share: float = 0.5
    capacity: int = 60_000

    def __post_init__(self) -> None:
        check_within(self, "[1, inf)", "draws", "capacity")
        check_within(self, "[2, inf)", "refine_batch")
        check_within(self, "[0, inf)", "refine_steps", "refine_growth", "refine_most")
        check_within(self, "(0, inf)", "refine_lr")
        check_within(self, "[0, inf)", "statistics", "competition", "cross_entropy")
        check_within(self, "[0, 1]", "refined_share")
        if self.style is not None and self.style not in STYLES:
            raise DfkdError(f"there is no style {self.style!r}{nearest(self.style, STYLES)}")
        if not self.drawn and not self.refine_steps:
            raise DfkdError("without drawings and without refinement there is nothing to see")

    def steps_at(self, update: int) -> int:
        """Return the correction's steps in the ``update``-th update, counted from 1."""
        more = (update - 1) // self.refine_growth if self.refine_growth else 0
        return max(self.refine_steps, min(self.refine_steps + more, self.refine_most))

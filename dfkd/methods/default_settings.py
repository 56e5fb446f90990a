"""How the default method draws and corrects: data alone."""

from dataclasses import dataclass

from dfkd.errors import DfkdError
from generators.procedural import Style

STYLES = (Style(), Style(dark_ground=0.0, plain_ground=0.0))
"""What is tried: calm silhouettes on black; the same on textured grounds of any tone."""


@dataclass(frozen=True)
class DefaultConfig:
    """How images are drawn and corrected.

    Attributes:
        draws: images drawn in one update.
        drawn: False is the ablation that corrects grey noise instead, and shows the
            student nothing else.
        refine_batch, refine_steps: images corrected in one update, and by how many
            steps of Adam (betas 0.5 and 0.9); 0 steps correct nothing.
        refine_lr: their rate, in units of [0, 1] intensity.
        replayed: share of the images to correct that were corrected before, so that some go
            further than ``refine_steps`` (as the samples of Du & Mordatch's replay buffer do,
            arXiv:1903.08689); the others are drawings.
        statistics, competition, cross_entropy: weights of the three terms; 0 leaves one out.
        refined_share: share of the student's batch that was corrected.
        capacity: images of either kind that are kept, the latest ones.
    """

    draws: int = 1024
    drawn: bool = True
    refine_batch: int = 256
    refine_steps: int = 5
    refine_lr: float = 0.06
    replayed: float = 0.5
    statistics: float = 1.0
    competition: float = 0.1
    cross_entropy: float = 0.01
    refined_share: float = 0.5
    capacity: int = 60_000

    def __post_init__(self) -> None:
        if self.draws < 1 or self.capacity < 1 or self.refine_batch < 2:
            raise DfkdError("draws and capacity must be >= 1 and refine_batch >= 2")
        if self.refine_steps < 0 or self.refine_lr <= 0:
            raise DfkdError("refine_steps must be >= 0 and refine_lr positive")
        for name in ("replayed", "refined_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise DfkdError(f"{name} must be in [0, 1], not {getattr(self, name)}")
        if not self.drawn and not self.refine_steps:
            raise DfkdError("without drawings and without refinement there is nothing to see")

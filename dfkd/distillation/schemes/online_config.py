"""What mutual learning can be told."""

import math
from dataclasses import dataclass

from dfkd.errors import DfkdError

_KEPT = ("best", "alike")


@dataclass(frozen=True)
class OnlineConfig:
    """How many students there are, and what they think of each other.

    After Zhang et al., CVPR 2018. With ``--knowledge hard`` they learn from the images' own classes
    and from each other, without the teacher's logits.

    Attributes:
        students: how many, the user's own and all ``peers`` among them; the others are of its
            architecture, their weights drawn from other seeds.
        peers: MODEL URIs of further students, of any architecture.
        kept: ``best``, whichever student agrees best with the teacher, or ``alike``, the best of
            the user's own architecture, where other peers are there to help.
        mutual: weight of the mean divergence from the other students' outputs.
        temperature: of that divergence, which carries its square; the paper has none, which is 1.
    """

    students: int = 2
    peers: tuple[str, ...] = ()
    kept: str = "best"
    mutual: float = 1.0
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if self.kept not in _KEPT:
            raise DfkdError(f"kept must be best or alike, not {self.kept!r}")
        if self.students < 2:
            raise DfkdError(f"students teach each other: two at least, not {self.students}")
        if self.students <= len(self.peers):
            raise DfkdError(
                f"{len(self.peers)} peers and the student are more than {self.students} students: "
                f"`scheme_config.students={len(self.peers) + 1}` or more"
            )
        if not 0 <= self.mutual < math.inf:
            raise DfkdError(f"mutual must be finite and >= 0, not {self.mutual}")
        if not 0 < self.temperature < math.inf:
            raise DfkdError(f"temperature must be positive and finite, not {self.temperature}")

"""What ``dfkd.invert`` returns."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from dfkd.runs.deprecated import ActsAsImages
from dfkd.runs.metrics import Seconds
from dfkd.synthesis.methods.deep_inversion_config import DeepInversionConfig


@dataclass(frozen=True, kw_only=True)
class InversionMetrics:
    """All that ``result.json`` says of an inversion.

    Attributes:
        method: that made the pictures.
        own_top1: share that the teacher itself recognises as their class, in [0, 1].
        images_synthesized, teacher_forwards: images made, and images shown to the teacher.
        teacher_parameters: how many the teacher has.
        steps: of the optimiser, over all batches.
        compiled, mirror, decisions: what was decided before the first step.
        complete: whether the budget was spent.
        seconds: wall time, in its parts.
    """

    method: str = "deep_inversion"
    own_top1: float
    images_synthesized: int
    teacher_forwards: int
    teacher_parameters: int
    steps: int
    compiled: dict[str, Any]
    mirror: dict[str, Any] | None
    decisions: list[str]
    complete: bool
    seconds: Seconds

    def as_dict(self) -> dict[str, Any]:
        """Return the metrics as ``result.json`` has them."""
        return asdict(self)


@dataclass(frozen=True)
class InversionResult(ActsAsImages):
    """Pictures and the account of their making.

    Attributes:
        images: N x C x H x W float in [0, 1], exact multiples of 1/255.
        targets: the N classes they were made for.
        metrics: what ``result.json`` holds, as attributes.
        config: the setting as it was used.
        directory: of the run, where one was asked for.
        log: the losses of this session: ``step``, ``seconds``, and scalars by name.
    """

    images: Tensor
    targets: Tensor
    metrics: InversionMetrics
    config: DeepInversionConfig
    directory: Path | None = None
    log: Sequence[Mapping[str, float]] = field(default=(), repr=False)

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C stopped it before its time; the images are as they stood then."""
        return not self.metrics.complete

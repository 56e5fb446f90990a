"""What a run has recorded, to be looked at for symptoms."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

_Row = Mapping[str, float | None]
_ADVERSARIES = ("adv", "js", "kd", "l1", "kd_mean")
"""Losses of images that grow with the student's disagreement."""
TOO_FEW = 100
"""Steps below which a curve says nothing."""


@dataclass(frozen=True)
class RunRecord:
    """What a run has recorded, during it or afterwards.

    Attributes:
        rows: of ``metrics.jsonl``, in order; null where a number was none.
        counts: how often the teacher answered each class so far.
        progress: share of the budget that is spent, in [0, 1].
        result: ``result.json``; empty while the run goes on.
        recipe: of the manifest; empty while it is not known.
        minutes: the budget, where it is one of time: who asks for few steps wants few.
        given: whether the images were there before the run: none were made in it.
        names: of the classes; their numbers where there are none.
    """

    rows: Sequence[_Row]
    counts: Sequence[int] = ()
    progress: float = 1.0
    result: Mapping[str, Any] = field(default_factory=dict)
    recipe: Mapping[str, Any] = field(default_factory=dict)
    minutes: float | None = None
    given: bool = False
    names: Sequence[str] = ()

    @property
    def health(self) -> Mapping[str, Any]:
        """What was measured at the end (``dfkd.evaluation.health``); empty where it was not."""
        return self.result.get("health") or {}

    @property
    def steps(self) -> int:
        """Steps of the student so far."""
        return int(self.rows[-1]["step"] or 0) if self.rows else 0

    @property
    def opposed(self) -> bool:
        """Whether images are made against the student: its loss may rise and all be well."""
        return any(f"synthesis/{name}" in row for row in self.rows[-1:] for name in _ADVERSARIES)

    def quarters(self, name: str) -> list[float]:
        """Average a metric over each quarter of its rows; empty where there are too few steps."""
        values = [row[name] for row in self.rows if row.get(name) is not None]
        if self.steps < TOO_FEW or len(values) < 4:
            return []
        return [float(np.mean(part)) for part in np.array_split(np.array(values, float), 4)]

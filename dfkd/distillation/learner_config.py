"""How a student learns: data alone."""

import math
from dataclasses import dataclass

from dfkd.errors import check_within
from dfkd.losses.objective import parse
from dfkd.networks.pairing import read_pair

CARE = 0.05
"""Of the learning rate for a student that knows already."""


@dataclass(frozen=True)
class LearnerConfig:
    """How a student learns.

    Attributes:
        lr: peak learning rate; a cosine from it to 0 spans the budget, whatever its unit.
        warmup: fraction of the budget in which the rate rises from 0.
        optimizer, weight_decay: see ``dfkd.training.optimizers``. Adapters learn at the same
            rate, by SGD where the student does and by AdamW otherwise.
        knowledge: a weighted sum of what is transferred, such as ``kd + 250*at``; see
            ``dfkd knowledge``.
        pairs: layers to compare, as ``teacher.LAYER=student.LAYER``; found by size where none is.
        temperature: softens both distributions; the loss carries T^2.
        temperature_end: what it becomes by the end of the budget, linearly; left out: it stays.
        ema: decay of the averaged student that is kept; 0 keeps the live one.
        flip: probability of a mirror image; left out, the teacher is asked whether mirror images
            keep their class (``dfkd.runs.mirror``): 0.5 where they do, else 0.
        careful: a student that knows already is to lose nothing: ``CARE`` times the rate, and its
            norms keep their statistics. Left out, its answers at the start decide
            (``dfkd.evaluation.validation``).
        patience: points on the way at which the student was judged and none of them the best, after
            which the run ends early (``dfkd.runs.selector``); 0: it spends its budget.
    """

    lr: float = 0.01
    warmup: float = 0.03
    optimizer: str = "muon"
    weight_decay: float = 5e-4
    knowledge: str = "kd"
    pairs: tuple[str, ...] = ()
    temperature: float = 4.0
    temperature_end: float | None = None
    ema: float = 0.995
    flip: float | None = None
    careful: bool | None = None
    patience: int = 0

    def __post_init__(self) -> None:
        parse(self.knowledge)
        for pair in self.pairs:
            read_pair(pair)
        check_within(self, "[0, inf)", "lr", "weight_decay", "patience")
        check_within(self, "[0, 1]", "warmup", "flip")
        check_within(self, "[0, 1)", "ema")
        check_within(self, "(0, inf)", "temperature", "temperature_end")

    def lr_at(self, progress: float) -> float:
        """Return the learning rate at ``progress`` in [0, 1]: linear warm-up, half a cosine."""
        rise = min(1.0, progress / self.warmup) if self.warmup else 1.0
        peak = self.lr * (CARE if self.careful else 1.0)
        return peak * rise * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))

    def temperature_at(self, progress: float) -> float:
        """Return the temperature at ``progress`` in [0, 1]."""
        end = self.temperature if self.temperature_end is None else self.temperature_end
        return self.temperature + progress * (end - self.temperature)

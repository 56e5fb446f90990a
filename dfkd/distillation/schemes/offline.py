"""Offline distillation: a frozen teacher, a student that imitates it (Hinton et al., 2015).

One update, top to bottom: flip the images, ask the teacher (or its cached outputs) and the student,
add up what is to be transferred (``dfkd.losses.registry``), step, average the weights.
"""

from dataclasses import dataclass

from torch import nn

from dfkd.distillation.learner import Learner, metrics
from dfkd.distillation.learner_config import LearnerConfig
from dfkd.distillation.scheme import Scheme
from dfkd.protocols import Batch, Metrics
from dfkd.teacher import Teacher
from dfkd.training.distributed import SINGLE_PROCESS, Runtime


@dataclass(frozen=True)
class OfflineConfig:
    """Nothing to choose: all that varies is how the student learns."""


class Offline(Scheme):
    """The ``Scheme`` of that name."""

    def __init__(
        self,
        teacher: Teacher,
        student: nn.Module,
        config: LearnerConfig,
        seed: int,
        scheme: OfflineConfig = OfflineConfig(),
        runtime: Runtime = SINGLE_PROCESS,
    ) -> None:
        self.learners = (Learner(teacher, student, config, seed, runtime),)

    def update(self, batch: Batch) -> Metrics:
        """Take one optimiser step on the weighted sum of the knowledge."""
        (learner,) = self.learners
        outputs = learner.forward(learner.prepare(batch))
        parts = learner.losses(outputs)
        learner.learn(learner.weighted(parts))
        return metrics(parts, outputs)

"""Robust distillation: the student answers as the teacher does even to images that were attacked.

One update, top to bottom: ask both networks about the images, move the images to where the student
is most wrong, ask the student about these as well, and let it give there what the teacher says of
the images before they were moved. The teacher should be robust itself: a student has its
robustness from it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dfkd.distillation.learner import Learner, metrics
from dfkd.distillation.learner_config import LearnerConfig
from dfkd.distillation.scheme import Scheme
from dfkd.errors import DfkdError, nearest
from dfkd.losses.response import kl_divergence
from dfkd.networks.attack import pgd
from dfkd.networks.modes import frozen
from dfkd.protocols import Batch, Metrics, Stateful
from dfkd.teacher import Teacher
from dfkd.teacher.forward import student_prediction
from dfkd.teacher.outputs import PairOutputs
from dfkd.training.distributed import SINGLE_PROCESS, Runtime
from dfkd.training.sharded_rng import ShardedRNG

_FORMS = ("rslad", "ard")


@dataclass(frozen=True)
class RobustConfig:
    """(1 - weight) * knowledge + weight * T^2 KL(teacher(x) || student(x_adv)).

    RSLAD as published is ``--knowledge kd`` at ``learner.temperature=1``; ARD is ``form=ard``
    with ``--knowledge hard``, whose code starts from weight 1 and temperature 30. The authors'
    code also divides by the number of classes.

    Attributes:
        form: what the attack raises. ``rslad`` (Zi et al., ICCV 2021): the student's divergence
            from the teacher's answers to the images before they moved. ``ard`` (Goldblum et al.,
            AAAI 2020): cross-entropy of the labels.
        epsilon: largest change of a value, in units of [0, 1].
        step_size, steps: of the attack, projected gradient ascent.
        weight: of the attacked images against the others, in [0, 1]; 0 is the scheme ``offline``.
        temperature: T, of what is learnt from attacked images and of what ``rslad`` attacks; the
            knowledge has the learner's own.
    """

    form: str = "rslad"
    epsilon: float = 8 / 255
    step_size: float = 2 / 255
    steps: int = 10
    weight: float = 5 / 6
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if self.form not in _FORMS:
            raise DfkdError(f"robust has no form {self.form!r}{nearest(self.form, _FORMS)}")
        if not 0 <= self.weight <= 1:
            raise DfkdError(f"weight of robust must be within 0 and 1, not {self.weight}")
        if not 0 < self.temperature < math.inf:
            raise DfkdError(f"temperature must be positive and finite, not {self.temperature}")
        if not (0 < self.epsilon <= 1 and self.step_size > 0 and self.steps >= 1):
            raise DfkdError(
                "robust needs epsilon within 0 and 1, a positive step_size and one step or more, "
                f"not {self.epsilon:g}, {self.step_size:g} and {self.steps}"
            )


class Robust(Scheme):
    """The ``Scheme`` of that name."""

    def __init__(
        self,
        teacher: Teacher,
        student: nn.Module,
        config: LearnerConfig,
        seed: int,
        scheme: RobustConfig = RobustConfig(),
        runtime: Runtime = SINGLE_PROCESS,
    ) -> None:
        self.config, self._runtime = scheme, runtime
        self.learners = (Learner(teacher, student, config, seed, runtime),)
        self._draws = ShardedRNG(seed, runtime)

    def update(self, batch: Batch) -> Metrics:
        """Take one optimiser step on images as they are and as the attack leaves them."""
        (learner,) = self.learners
        weight = self.config.weight
        shard = learner.prepare(_within(batch) if weight else batch)
        outputs = learner.forward(shard)
        parts = learner.losses(outputs)
        loss, reported = learner.weighted(parts), metrics(parts, outputs)
        if weight:
            logits = self._answer(learner.network, self._attacked(shard.inputs, outputs))
            robust = self._divergence(logits, outputs).mean()
            loss = (1 - weight) * loss + weight * robust
            reported["robust"] = robust.detach()
            same = logits.argmax(1) == outputs.decisions
            reported["robust_agreement"] = same.float().mean()
        learner.learn(loss)
        return reported

    def _answer(self, network: nn.Module, images: Tensor) -> Tensor:
        """Logits of the student, in the mode it is in."""
        with self._runtime.autocast():
            return student_prediction(network, self.learners[0].teacher, images).logits

    def _attacked(self, images: Tensor, outputs: PairOutputs) -> Tensor:
        """The images, moved in the ball around them; the student comes out as it went in.

        It is attacked in eval mode, as in RSLAD's code, so that no buffer moves and no image
        depends on the others; ARD's attacks in train mode.
        """
        config, student = self.config, self.learners[0].student
        start = images + config.epsilon * self._draws.uniform(images)
        with frozen(student):
            return pgd(
                lambda moved: self._answer(student, moved),
                images,
                self._aim(outputs),
                epsilon=config.epsilon,
                step_size=config.step_size,
                steps=config.steps,
                start=start,
            )

    def _aim(self, outputs: PairOutputs) -> Callable[[Tensor], Tensor]:
        """What the attack raises, of the student's logits."""
        if self.config.form == "ard":
            labels = outputs.labels
            return lambda logits: F.cross_entropy(logits, labels, reduction="none")
        return lambda logits: self._divergence(logits, outputs)

    def _divergence(self, logits: Tensor, outputs: PairOutputs) -> Tensor:
        """T^2 KL from the teacher's answers to the images before they moved, N values."""
        return kl_divergence(
            logits,
            outputs.teacher.logits,
            temperature=self.config.temperature,
            reduction="none",
        )

    def extras(self) -> dict[str, Stateful]:
        """Return where the attack's random starts go on."""
        return {"draws": self._draws}


def _within(batch: Batch) -> Batch:
    """The images within [0, 1], where an attack can move them.

    Some methods' images leave it: no place within would be near those, and what the teacher said of
    them is no answer to what they become.
    """
    images = batch.inputs.clamp(0, 1)
    if not images.is_meta and torch.equal(images, batch.inputs):
        return batch
    return batch._replace(inputs=images, prediction=None)

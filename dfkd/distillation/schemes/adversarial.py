"""Adversarial distillation: a critic tells the student's outputs from the teacher's.

One update, top to bottom: ask both networks, let the critic learn to tell their outputs apart, and
let the student learn the knowledge and to be taken for the teacher. Both steps are kept apart: the
critic learns from detached outputs, and holds still while the student learns. (MEAL's released
code adds the critic's own loss to the student's, and one step on the sum lets the student help the
critic; there only a gradient reversal, off by default, makes an adversary of it.)
"""

from torch import Tensor, nn

from dfkd.distillation.critic import CriticTrainer
from dfkd.distillation.learner import Learner, metrics
from dfkd.distillation.learner_config import LearnerConfig
from dfkd.distillation.scheme import Scheme
from dfkd.distillation.schemes.adversarial_config import AdversarialConfig
from dfkd.distillation.schemes.adversarial_images import AdversarialImages
from dfkd.losses.modules import Hints
from dfkd.losses.response import cross_entropy
from dfkd.networks.seeding import seeded
from dfkd.protocols import Batch, Metrics, Stateful
from dfkd.teacher import Teacher
from dfkd.teacher.outputs import PairOutputs
from dfkd.training.distributed import SINGLE_PROCESS, Runtime
from generators.critics import FeatureCritic, LogitCritic


class Adversarial(Scheme):
    """The ``Scheme`` of that name, for ``logits`` and ``features``.

    Adapters bring the student's features to the teacher's; they learn with the student.
    """

    def __init__(
        self,
        teacher: Teacher,
        student: nn.Module,
        config: LearnerConfig,
        seed: int,
        scheme: AdversarialConfig,
        runtime: Runtime = SINGLE_PROCESS,
    ) -> None:
        self.config = scheme
        # With weight 0 nothing is looked at that offline distillation does not look at.
        inside = ("hint",) if scheme.weight and scheme.form == "features" else ()
        learner = Learner(teacher, student, config, seed, runtime, extra_losses=inside)
        self.learners = (learner,)
        self._critic: CriticTrainer | None = None
        if not scheme.weight:
            return
        with seeded(seed):
            critics = self._critics(teacher.task.width)
        rates = (scheme.critic_lr, scheme.noise)
        self._critic = CriticTrainer(critics, scheme.loss, *rates, seed, teacher.device, runtime)

    def _critics(self, classes: int) -> list[nn.Module]:
        width = self.config.width
        if self.config.form == "logits":
            return [LogitCritic(classes, width)]
        channels = [len(next(layer.parameters())) for layer in self._hints().adapters]
        return [FeatureCritic(count, width) for count in channels]

    def _hints(self) -> Hints:
        hints = self.learners[0].adapters["hint"]
        assert isinstance(hints, Hints)
        return hints

    def update(self, batch: Batch) -> Metrics:
        """Take one step of the critic, then one of the student."""
        (learner,) = self.learners
        outputs = learner.forward(learner.prepare(batch))
        parts = learner.losses(outputs)
        loss, reported = learner.weighted(parts), metrics(parts, outputs)
        if self._critic:
            seen = self._teach(self._critic, outputs)
            terms = self._contest(self._critic, outputs)
            loss = loss + self.config.weight * terms.pop("added")
            reported |= seen | {f"{name}": term.detach() for name, term in terms.items()}
        learner.learn(loss)
        return reported

    def _judged(self, outputs: PairOutputs) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """What the critics see of the teacher (real) and of the student (fake)."""
        if self.config.form == "logits":
            return (outputs.teacher.logits,), (outputs.answered.logits,)
        return outputs.teacher.features, self._hints().adapted(outputs.answered.features)

    def _teach(self, critic: CriticTrainer, outputs: PairOutputs) -> Metrics:
        """One step of the critics."""
        loss, share = critic.critic_loss(*self._judged(outputs))
        reported = {"critic": loss.detach(), "critic_accuracy": share}
        if self.config.form == "logits" and self.config.classes:
            loss = loss + _class_loss(critic, outputs.teacher.logits, outputs.labels)
        critic.step(loss)
        return reported

    def _contest(self, critic: CriticTrainer, outputs: PairOutputs) -> dict[str, Tensor]:
        """The student's terms by name, and ``added``, their weighted sum."""
        config = self.config
        with critic.frozen():
            fooling = critic.generator_loss(*self._judged(outputs))
            if config.form == "logits":
                if not config.classes:
                    return {"added": fooling, "fooling": fooling}
                read = _class_loss(critic, outputs.answered.logits, outputs.labels)
                return {
                    "added": fooling + config.classes * read,
                    "fooling": fooling,
                    "classes": read,
                }
        similarity: Tensor = self._hints()(outputs.answered.features, outputs.teacher.features)
        return {
            "added": fooling + config.similarity * similarity,
            "fooling": fooling,
            "similarity": similarity,
        }

    def set_progress(self, progress: float) -> None:
        """Set rates, temperature and the critic's rate for this point of the budget."""
        self.learners[0].set_progress(progress)
        if self._critic:
            self._critic.set_progress(progress)

    def extras(self) -> dict[str, Stateful]:
        """Return the critics; adapters are the learner's."""
        return {"critic": self._critic} if self._critic else {}


def _class_loss(critic: CriticTrainer, logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of the class that the critic reads from an answer."""
    (network,) = critic.critics
    assert isinstance(network, LogitCritic)
    return cross_entropy(network.classify(logits), labels)


def adversarial(
    teacher: Teacher,
    student: nn.Module,
    config: LearnerConfig,
    seed: int,
    scheme: AdversarialConfig,
    runtime: Runtime = SINGLE_PROCESS,
) -> Scheme:
    """Build the scheme of the form that ``scheme`` names."""
    kind = AdversarialImages if scheme.form == "images" else Adversarial
    return kind(teacher, student, config, seed, scheme, runtime)

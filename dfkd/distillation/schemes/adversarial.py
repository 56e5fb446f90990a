"""Adversarial distillation: a critic tells the student's answers from the teacher's.

One update, top to bottom: ask both networks, let the critic learn to tell their answers apart, and
let the student learn the knowledge and to be taken for the teacher. Both steps are kept apart: the
critic learns from detached answers, and holds still while the student learns. (MEAL's released
code adds the critic's own loss to the student's, and one step on the sum lets the student help the
critic; there only a gradient reversal, off by default, makes an adversary of it.)
"""

from torch import Tensor, nn

from dfkd.distillation.critic import CriticTrainer
from dfkd.distillation.knowledge import Answers
from dfkd.distillation.knowledge.learned import Hints
from dfkd.distillation.learner import Learner, metrics
from dfkd.distillation.learner_config import LearnerConfig
from dfkd.distillation.scheme import Scheme
from dfkd.distillation.schemes.adversarial_config import AdversarialConfig
from dfkd.distillation.schemes.adversarial_images import AdversarialImages
from dfkd.losses.response import cross_entropy
from dfkd.networks.seeding import seeded
from dfkd.protocols import Batch, Metrics, Stateful
from dfkd.teacher import Teacher
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
        learner = Learner(teacher, student, config, seed, runtime, also=inside)
        self.learners = (learner,)
        self._judge: CriticTrainer | None = None
        if not scheme.weight:
            return
        with seeded(seed):
            critics = self._critics(teacher.num_classes)
        rates = (scheme.critic_lr, scheme.noise)
        self._judge = CriticTrainer(critics, scheme.loss, *rates, seed, teacher.device, runtime)

    def _critics(self, classes: int) -> list[nn.Module]:
        width = self.config.width
        if self.config.form == "logits":
            return [LogitCritic(classes, width)]
        channels = [len(next(layer.parameters())) for layer in self._hints().adapters]
        return [FeatureCritic(count, width) for count in channels]

    def _hints(self) -> Hints:
        hints = self.learners[0].aids["hint"]
        assert isinstance(hints, Hints)
        return hints

    def update(self, batch: Batch) -> Metrics:
        """One step of the critic, then one of the student."""
        (learner,) = self.learners
        answers = learner.ask(learner.receive(batch))
        parts = learner.losses(answers)
        loss, told = learner.weighted(parts), metrics(parts, answers)
        if self._judge:
            seen = self._teach(self._judge, answers)
            terms = self._contest(self._judge, answers)
            loss = loss + self.config.weight * terms.pop("added")
            told |= seen | {f"distillation/{name}": term.detach() for name, term in terms.items()}
        learner.learn(loss)
        return told

    def _judged(self, answers: Answers) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """What the critics see of the teacher (real) and of the student (fake)."""
        if self.config.form == "logits":
            return (answers.teacher_logits,), (answers.student_logits,)
        return answers.teacher_features, self._hints().adapted(answers)

    def _teach(self, judge: CriticTrainer, answers: Answers) -> Metrics:
        """One step of the critics."""
        loss, share = judge.tell(*self._judged(answers))
        told = {"distillation/critic": loss.detach(), "distillation/critic_accuracy": share}
        if self.config.form == "logits" and self.config.classes:
            loss = loss + _class_loss(judge, answers.teacher_logits, answers.labels)
        judge.learn(loss)
        return told

    def _contest(self, judge: CriticTrainer, answers: Answers) -> dict[str, Tensor]:
        """The student's terms by name, and ``added``, their weighted sum."""
        config = self.config
        with judge.fixed():
            fooling = judge.fooling(*self._judged(answers))
            if config.form == "logits":
                if not config.classes:
                    return {"added": fooling, "fooling": fooling}
                read = _class_loss(judge, answers.student_logits, answers.labels)
                return {
                    "added": fooling + config.classes * read,
                    "fooling": fooling,
                    "classes": read,
                }
        similarity: Tensor = self._hints()(answers)
        return {
            "added": fooling + config.similarity * similarity,
            "fooling": fooling,
            "similarity": similarity,
        }

    def set_progress(self, progress: float) -> None:
        """Rates, temperature, and the critic's rate for this point of the budget."""
        self.learners[0].set_progress(progress)
        if self._judge:
            self._judge.set_progress(progress)

    def extras(self) -> dict[str, Stateful]:
        """The critics; adapters are the learner's aids."""
        return {"judge": self._judge} if self._judge else {}


def _class_loss(judge: CriticTrainer, logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of the class that the critic reads from an answer."""
    (critic,) = judge.critics
    assert isinstance(critic, LogitCritic)
    return cross_entropy(critic.classify(logits), labels)


def adversarial(
    teacher: Teacher,
    student: nn.Module,
    config: LearnerConfig,
    seed: int,
    scheme: AdversarialConfig,
    runtime: Runtime = SINGLE_PROCESS,
) -> Scheme:
    """The scheme of the form that is asked for."""
    kind = AdversarialImages if scheme.form == "images" else Adversarial
    return kind(teacher, student, config, seed, scheme, runtime)

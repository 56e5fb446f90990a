"""Be Your Own Teacher (Zhang et al., ICCV 2019): heads at a student's depths learn from its end.

One update, top to bottom: ask teacher and student, and every head what it makes of the map at its
depth; the student learns the knowledge; each head learns the teacher's outputs, the student's
own and where the student's last map lies (``SelfConfig.alpha`` and ``beta``). What the heads learn
reaches the layers below them, the student's end takes no gradient from it.
"""

import torch
from torch import Tensor, nn

from dfkd.distillation.learner import Learner, metrics
from dfkd.distillation.learner_config import LearnerConfig
from dfkd.distillation.scheme import Scheme
from dfkd.distillation.schemes.self_config import SelfConfig
from dfkd.losses import feature, response
from dfkd.networks.early_exits import EarlyExits, Head
from dfkd.networks.layers import named_layers, open_features
from dfkd.networks.seeding import seeded
from dfkd.protocols import Batch, Metrics
from dfkd.teacher import Teacher
from dfkd.training.distributed import SINGLE_PROCESS, Runtime

_DEFAULTS = SelfConfig()


class BeYourOwnTeacher(Scheme):
    """The ``Scheme`` ``self`` in the form ``exits``.

    Attributes:
        whole: the live student with its heads.

    Raises:
        DfkdError: a student whose feature maps are all of one size.
    """

    def __init__(
        self,
        teacher: Teacher,
        student: nn.Module,
        config: LearnerConfig,
        seed: int,
        scheme: SelfConfig = _DEFAULTS,
        runtime: Runtime = SINGLE_PROCESS,
    ) -> None:
        self.config = scheme
        with seeded(seed):  # whatever else is drawn is drawn as without heads
            self.whole = EarlyExits(student, teacher.spec.shape, teacher.num_classes)
        learner = Learner(teacher, student, config, seed, runtime, network=self.whole)
        self.learners = (learner,)
        self._layers = named_layers(student)

    def update(self, batch: Batch) -> Metrics:
        """Take one optimiser step of the student and its heads on the sum of their losses."""
        (learner,) = self.learners
        shard, whole, scheme = learner.prepare(batch), self.whole, self.config
        with open_features(self._layers, (*whole.layers, whole.last), "student") as maps:
            outputs = learner.forward(shard)
        parts = learner.losses(outputs)
        reported, losses = metrics(parts, outputs), [learner.weighted(parts)]
        end = maps[whole.last].detach().mean((2, 3)).float()
        for number, (head, layer) in enumerate(zip(whole.heads, whole.layers, strict=True), 1):
            with learner.runtime.autocast():
                assert isinstance(head, Head)
                embedding = head.embedding(maps[layer])
                answer = learner.teacher.student_task.read(head.classifier(embedding))
                logits = answer.logits.float()
            teacher, own = (
                response.kl_divergence(logits, others, temperature=outputs.temperature)
                for others in (outputs.teacher.logits, outputs.answered.logits.detach())
            )
            near = feature.hint(embedding.float(), end)
            loss = (1 - scheme.alpha) * teacher + scheme.alpha * own + scheme.beta * near
            losses.append(loss)
            reported[f"exit_{number}"] = loss.detach()
            reported[f"exit_{number}_agreement"] = _alike(logits, outputs.decisions)
        learner.learn(torch.stack(losses).sum())
        return reported

    def finished(self) -> nn.Module:
        """Return the averaged student: with its heads, or as it came where they are dropped."""
        whole = self._averaged()
        return whole if self.config.exits == "keep" else whole.module

    def networks(self) -> dict[str, nn.Module]:
        """Return the student as far as each exit, whether they are kept or not."""
        return self._averaged().exits()

    def _averaged(self) -> EarlyExits:
        whole = self.learners[0].finished()
        assert isinstance(whole, EarlyExits)
        return whole


def _alike(logits: Tensor, classes: Tensor) -> Tensor:
    return (logits.argmax(1) == classes).float().mean()

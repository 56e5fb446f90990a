"""Deep mutual learning (Zhang et al., CVPR 2018): students teach each other while they learn.

One update, top to bottom: every student outputs the same images, each learns the knowledge and what
the others answer, and no gradient passes from one to another. All of them learn from outputs
given before the step; the paper lets them take turns.

The teacher labels the images. With ``--knowledge hard`` its logits teach nothing where images have
classes of their own (labels that came with them, or what they were made for): the students then
learn from those and from each other alone. It is there all the same: which student is best is
judged by its outputs, and what synthetic images are made for is its word as well.
"""

import torch
from torch import Tensor, nn

from dfkd.distillation.learner import Learner, metrics
from dfkd.distillation.learner_config import LearnerConfig
from dfkd.distillation.scheme import Scheme
from dfkd.distillation.schemes.online_config import OnlineConfig
from dfkd.errors import DfkdError
from dfkd.loading import LoadedModel, load_student_model
from dfkd.loading.exits import without_exits
from dfkd.losses.response import kl_divergence
from dfkd.networks.copying import copy_network
from dfkd.networks.modes import set_learning
from dfkd.networks.seeding import seeded
from dfkd.networks.siblings import redrawn
from dfkd.protocols import Batch, Metrics, Source, Stateful
from dfkd.teacher import Teacher
from dfkd.teacher.layout import settle
from dfkd.training.distributed import SINGLE_PROCESS, Runtime

PAIR = OnlineConfig()

SEED_STRIDE = 10_007
"""Between the seeds of two students: the next number may well be what the first is drawn from, and
twins would never differ."""


class AgreementEMA(nn.Module):
    """How often each student decided as the teacher did, of late and before each step."""

    DECAY = 0.99

    def __init__(self, students: int, device: torch.device) -> None:
        super().__init__()
        self.agreement: Tensor
        self.register_buffer("agreement", torch.zeros(students, device=device))

    @torch.no_grad()
    def update(self, agreement: Tensor) -> None:
        """Mix in one step's shares in [0, 1], one a student."""
        self.agreement.lerp_(agreement, 1 - self.DECAY)


class Online(Scheme):
    """The ``Scheme`` of that name."""

    def __init__(
        self,
        teacher: Teacher,
        student: nn.Module,
        config: LearnerConfig,
        seed: int,
        scheme: OnlineConfig = PAIR,
        runtime: Runtime = SINGLE_PROCESS,
    ) -> None:
        named = _named(teacher, seed, scheme)
        students = [student, *(loaded.network for loaded in named)]
        self._sources = {i: (one.factory, one.keywords) for i, one in enumerate(named, 1)}
        for index in range(len(students), scheme.students):
            # A frozen trunk is the teacher's: new weights are no trunk.
            drawn = copy_network(student)
            set_learning(drawn, True)
            if teacher.device.type != "meta":
                drawn.cpu()  # where a seed gives the same whatever the teacher is on
            students.append(_placed(redrawn(drawn, seed + SEED_STRIDE * index), teacher))
        learners = []
        for index, one in enumerate(students):
            try:
                learners.append(Learner(teacher, one, config, seed + SEED_STRIDE * index, runtime))
            except DfkdError as error:  # --pair may well name layers that a peer has not
                if not 0 < index <= len(scheme.peers):
                    raise
                raise DfkdError(f"peer {index + 1}, {scheme.peers[index - 1]}: {error}") from None
        self.learners = tuple(learners)
        self.config, self._agreement = scheme, AgreementEMA(len(students), teacher.device)

    def update(self, batch: Batch) -> Metrics:
        """Take one optimiser step of every student."""
        first = self.learners[0]
        shard = first.prepare(batch)
        outputs = [first.forward(shard)]
        shard = shard._replace(prediction=outputs[0].teacher.prediction)
        outputs += [learner.forward(shard) for learner in self.learners[1:]]
        logits = [one.answered.logits.detach() for one in outputs]
        reported: Metrics = {}
        agreements = []
        for number, (learner, own) in enumerate(zip(self.learners, outputs, strict=True), 1):
            others = [theirs for other, theirs in enumerate(logits, 1) if other != number]
            mutual = torch.stack(
                [
                    kl_divergence(own.answered.logits, theirs, temperature=self.config.temperature)
                    for theirs in others
                ]
            ).mean()
            parts = learner.losses(own)
            found = metrics(parts, own)
            agreements.append(found["agreement"])
            if learner is first:
                reported = found | {"mutual": mutual.detach()}
            else:
                reported[f"peer_{number}_agreement"] = agreements[-1]
            learner.learn(learner.weighted(parts) + self.config.mutual * mutual)
        # Each process saw its share of the images, and all must name the same student best.
        self._agreement.update(first.runtime.gather(torch.stack(agreements)[None]).mean(0))
        return reported

    def finished(self) -> nn.Module:
        """Return the averaged student that agreed with the teacher most often of late."""
        return self.learners[self._best()].finished()

    def source(self) -> Source | None:
        """Return what builds that one, where it is one of ``peers``."""
        return self._sources.get(self._best())

    def networks(self) -> dict[str, nn.Module]:
        """Return the other students, numbered from 1: the user's own."""
        best = self._best()
        return {
            f"peer {index + 1}": learner.finished()
            for index, learner in enumerate(self.learners)
            if index != best
        }

    def _best(self) -> int:
        own = self.learners[0].student
        agreement = self._agreement.agreement.tolist()
        able = [
            index
            for index, other in enumerate(self.learners)
            if self.config.kept == "best" or _built_alike(own, other.student)
        ]
        return max(able, key=lambda index: float(agreement[index]))  # the first of equals

    def extras(self) -> dict[str, Stateful]:
        """Return the running agreement of each student."""
        return {"agreement": self._agreement}


def _named(teacher: Teacher, seed: int, scheme: OnlineConfig) -> list[LoadedModel]:
    """The students that have a MODEL URI, where the teacher is."""
    found = []
    for index, uri in enumerate(scheme.peers, 1):
        with seeded(seed + SEED_STRIDE * index):
            loaded = without_exits(load_student_model(uri, teacher))
        _placed(loaded.network, teacher)
        found.append(loaded)
    return found


def _placed(network: nn.Module, teacher: Teacher) -> nn.Module:
    settle(network, teacher.spec, teacher.device)
    return network


def _built_alike(first: nn.Module, second: nn.Module) -> bool:
    states = first.state_dict(), second.state_dict()
    shapes = [{name: value.shape for name, value in state.items()} for state in states]
    return repr(first) == repr(second) and shapes[0] == shapes[1]

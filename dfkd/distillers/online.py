"""Deep mutual learning (Zhang et al., CVPR 2018): students teach each other while they learn.

One update, top to bottom: every student answers the same images, each learns the knowledge and what
the others answer, and no gradient passes from one to another. All of them learn from answers
given before the step; the paper lets them take turns.

The teacher labels the images. With ``--knowledge hard`` its logits teach nothing where images have
classes of their own (labels that came with them, or what they were made for): the students then
learn from those and from each other alone. It is there all the same: which student is best is
judged by its answers, and what synthetic images are made for is its word as well.
"""

import copy
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dfkd.errors import DfkdError
from dfkd.learner import Learner, metrics
from dfkd.learner_settings import LearnerConfig
from dfkd.loading import load_student_model
from dfkd.losses.response import kl_divergence
from dfkd.networks import initialise
from dfkd.protocols import Batch, Metrics, Stateful
from dfkd.runtime import ALONE, Runtime
from dfkd.teacher import Teacher

APART = 10_007
"""Between the seeds of two students: the next number may well be what the first is drawn from, and
twins would never differ."""


@dataclass(frozen=True)
class OnlineConfig:
    """How many students there are, and what they think of each other.

    Attributes:
        students: how many, the user's own and all ``peers`` among them; the others are of its
            architecture, their weights drawn from other seeds.
        peers: MODEL URIs of further students, of any architecture.
        mutual: weight of the mean divergence from the other students' answers.
        temperature: of that divergence, which carries its square; the paper has none, which is 1.
    """

    students: int = 2
    peers: tuple[str, ...] = ()
    mutual: float = 1.0
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if self.students < 2:
            raise DfkdError(f"students teach each other: two at least, not {self.students}")
        if self.students <= len(self.peers):
            raise DfkdError(
                f"{len(self.peers)} peers and the student are more than {self.students} students: "
                f"--set arrangement.students={len(self.peers) + 1} or more"
            )
        if not 0 <= self.mutual < math.inf:
            raise DfkdError(f"mutual must be finite and >= 0, not {self.mutual}")
        if not 0 < self.temperature < math.inf:
            raise DfkdError(f"temperature must be positive and finite, not {self.temperature}")


class Standing(nn.Module):
    """How often each student decided as the teacher did, of late and before each step."""

    DECAY = 0.99

    def __init__(self, students: int, device: torch.device) -> None:
        super().__init__()
        self.agreement: Tensor
        self.register_buffer("agreement", torch.zeros(students, device=device))

    @torch.no_grad()
    def note(self, agreement: Tensor) -> None:
        """One step's shares in [0, 1], one a student."""
        self.agreement.lerp_(agreement, 1 - self.DECAY)


class Online:
    """The ``Scheme`` of that name."""

    def __init__(
        self,
        teacher: Teacher,
        student: nn.Module,
        config: LearnerConfig,
        seed: int,
        scheme: OnlineConfig = OnlineConfig(),
        place: Runtime = ALONE,
    ) -> None:
        students = [student, *_named(teacher, seed, scheme)]
        for index in range(len(students), scheme.students):
            # A frozen trunk is the teacher's: new weights are no trunk.
            drawn = copy.deepcopy(student).requires_grad_(True)
            students.append(initialise(drawn, seed + APART * index))
        learners = []
        for index, one in enumerate(students):
            try:
                learners.append(Learner(teacher, one, config, seed + APART * index, place))
            except DfkdError as error:  # --pair may well name layers that a peer has not
                if not 0 < index <= len(scheme.peers):
                    raise
                raise DfkdError(f"peer {index + 1}, {scheme.peers[index - 1]}: {error}") from None
        self.learners: tuple[Learner, ...] = tuple(learners)
        self.scheme, self.standing = scheme, Standing(len(students), teacher.device)

    def update(self, batch: Batch) -> Metrics:
        """One optimiser step of every student."""
        first = self.learners[0]
        lesson = first.receive(batch)
        answers = [first.ask(lesson)]
        lesson = lesson._replace(teacher_logits=answers[0].teacher_logits)
        answers += [learner.ask(lesson) for learner in self.learners[1:]]
        said = [one.student_logits.detach() for one in answers]
        reported: Metrics = {}
        agreements = []
        for number, (learner, own) in enumerate(zip(self.learners, answers, strict=True), 1):
            others = [logits for other, logits in enumerate(said, 1) if other != number]
            apart = torch.stack(
                [
                    kl_divergence(own.student_logits, logits, temperature=self.scheme.temperature)
                    for logits in others
                ]
            ).mean()
            parts = learner.losses(own)
            found = metrics(parts, own)
            agreements.append(found["distillation/agreement"])
            if learner is first:
                reported = found | {"distillation/mutual": apart.detach()}
            else:
                reported[f"distillation/peer_{number}_agreement"] = agreements[-1]
            learner.learn(learner.weighted(parts) + self.scheme.mutual * apart)
        # Each process saw its share of the images, and all must name the same student best.
        self.standing.note(first.place.gather(torch.stack(agreements)[None]).mean(0))
        return reported

    def finished(self) -> nn.Module:
        """The averaged student that agreed with the teacher most often of late.

        Only those of the first one's architecture are in question: the run's artefact says how to
        build that one.
        """
        return self.learners[self._best()].finished()

    def networks(self) -> dict[str, nn.Module]:
        """The other students, numbered from 1: the user's own."""
        best = self._best()
        return {
            f"peer {index + 1}": learner.finished()
            for index, learner in enumerate(self.learners)
            if index != best
        }

    def _best(self) -> int:
        own = self.learners[0].student
        agreement = self.standing.agreement.tolist()
        able = [i for i, other in enumerate(self.learners) if _built_alike(own, other.student)]
        return max(able, key=lambda index: float(agreement[index]))  # the first of equals

    def extras(self) -> dict[str, Stateful]:
        """Who is best so far."""
        return {"standing": self.standing}


def _named(teacher: Teacher, seed: int, scheme: OnlineConfig) -> list[nn.Module]:
    """The students that have a MODEL URI, where the teacher is."""
    networks = []
    for index, uri in enumerate(scheme.peers, 1):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed + APART * index)
            network = load_student_model(uri, teacher).network
        network.to(teacher.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        networks.append(network)
    return networks


def _built_alike(first: nn.Module, second: nn.Module) -> bool:
    states = first.state_dict(), second.state_dict()
    shapes = [{name: value.shape for name, value in state.items()} for state in states]
    return repr(first) == repr(second) and shapes[0] == shapes[1]

"""Born-Again Networks (Furlanello et al., ICML 2018): a student that learns from what it was.

The budget is shared evenly by generations. At a border the averaged student becomes a frozen
predecessor; the student starts anew, and learns the knowledge and its predecessor's outputs. The
first generation has none and is offline distillation.

The paper draws new weights for every generation. Here each begins with those that the run began
with, be they drawn, the user's own or, as ``--init`` has it, the teacher's: no draw would bring
these back.
"""

from typing import Any

import torch
from torch import nn

from dfkd.distillation.learner import Learner, metrics
from dfkd.distillation.learner_config import LearnerConfig
from dfkd.distillation.scheme import Scheme
from dfkd.distillation.schemes.self_config import SelfConfig
from dfkd.losses import response
from dfkd.networks.copying import copy_network
from dfkd.networks.modes import set_learning, set_mode
from dfkd.protocols import Batch, Metrics, Stateful
from dfkd.teacher import Teacher
from dfkd.teacher.forward import student_prediction
from dfkd.training.distributed import SINGLE_PROCESS, Runtime

GENERATIONS = SelfConfig(form="generations")


class Generations:
    """Which generation it is, and those before it.

    Attributes:
        generation: from 0.
        began: where in the budget the first step fell; the rest of it is shared by generations.
        ended: whether the budget is spent, and this generation as good as it will be.
        past: finished students by their generation, frozen, in eval mode.
        start: the student's state when the run began, which every generation begins with.
    """

    def __init__(self, student: nn.Module) -> None:
        self.generation = 0
        self.began: float | None = None
        self.ended = False
        self.past: dict[int, nn.Module] = {}
        self._student = student
        self.start = {name: value.clone() for name, value in student.state_dict().items()}

    def state_dict(self) -> dict[str, Any]:
        """Return everything needed for an exact resume."""
        past = {number: network.state_dict() for number, network in self.past.items()}
        return {
            "generation": self.generation,
            "began": self.began,
            "ended": self.ended,
            "past": past,
            "start": self.start,
        }

    def load_state_dict(self, state_dict: dict[str, Any], /) -> None:
        """Continue from there."""
        self.generation, self.began = state_dict["generation"], state_dict["began"]
        self.ended = state_dict["ended"]
        self.past = {}
        for number, weights in state_dict["past"].items():
            network = copy_network(self._student)
            set_learning(network, False)
            set_mode(network, False)
            network.load_state_dict(weights)
            self.past[number] = network
        for name, value in self.start.items():
            value.copy_(state_dict["start"][name])

    def predecessor(self) -> nn.Module | None:
        """Return the student of the generation before, where there is one."""
        return next(reversed(self.past.values()), None)


class BornAgain(Scheme):
    """The ``Scheme`` ``self`` in the form ``generations``."""

    def __init__(
        self,
        teacher: Teacher,
        student: nn.Module,
        config: LearnerConfig,
        seed: int,
        scheme: SelfConfig = GENERATIONS,
        runtime: Runtime = SINGLE_PROCESS,
    ) -> None:
        self.learners = (Learner(teacher, student, config, seed, runtime),)
        self.config, self.lineage, self._seed = scheme, Generations(student), seed

    def update(self, batch: Batch) -> Metrics:
        """Take one step on the knowledge and, where there is a predecessor, on its outputs."""
        (learner,) = self.learners
        shard = learner.prepare(batch)
        outputs = learner.forward(shard)
        parts = learner.losses(outputs)
        reported, loss = metrics(parts, outputs), learner.weighted(parts)
        if predecessor := self.lineage.predecessor():
            with torch.no_grad(), learner.runtime.autocast():
                former = student_prediction(predecessor, learner.teacher, shard.inputs).logits
            divergence = response.kl_divergence(
                outputs.answered.logits, former, temperature=outputs.temperature
            )
            loss = loss + self.config.predecessor * divergence
            reported["predecessor"] = divergence.detach()
        reported["generation"] = outputs.answered.logits.new_full((), self.lineage.generation + 1)
        learner.learn(loss)
        return reported

    def set_progress(self, progress: float) -> None:
        """Set rates and temperature within the generation; at its border, start the next."""
        lineage, count = self.lineage, self.config.generations
        if lineage.began is None:
            lineage.began = progress
        # Time before the first step went into images: the first generation's schedule has it in, as
        # offline distillation has, and no generation is shorter for it.
        left = 1 - lineage.began
        borders = [0.0, *(1 - left * (count - number) / count for number in range(1, count)), 1.0]
        passed = sum(progress >= border - 1e-9 for border in borders[1:-1])
        lineage.ended = progress >= 1.0
        if passed > lineage.generation and not lineage.ended:
            self._start_next_generation(passed)
        start, end = borders[lineage.generation : lineage.generation + 2]
        self.learners[0].set_progress(min(1.0, max(0.0, progress - start) / (end - start)))

    def _start_next_generation(self, generation: int) -> None:
        """The student of now becomes the past; it begins anew as ``generation``."""
        (learner,) = self.learners
        lineage, seed = self.lineage, self._seed + generation
        lineage.past[lineage.generation] = finished = learner.finished()
        set_learning(finished, False)
        lineage.generation = generation
        learner.student.load_state_dict(lineage.start)
        # A fresh learner has what a beginning has: optimiser, average, adapters; only what was
        # counted is the run's.
        fresh = Learner(learner.teacher, learner.student, learner.config, seed, learner.runtime)
        counted = {name: learner.state_dict()[name] for name in ("class_counts", "teacher_images")}
        learner.load_state_dict(fresh.state_dict() | counted)

    def finished(self) -> nn.Module:
        """Return the student of the last generation that ended; of the first, as it stands.

        Mid-generation that is the previous one's student: the current one is undertrained.
        """
        predecessor = self.lineage.predecessor()
        if predecessor is None or self.lineage.ended:
            return self.learners[0].finished()
        return copy_network(predecessor)

    def networks(self) -> dict[str, nn.Module]:
        """Return the students of the generations before that of ``finished``."""
        past = {f"generation {number + 1}": one for number, one in self.lineage.past.items()}
        return past if self.lineage.ended else dict(list(past.items())[:-1])

    def extras(self) -> dict[str, Stateful]:
        """Return the generations so far."""
        return {"lineage": self.lineage}

"""Born-Again Networks (Furlanello et al., ICML 2018): a student that learns from what it was.

The budget is shared evenly by generations. At a border the averaged student becomes a frozen
predecessor; the student starts anew, and learns the knowledge and its predecessor's answers. The
first generation has none and is offline distillation.
"""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from dfkd.distillers.self_settings import SelfConfig
from dfkd.initialise import is_frozen
from dfkd.learner import Learner, metrics
from dfkd.learner_settings import LearnerConfig
from dfkd.losses import response
from dfkd.networks import initialise
from dfkd.protocols import Batch, Metrics, Stateful
from dfkd.runtime import ALONE, Runtime
from dfkd.teacher import Teacher

GENERATIONS = SelfConfig(form="generations")


class Lineage:
    """Which generation it is, and those before it.

    Attributes:
        generation: from 0.
        began: where in the budget the first step fell; the rest of it is shared by generations.
        past: finished students by their generation, frozen, in eval mode.
        start: the student's weights that no ``reset_parameters`` draws: they go back to this.
    """

    def __init__(self, student: nn.Module) -> None:
        self.generation = 0
        self.began: float | None = None
        self.past: dict[int, nn.Module] = {}
        self._student = student
        self.start = {
            f"{path}.{name}" if path else name: parameter.detach().clone()
            for path, module in student.named_modules()
            if not callable(getattr(module, "reset_parameters", None))
            for name, parameter in module.named_parameters(recurse=False)
            if parameter.requires_grad
        }

    def state_dict(self) -> dict[str, Any]:
        """All of it."""
        past = {number: network.state_dict() for number, network in self.past.items()}
        return {
            "generation": self.generation,
            "began": self.began,
            "past": past,
            "start": self.start,
        }

    def load_state_dict(self, state_dict: dict[str, Any], /) -> None:
        """Continue from there."""
        self.generation, self.began = state_dict["generation"], state_dict["began"]
        self.past = {}
        for number, weights in state_dict["past"].items():
            network = copy.deepcopy(self._student).requires_grad_(False).eval()
            network.load_state_dict(weights)
            self.past[number] = network
        for name, value in self.start.items():
            value.copy_(state_dict["start"][name])


class BornAgain:
    """The ``Scheme`` ``self`` in the form ``generations``."""

    def __init__(
        self,
        teacher: Teacher,
        student: nn.Module,
        config: LearnerConfig,
        seed: int,
        scheme: SelfConfig = GENERATIONS,
        place: Runtime = ALONE,
    ) -> None:
        self.learners: tuple[Learner, ...] = (Learner(teacher, student, config, seed, place),)
        self.scheme, self.lineage, self._seed = scheme, Lineage(student), seed

    def update(self, batch: Batch) -> Metrics:
        """One step on the knowledge and, where there is a predecessor, on its answers."""
        (learner,) = self.learners
        lesson = learner.receive(batch)
        answers = learner.ask(lesson)
        parts = learner.losses(answers)
        reported, loss = metrics(parts, answers), learner.weighted(parts)
        if self.lineage.past:
            *_, predecessor = self.lineage.past.values()
            with torch.no_grad(), learner.place.autocast():
                former = predecessor(learner.teacher.spec.normalize(lesson.images)).float()
            apart = response.kl_divergence(
                answers.student_logits, former, temperature=answers.temperature
            )
            loss = loss + self.scheme.predecessor * apart
            reported["distillation/predecessor"] = apart.detach()
        reported["distillation/generation"] = answers.student_logits.new_full(
            (), self.lineage.generation + 1
        )
        learner.learn(loss)
        return reported

    def set_progress(self, progress: float) -> None:
        """Rates and temperature for this point of the generation; at a border, the next one."""
        lineage, count = self.lineage, self.scheme.generations
        if lineage.began is None:
            lineage.began = progress
        # Time before the first step went into images: the first generation's schedule has it in, as
        # offline distillation has, and no generation is shorter for it.
        left = 1 - lineage.began
        borders = [0.0, *(1 - left * (count - number) / count for number in range(1, count)), 1.0]
        passed = sum(progress >= border - 1e-9 for border in borders[1:-1])
        if passed > lineage.generation:
            self._succeed(passed)
        start, end = borders[lineage.generation : lineage.generation + 2]
        self.learners[0].set_progress(max(0.0, progress - start) / (end - start))

    def _succeed(self, generation: int) -> None:
        """The student of now becomes the past; it begins anew as ``generation``."""
        (learner,) = self.learners
        lineage, seed = self.lineage, self._seed + generation
        lineage.past[lineage.generation] = learner.finished().requires_grad_(False)
        lineage.generation = generation
        _begin_anew(learner.student, seed, lineage.start)
        # A fresh learner has what a beginning has: optimiser, average, adapters; only what was
        # counted is the run's.
        fresh = Learner(learner.teacher, learner.student, learner.config, seed, learner.place)
        counted = {name: learner.state_dict()[name] for name in ("class_counts", "teacher_images")}
        learner.load_state_dict(fresh.state_dict() | counted)

    def finished(self) -> nn.Module:
        """The averaged student of this generation."""
        return self.learners[0].finished()

    def networks(self) -> dict[str, nn.Module]:
        """The students of the generations before."""
        return {f"generation {number + 1}": past for number, past in self.lineage.past.items()}

    def extras(self) -> dict[str, Stateful]:
        """The generations so far."""
        return {"lineage": self.lineage}


@torch.no_grad()
def _begin_anew(student: nn.Module, seed: int, start: dict[str, Tensor]) -> None:
    """Weights from ``seed``, in place; what takes no gradient stays as it is."""
    kept: list[Tensor] = [weight for weight in student.parameters() if not weight.requires_grad]
    for module in filter(is_frozen, student.modules()):
        kept += module.buffers(recurse=False)
    values = [tensor.clone() for tensor in kept]
    initialise(student, seed)
    for tensor, value in zip(kept, values, strict=True):
        tensor.copy_(value)
    for name, value in start.items():
        student.get_parameter(name).copy_(value)

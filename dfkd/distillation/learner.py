"""A student and all that trains it: what it is asked, its optimiser, its average.

Every scheme of ``dfkd.distillation.schemes`` writes its own step from these pieces:

    lesson = learner.receive(batch)          # flipped; this process's share
    answers = learner.ask(lesson)            # both networks, what the knowledge looks at
    parts = learner.losses(answers)          # by name, unweighted
    learner.learn(learner.weighted(parts))   # backward, step, average
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dfkd.distillation.knowledge import KINDS, Answers, Asking, begin, parse
from dfkd.distillation.learner_config import LearnerConfig
from dfkd.distillation.pairing import read_pair
from dfkd.distillation.student_init import is_frozen
from dfkd.networks.copying import copy_network
from dfkd.networks.foreign import TRIAL, calling
from dfkd.networks.modes import set_learning, set_mode
from dfkd.protocols import Batch, Metrics
from dfkd.teacher import Teacher
from dfkd.teacher.layout import layout_of, to_layout
from dfkd.teacher.statistics import statistics_layers
from dfkd.training.augment import flip
from dfkd.training.distributed import SINGLE_PROCESS, Runtime
from dfkd.training.optimizers import follow, make_optimizer


class Learner:
    """One student of a teacher.

    Args:
        teacher: frozen.
        student: trained in place.
        seed: of the flips and of adapters' weights.
        runtime: processes and precision.
        network: what is called, trained and averaged in the student's place: a module that holds
            it and answers alike.
        also: further kinds of knowledge that are looked at, and whose parts learn; what they weigh
            is the scheme's business.

    Attributes:
        student: the live network.
        network: what is called.
        aids: by name, what learns with the student to be thrown away with the run.
    """

    def __init__(
        self,
        teacher: Teacher,
        student: nn.Module,
        config: LearnerConfig,
        seed: int,
        runtime: Runtime = SINGLE_PROCESS,
        also: Sequence[str] = (),
        network: nn.Module | None = None,
    ) -> None:
        self.teacher, self.student, self.config, self.runtime = teacher, student, config, runtime
        self.network = student if network is None else network
        own = {id(parameter) for parameter in student.parameters()}
        beside = [p for p in self.network.parameters() if id(p) not in own]
        self._optimizer = make_optimizer(
            student, config.optimizer, config.lr, config.weight_decay, beside
        )
        runtime.broadcast_module(self.network)
        self._weights = parse(config.knowledge)
        kinds = {name: KINDS[name] for name in (*self._weights, *also)}
        pairs = tuple(read_pair(pair) for pair in config.pairs)
        self._ask = Asking(
            teacher,
            student,
            self.network,
            kinds.values(),
            config.temperature,
            pairs,
            runtime.autocast,
        )
        self._losses, self.aids = begin(kinds, self._ask.example, seed)
        self.aids.to(teacher.device)
        # Muon is for hidden layers, and what aids learn is thrown away: theirs are all ends.
        kind = "sgd" if config.optimizer == "sgd" else "adamw"
        self._aids_optimizer = (
            make_optimizer(self.aids, kind, config.lr, config.weight_decay)
            if len(self.aids)
            else None
        )
        self._average = copy_network(self.network) if config.ema else None
        if self._average is not None:
            set_learning(self._average, False)
        self._generator = torch.Generator().manual_seed(seed)
        # Layers that take no gradient keep their running statistics as well; with care all do.
        kept = statistics_layers(student).values() if config.careful else ()
        self._resting = (*filter(is_frozen, student.modules()), *kept)
        self._counts = torch.zeros(teacher.num_classes, dtype=torch.int64, device=teacher.device)
        self._shown: tuple[int, ...] = (TRIAL, *teacher.spec.shape)
        self.teacher_images = 0
        self.steps = 0

    @property
    def pairs(self) -> tuple[str, ...]:
        """The layers that are compared, as ``teacher.LAYER=student.LAYER``."""
        return tuple(f"teacher.{theirs}=student.{mine}" for mine, theirs in self._ask.compared)

    def set_progress(self, progress: float) -> None:
        """Rates and temperature for this point of the budget."""
        for optimizer in filter(None, (self._optimizer, self._aids_optimizer)):
            for group in optimizer.param_groups:
                group["lr"] = self.config.rate(progress)
        self._ask.temperature = self.config.temperature_at(progress)

    def receive(self, batch: Batch) -> Batch:
        """This process's share, flipped; every process flips the whole batch alike."""
        # A mirror image is one that the teacher is taken to answer alike: cached answers stand.
        images = flip(batch.images, self.config.flip or 0.0, self._generator)
        if batch.mirrorable is not None:
            images = torch.where(batch.mirrorable.view(-1, 1, 1, 1), images, batch.images)
        part = slice(self.runtime.rank, None, self.runtime.world_size)
        images = to_layout(images[part], layout_of(self.student))
        self._shown = images.shape
        known = (None if value is None else value[part] for value in batch[1:3])
        return Batch(images, *known)

    def ask(self, lesson: Batch) -> Answers:
        """Student (in training mode) and teacher about the images of ``lesson``."""
        self.network.train()
        for module in self._resting:
            module.eval()
        asked = self._ask.asks_teacher(lesson.teacher_logits)
        self.teacher_images += self.runtime.world_size * len(lesson.images) * asked
        answers = self._ask(*lesson[:3])
        classes = self.runtime.gather(answers.classes)
        self._counts.index_add_(0, classes, torch.ones_like(classes))
        return answers

    def losses(self, answers: Answers) -> dict[str, Tensor]:
        """The terms of the knowledge by name, without their weights."""
        related = [KINDS[name] for name in self._weights if KINDS[name].relation]
        features = any(kind.features for kind in related)
        whole = (
            answers.of_all(self.runtime.all_gather_with_grad, features=features)
            if related
            else answers
        )
        return {
            name: self._losses[name](whole if KINDS[name].relation else answers)
            for name in self._weights
        }

    def weighted(self, parts: dict[str, Tensor]) -> Tensor:
        """Their weighted sum."""
        return torch.stack([self._weights[name] * value for name, value in parts.items()]).sum()

    def learn(self, loss: Tensor) -> None:
        """One optimiser step, and the averaged student follows."""
        self._optimizer.zero_grad(set_to_none=True)
        if self._aids_optimizer:
            self._aids_optimizer.zero_grad(set_to_none=True)
        with calling("the student", self._shown, known=TRIAL):
            loss.backward()  # type: ignore[no-untyped-call]
        self.runtime.all_reduce_gradients(self.network)
        self._optimizer.step()
        if self._aids_optimizer:
            self.runtime.all_reduce_gradients(self.aids)
            self._aids_optimizer.step()
        self.steps += 1
        if self._average is not None:
            follow(self._average, self.network, self.config.ema, self.steps)

    def class_counts(self) -> list[int]:
        """How often the teacher answered each class so far, to the images of all processes."""
        return [int(count) for count in self._counts.tolist()]

    def finished(self) -> nn.Module:
        """What is trained, averaged (or live where no average is kept): a copy in eval mode."""
        finished = copy_network(self.network if self._average is None else self._average)
        set_mode(finished, False)
        return finished

    def state_dict(self) -> dict[str, Any]:
        """Student, average, optimisers, adapters, generator and counters."""
        return {
            "student": self.network.state_dict(),
            "average": None if self._average is None else self._average.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "aids": self.aids.state_dict(),
            "aids_optimizer": self._aids_optimizer.state_dict() if self._aids_optimizer else None,
            "generator": self._generator.get_state(),
            "class_counts": self._counts,
            "teacher_images": self.teacher_images,
            "steps": self.steps,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue exactly where ``state_dict`` was taken."""
        self.network.load_state_dict(state["student"])
        if self._average is not None:
            self._average.load_state_dict(state["average"])
        self._optimizer.load_state_dict(state["optimizer"])
        self.aids.load_state_dict(state["aids"])
        if self._aids_optimizer:
            self._aids_optimizer.load_state_dict(state["aids_optimizer"])
        self._generator.set_state(state["generator"])
        self._counts.copy_(state["class_counts"])
        self.teacher_images, self.steps = state["teacher_images"], state["steps"]


def metrics(parts: dict[str, Tensor], answers: Answers) -> Metrics:
    """What a step reports: its terms by name, and how often student and teacher decide alike."""
    decided = answers.student_logits.argmax(1)
    return {
        **{f"distillation/{name}": value.detach() for name, value in parts.items()},
        "distillation/agreement": (decided == answers.classes).float().mean(),
    }

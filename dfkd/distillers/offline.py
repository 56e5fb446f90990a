"""Offline distillation: a frozen teacher, a student that imitates its answers.

One update, top to bottom: flip the images, ask the teacher (or its cached
answers), ask the student, add up what is to be transferred (``dfkd.knowledge``; softened
distributions, Hinton et al., 2015, where nothing else is said), step, average the weights.
"""

import copy
import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dfkd.answers import Asking
from dfkd.augment import flip
from dfkd.knowledge import KINDS, parse
from dfkd.optimizers import make_optimizer
from dfkd.protocols import Batch, Metrics
from dfkd.teacher import Teacher


@dataclass(frozen=True)
class OfflineConfig:
    """How the student learns.

    Attributes:
        lr: peak learning rate; a cosine from it to 0 spans the budget, whatever its unit.
        warmup: fraction of the budget in which the rate rises from 0.
        optimizer, weight_decay: see ``dfkd.optimizers``.
        knowledge: a weighted sum of what is transferred, such as ``kd + 250*at``.
        temperature: softens both distributions; the loss carries T^2.
        ema: decay of the averaged student that is kept; 0 keeps the live one.
        flip: probability of a mirror image, where mirror images keep the meaning.
    """

    lr: float = 0.01
    warmup: float = 0.03
    optimizer: str = "muon"
    weight_decay: float = 5e-4
    knowledge: str = "kd"
    temperature: float = 4.0
    ema: float = 0.995
    flip: float = 0.5

    def __post_init__(self) -> None:
        parse(self.knowledge)


class Offline:
    """The ``Distiller`` of that recipe.

    Args:
        network: what is trained; under several processes Fabric's wrapper of ``student``.
        optimizer: over the parameters of ``network`` (``make_optimizer``).
        backward: how a loss is differentiated; Fabric's under several processes.
        autocast: context in which both forward passes run.
        rank, world_size: of several processes that receive the same batch, this one
            learns from every ``world_size``-th image.
    """

    def __init__(
        self,
        teacher: Teacher,
        student: nn.Module,
        config: OfflineConfig,
        seed: int,
        *,
        network: nn.Module | None = None,
        optimizer: torch.optim.Optimizer | None = None,
        backward: Callable[[Tensor], None] = torch.Tensor.backward,
        autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.teacher, self.config = teacher, config
        self._student = student
        self._network = student if network is None else network
        self._optimizer = optimizer or make_optimizer(
            student, config.optimizer, config.lr, config.weight_decay
        )
        self._backward, self._weights = backward, parse(config.knowledge)
        self._ask = Asking(
            teacher,
            student,
            self._network,
            [KINDS[name] for name in self._weights],
            config.temperature,
            autocast,
        )
        self._average = copy.deepcopy(student).requires_grad_(False) if config.ema else None
        self._generator = torch.Generator().manual_seed(seed)
        # Layers that take no gradient keep their running statistics as well.
        self._resting = tuple(module for module in student.modules() if _is_frozen(module))
        self._part = slice(rank, None, world_size)
        self._counts = torch.zeros(teacher.num_classes, dtype=torch.int64, device=teacher.device)
        self._teacher_images = 0
        self._steps = 0

    @property
    def student(self) -> nn.Module:
        """The network that is being trained (live)."""
        return self._student

    @property
    def teacher_images(self) -> int:
        """Images shown to the teacher for want of cached answers."""
        return self._teacher_images

    def set_progress(self, progress: float) -> None:
        """Learning rate for this point of the budget: linear warm-up, then half a cosine."""
        rise = min(1.0, progress / self.config.warmup) if self.config.warmup else 1.0
        fall = 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
        for group in self._optimizer.param_groups:
            group["lr"] = self.config.lr * rise * fall

    def update(self, batch: Batch) -> Metrics:
        """One optimiser step on the weighted sum of ``knowledge``."""
        self._network.train()
        for module in self._resting:
            module.eval()
        # Every process flips the whole batch alike, so that its share is that of one process.
        images = flip(batch.images, self.config.flip, self._generator)[self._part]
        images = images.contiguous(memory_format=torch.channels_last)
        # A mirror image is one that the teacher is taken to answer alike: cached answers stand.
        cached = None if batch.teacher_logits is None else batch.teacher_logits[self._part]
        self._teacher_images += len(images) * self._ask.asks_teacher(cached)
        answers = self._ask(images, cached)
        parts = {name: KINDS[name].loss(answers) for name in self._weights}
        loss = torch.stack([self._weights[name] * value for name, value in parts.items()]).sum()
        self._optimizer.zero_grad(set_to_none=True)
        self._backward(loss)
        self._optimizer.step()
        self._steps += 1
        self._follow()
        self._counts.index_add_(0, answers.classes, torch.ones_like(answers.classes))
        decided = answers.student_logits.argmax(1)
        return {
            **{f"distillation/{name}": value.detach() for name, value in parts.items()},
            "distillation/agreement": (decided == answers.classes).float().mean(),
        }

    @torch.no_grad()
    def _follow(self) -> None:
        """Move the averaged student; younger runs average over fewer steps."""
        if self._average is None:
            return
        weight = 1 - min(self.config.ema, (1 + self._steps) / (10 + self._steps))
        average = [v for v in self._average.state_dict().values() if v.is_floating_point()]
        current = [v for v in self._student.state_dict().values() if v.is_floating_point()]
        torch._foreach_lerp_(average, current, weight)

    def class_counts(self) -> list[int]:
        """How often the teacher answered each class so far: even is healthy, one is collapse."""
        return [int(count) for count in self._counts.tolist()]

    def finished(self) -> nn.Module:
        """The averaged student (or the live one where none is kept), a copy in eval mode."""
        return copy.deepcopy(self._student if self._average is None else self._average).eval()

    def state_dict(self) -> dict[str, Any]:
        """Student, average, optimiser, generator and counters."""
        return {
            "student": self._student.state_dict(),
            "average": self._average.state_dict() if self._average else None,
            "optimizer": self._optimizer.state_dict(),
            "generator": self._generator.get_state(),
            "class_counts": self._counts,
            "teacher_images": self._teacher_images,
            "steps": self._steps,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue exactly where ``state_dict`` was taken."""
        self._student.load_state_dict(state["student"])
        if self._average is not None:
            self._average.load_state_dict(state["average"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._generator.set_state(state["generator"])
        self._counts.copy_(state["class_counts"])
        self._teacher_images, self._steps = state["teacher_images"], state["steps"]


def _is_frozen(module: nn.Module) -> bool:
    own = list(module.parameters(recurse=False))
    return bool(own) and not any(parameter.requires_grad for parameter in own)

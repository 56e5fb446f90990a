"""The default: drawings that the teacher's memory has corrected.

Drawn images cost almost nothing, but no teacher was trained on them. Its answers and
its memory make them useful. One update, top to bottom:

1. *Draw* images at random, ask the teacher, keep both. It sees few classes in
   most of them: everything that follows draws from the rare ones as often as from
   the frequent ones.
2. *Correct*: take some of the drawings and move their pixels a few steps down the
   distance between their statistics and those that the teacher remembers, and
   towards whatever the student does not know yet (``competition``, the JS term of
   Adaptive DeepInversion). The pull towards a class (``cross_entropy``) stays faint:
   at weight 1 it drowns the statistics and costs the student five points of accuracy.

The student's batch is half drawings and half corrected ones, with cached answers.
"""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dfkd.bank import ImageBank, dequantize, quantize
from dfkd.errors import DfkdError
from dfkd.losses.adversarial import js_competition
from dfkd.losses.response import cross_entropy
from dfkd.losses.statistics import scale_free_distance
from dfkd.objective import Evidence, Objective, Term
from dfkd.protocols import Batch, Metrics
from dfkd.teacher import Teacher
from dfkd.watching import watching
from generators.procedural import draw

BANK_BYTES = 1 << 29
"""Most that the images of one bank may take: large images make small banks."""


@dataclass(frozen=True)
class DefaultConfig:
    """How images are drawn and corrected.

    Attributes:
        draws: images drawn in one update.
        drawn: False is the ablation that corrects grey noise instead, and shows the
            student nothing else.
        refine_batch, refine_steps: images corrected in one update, and by how many
            steps of Adam (betas 0.5 and 0.9); 0 steps correct nothing.
        refine_lr: their rate, in units of [0, 1] intensity.
        statistics, competition, cross_entropy: weights of the three terms; 0 leaves one out.
        refined_share: share of the student's batch that was corrected.
        capacity: images of either kind that are kept, the latest ones.
    """

    draws: int = 1024
    drawn: bool = True
    refine_batch: int = 256
    refine_steps: int = 5
    refine_lr: float = 0.03
    statistics: float = 1.0
    competition: float = 0.1
    cross_entropy: float = 0.01
    refined_share: float = 0.5
    capacity: int = 60_000

    def __post_init__(self) -> None:
        if self.draws < 1 or self.capacity < 1 or self.refine_batch < 2:
            raise DfkdError("draws and capacity must be >= 1 and refine_batch >= 2")
        if self.refine_steps < 0 or self.refine_lr <= 0:
            raise DfkdError("refine_steps must be >= 0 and refine_lr positive")
        if not 0 <= self.refined_share <= 1:
            raise DfkdError(f"refined_share must be in [0, 1], not {self.refined_share}")
        if not self.drawn and not self.refine_steps:
            raise DfkdError("without drawings and without refinement there is nothing to see")


class Default:
    """The ``Synthesizer``. A teacher without statistics gets drawings, uncorrected.

    Args:
        seed: of the drawings and of what is taken from the banks.
        autocast: context of the teacher's forward passes; statistics are float32.
    """

    def __init__(
        self,
        teacher: Teacher,
        config: DefaultConfig,
        seed: int,
        *,
        autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> None:
        self.teacher, self.config, self._autocast = teacher, config, autocast
        self._corrects = bool(teacher.layers) and config.refine_steps > 0
        self._generator = torch.Generator().manual_seed(seed)
        capacity = min(
            config.capacity, max(config.refine_batch, BANK_BYTES // math.prod(teacher.spec.shape))
        )
        self.drawings, self.refined = (
            ImageBank(capacity, teacher.spec, teacher.num_classes, seed + i, teacher.device)
            for i in range(2)
        )
        self.objective: Objective = (
            config.statistics
            * Term("statistics", lambda e: scale_free_distance(e.trace.statistics))
            + config.cross_entropy
            * Term("cross_entropy", lambda e: cross_entropy(e.trace.logits.float(), e.targets))
            + config.competition
            * Term(
                "competition",
                lambda e: 1 - js_competition(e.require_student(), e.trace.logits.float()),
            )
        )
        self._images_made = self._teacher_images = 0

    def update(self, student: nn.Module) -> Metrics:
        """Draw some images and correct some of all those drawn."""
        if self.config.drawn:
            self._keep(self.drawings, self._draw(self.config.draws))
        if not self._corrects:
            return {}
        if self.config.drawn:
            start = self.drawings.sample(self.config.refine_batch, balanced=True)
            assert start.targets is not None
            return self._refine(start.images, start.targets, student)
        return self._refine(*self._noise(self.config.refine_batch), student)

    def _refine(self, images: Tensor, targets: Tensor, student: nn.Module) -> Metrics:
        """A few steps down the objective, under the eyes of the student; the result is kept."""
        pixels = images.contiguous(memory_format=torch.channels_last).requires_grad_()
        optimizer = torch.optim.Adam([pixels], self.config.refine_lr, betas=(0.5, 0.9))
        components: Metrics = {}
        with watching(student):
            for _ in range(self.config.refine_steps):
                with self._autocast():
                    trace = self.teacher.trace(pixels, statistics=True)
                    student_logits = self._student_logits(student, pixels)
                loss, components = self.objective(Evidence(pixels, targets, trace, student_logits))
                optimizer.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                with torch.no_grad():
                    pixels.clamp_(0, 1)
        self._teacher_images += len(pixels) * self.config.refine_steps
        self._keep(self.refined, pixels.detach())
        return {f"synthesis/{name}": value for name, value in components.items()}

    def _student_logits(self, student: nn.Module, pixels: Tensor) -> Tensor | None:
        if not self.config.competition:
            return None
        logits: Tensor = student(self.teacher.spec.normalize(pixels))
        return logits.float()

    @torch.no_grad()
    def _keep(self, bank: ImageBank, images: Tensor) -> None:
        """Store images with the teacher's answers to them, as stored."""
        for part in torch.split(quantize(images), self.config.refine_batch):
            with self._autocast():
                teacher_logits = self.teacher(dequantize(part)).float()
            bank.add(part, teacher_logits, teacher_logits.argmax(1))
            self._teacher_images += len(part)

    def sample(self, count: int) -> Batch:
        """Drawn and corrected images, every class as often as the others, answers cached."""
        config = self.config
        refined = round(count * (config.refined_share if config.drawn else 1.0))
        sources = [(self.refined, refined if len(self.refined) else 0)]
        sources.append((self.drawings, count - sources[0][1] if len(self.drawings) else 0))
        batches = [bank.sample(number, balanced=True) for bank, number in sources if number]
        if not batches:
            return Batch(self._draw(count))
        return Batch(*(torch.cat(column) for column in zip(*batches, strict=True)))

    def _draw(self, count: int) -> Tensor:
        self._images_made += count
        return draw(count, self.teacher.spec.shape, self._generator, device=self.teacher.device)

    def _noise(self, count: int) -> tuple[Tensor, Tensor]:
        """Grey noise with targets that take the classes in turn."""
        self._images_made += count
        device, shape = self.teacher.device, (count, *self.teacher.spec.shape)
        noise = torch.rand(shape, generator=self._generator, device=device)
        return noise, torch.arange(count, device=device) % self.teacher.num_classes

    @property
    def images_made(self) -> int:
        """Images drawn so far; a corrected one is not counted again."""
        return self._images_made

    @property
    def teacher_images(self) -> int:
        """Images shown to the teacher so far."""
        return self._teacher_images

    def state_dict(self) -> dict[str, Any]:
        """Both banks, generator and counters."""
        return {
            "drawings": self.drawings.state_dict(),
            "refined": self.refined.state_dict(),
            "generator": self._generator.get_state(),
            "counters": (self._images_made, self._teacher_images),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state_dict``."""
        self.drawings.load_state_dict(state["drawings"])
        self.refined.load_state_dict(state["refined"])
        self._generator.set_state(state["generator"])
        self._images_made, self._teacher_images = state["counters"]

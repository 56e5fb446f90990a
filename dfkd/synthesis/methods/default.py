"""The default: drawings that the teacher's memory has corrected.

Drawn images cost almost nothing, but no teacher was trained on them. Its answers and
its memory make them useful. One update, top to bottom:

1. *Draw* images at random, ask the teacher, keep both. It sees few classes in
   most of them: everything that follows draws from the rare ones as often as from
   the frequent ones. Silhouettes stand on black, or on grounds of all tones and textures:
   the first update tries both, and the teacher's memory decides.
2. *Correct*: take some of the drawings and move their pixels some steps (few at first, more as
   the run goes on) down the distance between their statistics and those that the teacher
   remembers, and towards whatever the student does not know yet (``competition``, the JS
   term of Adaptive DeepInversion). The pull towards a class (``cross_entropy``) stays faint:
   at weight 1 it drowns the statistics and costs the student five points of accuracy.

The student's batch is half drawings and half corrected ones, with cached answers.
"""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from dfkd.losses.statistics import scale_free_distance
from dfkd.protocols import Batch, Metrics
from dfkd.synthesis import terms
from dfkd.synthesis.bank import ImageBank, dequantize, quantize
from dfkd.synthesis.methods.default_config import STYLES, DefaultConfig
from dfkd.synthesis.objective import Evidence, Term
from dfkd.synthesis.steps import forward_pair
from dfkd.teacher import Teacher
from dfkd.teacher.layout import layout_of, to_layout
from generators.procedural import draw

__all__ = ["Default", "DefaultConfig"]

BANK_BYTES = 1 << 29
"""Most that the images of one bank may take: large images make small banks."""


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
        self.objective = (
            Term("statistics", lambda e: scale_free_distance(e.trace.statistics), config.statistics)
            + Term("competition", terms.competition, config.competition)
            + config.cross_entropy * Term("cross_entropy", terms.cross_entropy)
        )
        self._style: Tensor | None = None  # an index into STYLES, () int64, once they were tried
        self._updates = self._images_made = self._teacher_images = 0

    def update(self, student: nn.Module) -> Metrics:
        """Draw some images and correct some of all those drawn."""
        self._updates += 1
        if self.config.drawn:
            count = self.config.draws
            first = self._style is None and self._corrects
            self._keep(self.drawings, self._try_styles(count) if first else self._draw(count))
        if not self._corrects:
            return {}
        if self.config.drawn:
            start = self.drawings.sample(self.config.refine_batch, balanced=True)
            assert start.targets is not None
            return self._refine(start.images, start.targets, student)
        return self._refine(*self._noise(self.config.refine_batch), student)

    @torch.no_grad()
    def _try_styles(self, count: int) -> Tensor:
        """``count`` drawings of every style; those whose statistics, the classes balanced as the
        student will see them, are the nearest to the stored ones are handed on.
        """
        tried, distances = [], []
        for index in range(len(STYLES)):
            self._style = torch.full((), index, device=self.teacher.device)
            tried.append(self._draw(count))
            bank = ImageBank(
                count, self.teacher.spec, self.teacher.num_classes, 0, tried[-1].device
            )
            self._keep(bank, tried[-1])
            images = bank.sample(self.config.refine_batch, balanced=True).images
            with self._autocast():
                trace = self.teacher.trace(images, statistics=True)
            distances.append(scale_free_distance(trace.statistics))
            self._teacher_images += len(images)
        self._style = torch.stack(distances).argmin()
        # An index that stays on its device: no value is read back.
        return torch.stack(tried).index_select(0, self._style.view(1))[0]

    def _refine(self, images: Tensor, targets: Tensor, student: nn.Module) -> Metrics:
        """Some steps down the objective, under the eyes of the student; the result is kept."""
        pixels = to_layout(images, layout_of(self.teacher.network)).requires_grad_()
        optimizer = torch.optim.Adam([pixels], self.config.refine_lr, betas=(0.5, 0.9))
        components: Metrics = {}
        steps = self.config.steps_at(self._updates)
        for _ in range(steps):
            trace, student_logits = forward_pair(
                self.teacher, pixels, student if self.config.competition else None,
                autocast=self._autocast, statistics=True,
            )  # fmt: skip
            loss, components = self.objective(Evidence(pixels, targets, trace, student_logits))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            with torch.no_grad():
                pixels.clamp_(0, 1)
        self._teacher_images += len(pixels) * steps
        self._keep(self.refined, pixels.detach())
        return {f"synthesis/{name}": value for name, value in components.items()}

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
        columns = zip(*(batch[:3] for batch in batches), strict=True)
        whole = Batch(*(torch.cat(column) for column in columns))
        if len(batches) == 1:
            return whole
        # What a mirror image changes was asked of corrected images: drawings are no memory.
        corrected = torch.arange(count, device=whole.images.device) < sources[0][1]
        return whole._replace(mirrorable=corrected)

    def _draw(self, count: int) -> Tensor:
        self._images_made += count
        spec, device = self.teacher.spec, self.teacher.device
        choice = None if self._style is None else self._style.expand(count)
        styles = STYLES[:1] if choice is None else STYLES
        return draw(count, spec.shape, self._generator, styles, device, choice)

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
        """Both banks, generator, style and counters."""
        return {
            "drawings": self.drawings.state_dict(),
            "refined": self.refined.state_dict(),
            "generator": self._generator.get_state(),
            "style": self._style,
            "counters": (self._updates, self._images_made, self._teacher_images),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state_dict``."""
        self.drawings.load_state_dict(state["drawings"])
        self.refined.load_state_dict(state["refined"])
        self._generator.set_state(state["generator"])
        style = state["style"]
        self._style = None if style is None else style.to(self.teacher.device)
        self._updates, self._images_made, self._teacher_images = state["counters"]

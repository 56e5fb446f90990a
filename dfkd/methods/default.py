"""The default: drawings that the teacher's memory has corrected.

Drawn images cost almost nothing and never repeat, but no teacher was trained on
them. Two things it remembers make them useful:

1. *Which way of drawing?* The first ``generations`` updates search the ``Style``
   whose drawings have statistics nearest to the stored ones (``dfkd.styles``).
2. *What is still missing?* Every later update takes drawings, chosen so that each
   class has its share, and moves their pixels a few steps down the distance of their
   statistics plus the cross-entropy with their class. These go into a bank.

The student's batch mixes banked images with fresh drawings.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dfkd.bank import ImageBank, quantize
from dfkd.errors import DfkdError
from dfkd.losses.response import cross_entropy
from dfkd.losses.statistics import scale_free_distance
from dfkd.objective import Evidence, Objective, Term
from dfkd.protocols import Batch, Metrics
from dfkd.styles import StyleSearch
from dfkd.teacher import Teacher
from generators.procedural import Style, draw


@dataclass(frozen=True)
class DefaultConfig:
    """How drawings are chosen and corrected.

    Attributes:
        generations: updates that search a style; 0 keeps the plain ``Style()``.
        population, style_images, elites: styles tried a generation, drawings by which
            each is judged, styles kept and drawn from.
        refine_steps: pixel steps (Adam, betas 0.5 and 0.9) an image gets; 0 refines nothing.
        refine_lr: their rate, in units of [0, 1] intensity.
        refine_batch: images refined in one update.
        choice: drawings from which each of them is chosen.
        statistics, cross_entropy: weights of the two terms.
        refined_share: share of the student's batch that comes from the bank.
        drawn: whether the rest are drawings; False is the ablation that starts from
            grey noise and shows the student nothing but banked images.
        capacity: images that the bank holds.
    """

    generations: int = 6
    population: int = 16
    style_images: int = 128
    elites: int = 6
    refine_steps: int = 10
    refine_lr: float = 0.02
    refine_batch: int = 256
    choice: int = 4
    statistics: float = 1.0
    cross_entropy: float = 1.0
    refined_share: float = 0.5
    drawn: bool = True
    capacity: int = 20_000

    def __post_init__(self) -> None:
        if self.generations < 0 or not 1 <= self.elites <= self.population:
            raise DfkdError("generations must be >= 0 and 1 <= elites <= population")
        if self.refine_steps < 0 or min(self.refine_batch, self.style_images) < 2:
            raise DfkdError("refine_steps must be >= 0, refine_batch and style_images >= 2")
        if self.choice < 1 or self.capacity < 1 or self.refine_lr <= 0:
            raise DfkdError("choice and capacity must be >= 1 and refine_lr positive")
        if not 0 <= self.refined_share <= 1:
            raise DfkdError(f"refined_share must be in [0, 1], not {self.refined_share}")
        if not self.drawn and not self.refine_steps:
            raise DfkdError("without drawings and without refinement there is nothing to see")


class Default:
    """The ``Synthesizer``. A teacher without statistics gets plain drawings, uncorrected.

    Args:
        seed: of the search, the drawings and the bank.
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
        self._remembers = bool(teacher.layers)
        self.search = StyleSearch(config.population, config.elites, seed)
        self._generator = torch.Generator(teacher.device).manual_seed(seed)
        self.bank = ImageBank(
            config.capacity, teacher.spec, teacher.num_classes, seed, teacher.device
        )
        self.objective: Objective = config.statistics * Term(
            "statistics", lambda e: scale_free_distance(e.trace.statistics)
        ) + config.cross_entropy * Term(
            "cross_entropy", lambda e: cross_entropy(e.trace.logits.float(), e.targets)
        )
        self._updates = self._images_made = self._teacher_images = 0

    def update(self, student: nn.Module) -> Metrics:
        """One generation of the style search, or one batch of refined drawings."""
        if not self._remembers:
            return {}
        self._updates += 1
        if self.config.drawn and self._updates <= self.config.generations:
            self.search.advance(self._style_distance)
            return {"synthesis/style_distance": torch.tensor(self.search.distances[0])}
        if not self.config.refine_steps:
            return {}
        return self._refine(*self._choose())

    @torch.no_grad()
    def _style_distance(self, style: Style) -> float:
        images = self._draw(self.config.style_images, (style,))
        self._teacher_images += len(images)
        with self._autocast():
            trace = self.teacher.trace(images, statistics=True)
        return float(scale_free_distance(trace.statistics))

    @torch.no_grad()
    def _choose(self) -> tuple[Tensor, Tensor]:
        """Start images and targets: for every class in turn, the drawings most like it."""
        count, classes = self.config.refine_batch, self.teacher.num_classes
        if not self.config.drawn:
            noise = torch.rand(
                (count, *self.teacher.spec.shape),
                generator=self._generator,
                device=self.teacher.device,
            )
            return noise, torch.arange(count, device=noise.device) % classes
        pool = self._draw(self.config.choice * count, self.search.styles)
        self._teacher_images += len(pool)
        with self._autocast():
            probabilities = self.teacher(pool).float().softmax(1)
        each = -(-count // classes)
        chosen = probabilities.topk(min(each, len(pool)), dim=0).indices  # each x classes
        targets = torch.arange(classes, device=pool.device).expand_as(chosen)
        # Class by class within a rank: a batch smaller than the classes still has many.
        kept = slice(0, count)
        return pool[chosen.flatten()[kept]], targets.flatten()[kept]

    def _refine(self, images: Tensor, targets: Tensor) -> Metrics:
        """A few steps down the objective, from the drawings; the result goes into the bank."""
        pixels = images.contiguous(memory_format=torch.channels_last).requires_grad_()
        optimizer = torch.optim.Adam([pixels], self.config.refine_lr, betas=(0.5, 0.9))
        components: Metrics = {}
        for _ in range(self.config.refine_steps):
            with self._autocast():
                trace = self.teacher.trace(pixels, statistics=True)
            loss, components = self.objective(Evidence(pixels, targets, trace))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            with torch.no_grad():
                pixels.clamp_(0, 1)
        stored = quantize(pixels)
        with torch.no_grad(), self._autocast():
            teacher_logits = self.teacher(stored.float().div(255))
        self.bank.add(stored, teacher_logits.float(), targets)
        self._teacher_images += len(pixels) * (self.config.refine_steps + 1)
        return {f"synthesis/{name}": value for name, value in components.items()}

    def sample(self, count: int) -> Batch:
        """Banked and freshly drawn images, with the teacher's answers to both."""
        config = self.config
        share = config.refined_share if config.drawn else 1.0
        banked = round(share * count) if len(self.bank) else 0
        if not banked:
            return Batch(self._draw(count, self.search.styles))
        kept = self.bank.sample(banked)
        if banked == count:
            return kept
        fresh = self._draw(count - banked, self.search.styles)
        self._teacher_images += len(fresh)
        with torch.no_grad(), self._autocast():
            answers = self.teacher(fresh).float()
        assert kept.teacher_logits is not None
        return Batch(
            torch.cat([kept.images, fresh]), torch.cat([kept.teacher_logits.float(), answers])
        )

    def _draw(self, count: int, styles: tuple[Style, ...]) -> Tensor:
        self._images_made += count
        shape, device = self.teacher.spec.shape, self.teacher.device
        return draw(count, shape, self._generator, styles, device)

    @property
    def images_made(self) -> int:
        """Drawings so far, those of the search and the choice included."""
        return self._images_made

    @property
    def teacher_images(self) -> int:
        """Images shown to the teacher so far."""
        return self._teacher_images

    def state_dict(self) -> dict[str, Any]:
        """Search, bank, generator and counters."""
        return {
            "search": self.search.state_dict(),
            "bank": self.bank.state_dict(),
            "generator": self._generator.get_state(),
            "counters": (self._updates, self._images_made, self._teacher_images),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state_dict``."""
        self.search.load_state_dict(state["search"])
        self.bank.load_state_dict(state["bank"])
        self._generator.set_state(state["generator"])
        self._updates, self._images_made, self._teacher_images = state["counters"]

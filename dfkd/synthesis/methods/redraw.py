"""ReDraw, the default: drawings that the teacher's memory has redrawn.

Drawn images cost almost nothing, but no teacher was trained on them. Its answers and
its memory make them useful. One update, top to bottom:

1. *Draw* images at random, ask the teacher, keep both. It sees few classes in
   most of them: everything that follows draws from the rare ones as often as from
   the frequent ones. Silhouettes stand on black, or on grounds of all tones and textures,
   or all is strokes: the first update tries each style, and the teacher decides.
2. *Correct*: take some of the drawings and move their pixels some steps (few at first, more as
   the run goes on) down the distance between their statistics and those that the teacher
   remembers, and towards whatever the student does not know yet (``competition``, the JS
   term of Adaptive DeepInversion). The pull towards a class (``cross_entropy``) stays faint:
   at weight 1 it drowns the statistics and costs the student five points of accuracy. Of a
   teacher that remembers nothing only the student's disagreement is left: it leads drawings to
   where the two differ, and teaches more than plain ones do (assets/NOTEBOOK.md).

The student's batch is half drawings and half corrected ones, with cached answers.
"""

import math

import torch
from torch import Tensor, nn

from dfkd.losses.adversarial import mutual_information
from dfkd.losses.objective import Objective
from dfkd.protocols import Batch, Metrics
from dfkd.synthesis.bank import ImageBank
from dfkd.synthesis.method import Method, descend
from dfkd.synthesis.methods.redraw_config import STYLES, RedrawConfig
from dfkd.synthesis.rows import joined
from dfkd.teacher import Teacher
from dfkd.teacher.forward import PairedForward
from dfkd.teacher.layout import layout_of, to_layout
from dfkd.teacher.priors import corrects
from generators.procedural import Style, draw

__all__ = ["Redraw", "RedrawConfig"]

BANK_BYTES = 1 << 29
"""Most that the images of one bank may take: large images make small banks."""


_CLEARLY = 1.8
"""How many times as well a later style has to suit a teacher: strokes suit glyphs and MNIST 1.9 to
3.6 times as well as the best of silhouettes; vowels, which they teach less, .8 to 1.7 times, by
the draw."""


class Redraw(Method):
    """The ``Synthesizer``. A teacher without gradients gets drawings, uncorrected."""

    parts = ("drawings", "refined")
    values = ("style", "updates")

    def __init__(self, teacher: Teacher, config: RedrawConfig, seed: int) -> None:
        super().__init__(teacher, config, seed)
        weights = {"js": config.competition}  # all there is where nothing is remembered
        if corrects(teacher.prior):
            weights |= {"bn_kl": config.statistics, "onehot": config.cross_entropy}
        wanted = config.refine_steps > 0 and any(weights.values())
        self._corrects = wanted and teacher.differentiable
        most = max(config.refine_batch, BANK_BYTES // math.prod(teacher.spec.shape))
        capacity = min(config.capacity, most)
        self.drawings, self.refined = (self.new_bank(capacity, seed + i) for i in range(2))
        self.objective = Objective.of(**weights)
        self.forward = PairedForward(teacher, self.objective.needs)
        self.style: str | None = config.style  # of STYLES, once they were tried
        self.updates = 0

    def update(self, student: nn.Module) -> Metrics:
        """Draw some images and correct some of all those drawn."""
        self.updates += 1
        if self.config.drawn and (count := self.teacher.affordable(self.config.draws)):
            first = self.style is None
            self._store(self.drawings, self._try_styles(count) if first else self._draw(count))
        if not self._corrects:
            return {}
        if self.config.drawn:
            start = self.drawings.sample(self.config.refine_batch, balanced=True)
            assert start.target is not None
            return self._refine(start.inputs, start.target, student)
        return self._refine(*self._noise(self.config.refine_batch), student)

    @torch.no_grad()
    def _try_styles(self, count: int) -> Tensor:
        """Draw ``count`` images of every style; keep the style that suits the teacher best.

        That is the one of which its answers say most (mutual information of images and answers):
        what it is sure of, and takes for many classes, resembles its data. Where it stores
        statistics, by their distance: images that are twice as near may say half as much.
        """
        tried, scores = [], []
        for self.style in STYLES:
            tried.append(self._draw(count))
            scores.append(self._suits(tried[-1]))
        best, values = 0, torch.stack(scores).tolist()
        for index, value in enumerate(values):
            best = index if value > _CLEARLY * values[best] else best
        self.style = list(STYLES)[best]
        return tried[best]

    def _suits(self, images: Tensor) -> Tensor:
        """What the teacher's answers say of images, over their distance from what it remembers."""
        bank = self.new_bank(len(images), 0)
        self._store(bank, images)
        answers = bank.sample(len(images)).prediction
        assert answers is not None
        told = mutual_information(answers.logits, self.teacher.task.rows)
        if not self._corrects or not self.teacher.remembers:
            return told
        shown = bank.sample(self.config.refine_batch, balanced=True).inputs
        with self.teacher.autocast():
            trace = self.teacher.trace(shown, statistics=True)
        self.teacher_images += len(shown)
        distance = self.teacher.prior.relative_distance(trace.statistics).clamp_min(1e-6)
        # Images that leave a channel without any spread are at no distance that could be told.
        return (told / distance).nan_to_num(0.0)

    def _refine(self, images: Tensor, targets: Tensor, student: nn.Module) -> Metrics:
        """Take some steps down the objective, the student competing; store the result."""
        pixels = to_layout(images, layout_of(self.teacher.network)).requires_grad_()
        optimizer = torch.optim.Adam([pixels], self.config.refine_lr, betas=(0.5, 0.9))
        metrics: Metrics = {}
        competitor = student if self.config.competition else None
        for _ in range(self.config.steps_at(self.updates)):
            outputs = self.ask(self.forward, pixels, competitor, targets=targets)
            loss, components = self.objective(outputs)
            metrics = {"loss": loss.detach(), **components}
            descend(optimizer, loss)
            with torch.no_grad():
                self.teacher.spec.project_(pixels)
        self._store(self.refined, pixels.detach())
        return metrics

    @torch.no_grad()
    def _store(self, bank: ImageBank, images: Tensor) -> None:
        """Put images into a bank with the teacher's answers to them, as stored."""
        for part in torch.split(self.teacher.spec.encode(images), self.config.refine_batch):
            _, prediction = self.label(self.teacher.spec.decode(part))
            bank.add(part, prediction, self.teacher.task.decide(prediction))

    def sample(self, count: int) -> Batch:
        """Return drawn and corrected images, every class as often, answers cached."""
        config = self.config
        refined = round(count * (config.refined_share if config.drawn else 1.0))
        sources = [(self.refined, refined if len(self.refined) else 0)]
        sources.append((self.drawings, count - sources[0][1] if len(self.drawings) else 0))
        batches = [bank.sample(number, balanced=True) for bank, number in sources if number]
        if not batches:
            return Batch(self._draw(count))
        if len(batches) == 1:
            return batches[0]
        whole = joined(batches)
        # What a mirror image changes was asked of corrected images: drawings are no memory.
        corrected = torch.arange(count, device=whole.inputs.device) < sources[0][1]
        return whole._replace(mirrorable=corrected)

    def _draw(self, count: int) -> Tensor:
        self.images_made += count
        style = STYLES[self.style] if self.style else Style()
        return draw(count, self.teacher.spec.shape, self._rng, (style,), self.device)

    def _noise(self, count: int) -> tuple[Tensor, Tensor]:
        """Make grey noise with targets that take the classes in turn."""
        self.images_made += count
        shape = (count, *self.teacher.spec.shape)
        noise = torch.rand(shape, generator=self._rng, device=self.device)
        return noise, torch.arange(count, device=self.device) % self.teacher.task.targets

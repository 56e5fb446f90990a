"""DeepInversion: images by optimising their pixels against what a teacher remembers.

Yin et al., "Dreaming to Distill: Data-free Knowledge Transfer via DeepInversion",
CVPR 2020. The pixels x of one batch minimise (eqs. 2-4, 8)

    CE(T(x), y) + r_feature * R_BN(x) + tv_l1 * TV1(x) + tv_l2 * TV2(x) + l2 * ||x||
                + adi * (1 - JS(S(x), T(x)))

where R_BN is the distance of the batch's statistics from the stored ones, layer by
layer. The student, where ``adi`` asks for one, is in eval mode and does not change.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dfkd.errors import DfkdError
from dfkd.losses.objective import Term
from dfkd.protocols import Batch, Metrics
from dfkd.synthesis.method import Method
from dfkd.synthesis.methods.deep_inversion_config import (
    DeepInversionConfig,
    accepts_half,
    default_config,
    objective,
)
from dfkd.synthesis.steps import Average, straight_through
from dfkd.tasks import Prediction
from dfkd.teacher import Teacher
from dfkd.teacher.forward import PairedForward
from dfkd.training.augment import crop, flip, jitter, with_flip
from generators.pixels import ChromaPixels, FourierPixels, Pixels, resize, smooth_images


class DeepInversion(Method):
    """The ``Synthesizer``: one update is one iteration on the pixels of the current batch.

    Args:
        teacher: must store statistics unless ``r_feature`` is 0.
        config: the setting; ``default_config(teacher)`` when left out. Without a word of mirror
            images there are none.
        classes: targets, cycled in this order: class indices, or N x classes probabilities;
            drawn at random when left out.
        extra: a further term of the objective.
        config: the setting.
        seed: see ``Method``.

    Raises:
        DfkdError: the teacher stores no statistics, or does not take images of half its
            resolution where the setting begins with those.
    """

    parts = ("pixels", "optimizer", "bank")
    values = ("targets", "best", "best_cost", "position", "average")
    average: Average  # of the statistics so far, at this resolution

    def __init__(
        self, teacher: Teacher, config: DeepInversionConfig | None = None, seed: int = 0, *,
        classes: Sequence[int] | Tensor | None = None, extra: Term | None = None,
    ) -> None:  # fmt: skip
        spec = teacher.spec
        super().__init__(teacher, with_flip(config or default_config(teacher), None), seed)
        teacher.require_gradient("deep_inversion")
        if self.config.r_feature:
            teacher.require_statistics("deep_inversion")
        if self.config.low_resolution_iterations and not accepts_half(teacher):
            raise DfkdError(
                f"the teacher takes {spec.height} x {spec.width} images only; "
                "set low_resolution_iterations to 0"
            )
        self.classes = classes
        self.objective = objective(self.config)
        if extra is not None:
            self.objective += extra
        self.forward = PairedForward(teacher, self.objective.needs)
        self.bank = self.new_bank(self.config.capacity, seed)
        self._begin_batch()

    def update(self, student: nn.Module) -> Metrics:
        """Take one iteration; after a batch's last one bank it and begin the next."""
        metrics = self.step(student if self.config.adi else None)
        if self.position >= self.config.total_iterations:
            self.finish()
        return metrics

    def step(self, student: nn.Module | None = None) -> Metrics:
        """Take one iteration: augment, ask, weigh, backward, keep the best, step, clip."""
        config, spec = self.config, self.teacher.spec
        if self.halved and self.position >= config.low_resolution_iterations:
            self._optimise_from(resize(self.best, spec.height, spec.width).clamp(0, 1))
        images = self.pixels()
        shown = self._augment(images)
        outputs = self.ask(self.forward, shown, student, targets=self.targets)
        if config.running:
            outputs, self.average = straight_through(outputs, self.average, config.running)
        progress = self.position / config.total_iterations
        loss, components = self.objective(outputs, progress)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self._keep_best(images.detach(), outputs.teacher.prediction.detached(), loss.detach())
        self.optimizer.param_groups[0]["lr"] = config.rate(self.position)
        self.optimizer.step()
        if config.clip:
            self.pixels.clip_()
        self.position += 1
        return {"loss": loss.detach(), **components}

    @torch.no_grad()
    def finish(self) -> Batch:
        """Bank the best iterates as they stand and begin the next batch; returns what was banked.

        Images are rounded to 8 bits first: the teacher's answers are to what is stored.
        """
        best = self.best
        if self.halved:
            best = resize(best, self.teacher.spec.height, self.teacher.spec.width)
        images = self.teacher.spec.decode(self.teacher.spec.encode(best.clamp(0, 1)))
        prediction = self.teacher.predict(images).float()
        batch = Batch(images, prediction, self.targets)
        self.bank.add(images, prediction, self.targets)
        self.images_made += len(images)
        self.teacher_images += len(images)
        self._begin_batch()
        return batch

    def sample(self, count: int) -> Batch:
        """Draw from the bank; before the first batch is complete bank its best iterates."""
        if not self.images_made:
            self.finish()
        return self.bank.sample(count)

    def _begin_batch(self) -> None:
        """The next batch: its targets, and where its pixels start."""
        config, spec, device = self.config, self.teacher.spec, self.teacher.device
        order = range(self.images_made, self.images_made + config.batch_size)
        if self.classes is None:
            targets = self.teacher.task.sample_targets(len(order), self._rng, device)
        else:
            known = torch.as_tensor(self.classes)
            targets = known[torch.tensor(order) % len(known)]
        self.targets = targets.to(device)
        self.position = 0.0
        side = 2 if config.low_resolution_iterations else 1
        shape = (config.batch_size, spec.channels, spec.height // side, spec.width // side)
        if config.smooth_start:
            images = smooth_images(shape, self._rng)
        else:
            images = spec.denormalize(torch.randn(shape, generator=self._rng))
        self._optimise_from(images.to(device))

    def _optimise_from(self, images: Tensor) -> None:
        """Make ``images`` the parameters of a fresh optimiser, at their resolution."""
        config, spec = self.config, self.teacher.spec
        self.halved = images.shape[-2:] != (spec.height, spec.width)
        unit = sum(spec.std) / spec.channels  # lr is in the teacher's normalised units
        self.pixels: Pixels | ChromaPixels | FourierPixels
        if config.basis == "fourier":
            self.pixels = FourierPixels(
                images, colour_gain=config.colour_gain, colour_cutoff=config.colour_cutoff
            )
        elif config.basis == "chroma" and spec.channels == 3:
            self.pixels = ChromaPixels(images, unit)
        else:
            self.pixels = Pixels(images, unit)
        parameters = self.pixels.parameters()
        self.optimizer = torch.optim.Adam(parameters, config.lr, config.betas)
        self.average = {}
        self.best = images.clone()
        self.best_cost = torch.full((len(images),), math.inf, device=images.device)

    def _augment(self, images: Tensor) -> Tensor:
        config = self.config
        if config.crop < 1:
            images = crop(images, config.crop_at(self.position), self._rng)
        images = jitter(images, config.jitter // (2 if self.halved else 1), self._rng)
        return flip(images, config.flip or 0.0, self._rng)

    def _keep_best(self, images: Tensor, answer: Prediction, loss: Tensor) -> None:
        """Copy every image whose cost is its lowest so far: the batch's, with its own CE."""
        own = self.teacher.task.costs(answer, self.targets)
        cost = loss - own.mean() + own
        better = cost < self.best_cost
        self.best_cost = torch.where(better, cost, self.best_cost)
        self.best = torch.where(better[:, None, None, None], images, self.best)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state_dict``, bit-identical."""
        self._optimise_from(state["best"].to(self.device))
        super().load_state_dict(state)

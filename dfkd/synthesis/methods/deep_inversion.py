"""DeepInversion: images by optimising their pixels against what a teacher remembers.

Yin et al., "Dreaming to Distill: Data-free Knowledge Transfer via DeepInversion",
CVPR 2020. The pixels x of one batch minimise (eqs. 2-4, 8)

    CE(T(x), y) + r_feature * R_BN(x) + tv_l1 * TV1(x) + tv_l2 * TV2(x) + l2 * ||x||
                + adi * (1 - JS(S(x), T(x)))

where R_BN is the distance of the batch's statistics from the stored ones, layer by
layer. The student, where ``adi`` asks for one, is in eval mode and does not change.
"""

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dfkd.errors import DfkdError
from dfkd.protocols import Batch, Metrics
from dfkd.synthesis.bank import ImageBank, dequantize, quantize
from dfkd.synthesis.methods.deep_inversion_config import (
    DeepInversionConfig,
    accepts_half,
    default_config,
    objective,
)
from dfkd.synthesis.objective import Evidence, Term
from dfkd.synthesis.steps import forward_pair, pack_state, unpack_state
from dfkd.teacher import Teacher
from dfkd.training.augment import crop, flip, jitter, with_flip
from generators.pixels import ChromaPixels, FourierPixels, Pixels, resize, smooth_images


class DeepInversion:
    """The ``Synthesizer``: one update is one iteration on the pixels of the current batch.

    Args:
        teacher: must store statistics unless ``r_feature`` is 0.
        config: the setting; ``default_config(teacher)`` when left out. Without a word of mirror
            images there are none.
        seed: of starts, targets and augmentations; the global random state is left alone.
        classes: targets, cycled in this order; drawn at random when left out.
        extra: a further term of the objective.
        autocast: context in which teacher and student run; losses are float32.

    Raises:
        DfkdError: the teacher stores no statistics, or does not take images of half its
            resolution where the setting begins with those.
    """

    def __init__(
        self, teacher: Teacher, config: DeepInversionConfig | None = None, seed: int = 0, *,
        classes: Sequence[int] | None = None, extra: Term | None = None,
        autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> None:  # fmt: skip
        spec = teacher.spec
        self.config = with_flip(config or default_config(teacher), None)
        if self.config.r_feature:
            teacher.require_statistics("deep_inversion")
        if self.config.low_resolution_iterations and not accepts_half(teacher):
            raise DfkdError(
                f"the teacher takes {spec.height} x {spec.width} images only; "
                "set low_resolution_iterations to 0"
            )
        self.teacher, self.classes, self._autocast = teacher, classes, autocast
        self.device = teacher.device
        self.objective = objective(self.config, spec)
        if extra is not None:
            self.objective = self.objective + extra
        self._rng = torch.Generator().manual_seed(seed)  # on the CPU: one result everywhere
        capacity = self.config.capacity
        self.bank = ImageBank(capacity, spec, teacher.num_classes, seed, teacher.device)
        self.images_made = self.teacher_images = 0
        self._begin_batch()

    def update(self, student: nn.Module) -> Metrics:
        """One iteration; after a batch's last one it is banked and the next batch begins."""
        metrics = self.step(student if self.config.adi else None)
        if self.position >= self.config.total_iterations:
            self.finish()
        return metrics

    def step(self, student: nn.Module | None = None) -> Metrics:
        """One iteration: augment, trace, objective, backward, keep the best, step, clip."""
        config, spec = self.config, self.teacher.spec
        if self.halved and self.position >= config.low_resolution_iterations:
            self._optimise_from(resize(self.best, spec.height, spec.width).clamp(0, 1))
        images = self.pixels()
        shown = self._augment(images)
        trace, student_logits = forward_pair(
            self.teacher, shown, student, autocast=self._autocast, statistics=config.r_feature > 0
        )
        evidence = Evidence(shown, self.targets, trace, student_logits)
        loss, parts = self.objective(evidence, self.position / config.total_iterations)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self._keep_best(images.detach(), trace.logits.detach(), loss.detach())
        self.optimizer.param_groups[0]["lr"] = config.rate(self.position)
        self.optimizer.step()
        if config.clip:
            self.pixels.clip_()
        self.position += 1
        self.teacher_images += len(images)
        return {f"synthesis/{name}": value for name, value in parts.items()}

    @torch.no_grad()
    def finish(self) -> Batch:
        """Bank the best iterates as they stand and begin the next batch; returns what was banked.

        Images are rounded to 8 bits first: the teacher's answers are to what is stored.
        """
        best = self.best
        if self.halved:
            best = resize(best, self.teacher.spec.height, self.teacher.spec.width)
        images = dequantize(quantize(best.clamp(0, 1)))
        logits = self.teacher(images).float()
        batch = Batch(images, logits, self.targets)
        self.bank.add(images, logits, self.targets)
        self.images_made += len(images)
        self.teacher_images += len(images)
        self._begin_batch()
        return batch

    def sample(self, count: int) -> Batch:
        """From the bank; before the first batch is complete its best iterates are banked."""
        if not self.images_made:
            self.finish()
        return self.bank.sample(count)

    def _begin_batch(self) -> None:
        """The next batch: its targets, and where its pixels start."""
        config, spec, device = self.config, self.teacher.spec, self.teacher.device
        order = range(self.images_made, self.images_made + config.batch_size)
        if self.classes is None:
            classes, generator = self.teacher.num_classes, self._rng
            targets = torch.randint(classes, (len(order),), generator=generator)
        else:
            targets = torch.tensor([self.classes[i % len(self.classes)] for i in order])
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
        self.best = images.clone()
        self.best_cost = torch.full((len(images),), math.inf, device=images.device)

    def _augment(self, images: Tensor) -> Tensor:
        config = self.config
        if config.crop < 1:
            images = crop(images, config.crop, self._rng)
        images = jitter(images, config.jitter // (2 if self.halved else 1), self._rng)
        return flip(images, config.flip or 0.0, self._rng)

    def _keep_best(self, images: Tensor, logits: Tensor, loss: Tensor) -> None:
        """Copy every image whose cost is its lowest so far: the batch's, with its own CE."""
        own = F.cross_entropy(logits, self.targets, reduction="none")
        cost = loss - own.mean() + own
        better = cost < self.best_cost
        self.best_cost = torch.where(better, cost, self.best_cost)
        self.best = torch.where(better[:, None, None, None], images, self.best)

    def state_dict(self) -> dict[str, Any]:
        """Pixels, optimiser, best iterates, bank, generator and counters; copies."""
        return pack_state(self, _PARTS, _STATE)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state_dict``, bit-identical."""
        self._optimise_from(state["best"].to(self.device))
        unpack_state(self, state, _PARTS, _STATE)


_PARTS = ("pixels", "optimizer", "bank")
_STATE = ("targets", "best", "best_cost", "position", "images_made", "teacher_images")

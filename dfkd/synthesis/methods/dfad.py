"""DFAD (Fang et al., 2019): generator and student play for the difference of their logits.

The generator looks for images on which student and teacher differ, the student learns to answer
alike on them; nothing else is asked. The measure is the mean absolute difference of the logits,
whose gradient does not vanish as the student comes close. Of five student steps that follow one
of the generator, each has images from latents of its own.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dfkd.losses.objective import Objective
from dfkd.protocols import Batch, Metrics
from dfkd.synthesis.method import Method, descend
from dfkd.synthesis.steps import check
from dfkd.teacher import Teacher
from dfkd.teacher.forward import PairedForward
from generators.latents import build_decoder, gaussian


@dataclass(frozen=True)
class DfadConfig:
    """The paper's names and its settings; a value out of range is a ``DfkdError``.

    Attributes:
        lr_g: learning rate of Adam, betas 0.9 and 0.999. The authors divide it by 10 after two
            fixed shares of their training; how long a run lasts is not known here: it stays.
        synthesis_batch_size: images in a step of the generator.
        latent_dim, ngf, large: see ``Decoder``.
    """

    lr_g: float = 1e-3
    synthesis_batch_size: int = 256
    latent_dim: int = 256
    ngf: int = 64
    large: bool = False

    def __post_init__(self) -> None:
        counts = (self.synthesis_batch_size - 1, self.latent_dim, self.ngf)
        check(min(counts) >= 1, f"a batch of at least 2 (batch-norm), other counts of 1: {self}")
        check(self.lr_g > 0, f"lr_g must be positive: {self}")


class Dfad(Method):
    """The ``Synthesizer``. The student watches in train mode and stays as it is, bit by bit.

    The decoder emits normalised images: in the teacher's image space they may leave [0, 1].

    Args:
        teacher: any; only its answers are asked for.
        config: the setting.
        seed: see ``Method``.
    """

    parts = ("generator", "optimizer")
    values = ()

    def __init__(self, teacher: Teacher, config: DfadConfig | None = None, seed: int = 0) -> None:
        super().__init__(teacher, config or DfadConfig(), seed)
        c: DfadConfig = self.config
        options = {"large": c.large, "normalized": True}
        generator = build_decoder(teacher.spec.shape, self._rng, c.latent_dim, c.ngf, **options)
        self.generator = generator.to(self.device)
        # It minimises -mean |s - t|, through student and teacher alike.
        self.objective = Objective.of(l1=-1.0)
        self.forward = PairedForward(teacher, self.objective.needs)
        self.optimizer = torch.optim.Adam(self.generator.parameters(), c.lr_g)

    def update(self, student: nn.Module) -> Metrics:
        """Take one step of the generator."""
        images = self._generate(self.config.synthesis_batch_size)
        outputs = self.ask(self.forward, images, student, training=True)
        loss, components = self.objective(outputs)
        descend(self.optimizer, loss)
        return {"loss": loss.detach(), **components}

    @torch.no_grad()
    def sample(self, count: int) -> Batch:
        """Make ``count`` images from new latents; nobody has labelled them."""
        return Batch(self._generate(count))

    def _generate(self, count: int) -> Tensor:
        """``count`` new images, in the image space of ``Teacher``, not clamped.

        The generator stays in train mode, as published: its norms go by the batch at hand.
        """
        enough = max(2, count)  # for them
        latents = gaussian(enough, self.config.latent_dim, self._rng, self.device)
        normalized = self.run(self.generator, latents)
        self.images_made += count
        return self.teacher.spec.denormalize(normalized)[:count]

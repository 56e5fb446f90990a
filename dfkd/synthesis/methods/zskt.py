"""ZSKT (Micaelli & Storkey, NeurIPS 2019): a generator walks to where the student is wrong.

Algorithm 1: latents are drawn; the generator takes a step that raises KL(teacher || student) on
their images, then the student ten that lower it, on what the *same* latents have become. The
student also imitates where the teacher looks (attention transfer, weight 250, in the student's
own loss).

Both KL are means over images *and classes*, a classes-th of the usual one: the weight of the
attention term and the limit of the gradient's norm are meant for that scale.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dfkd.losses.objective import Objective
from dfkd.protocols import Batch, Metrics
from dfkd.synthesis.method import Method
from dfkd.synthesis.steps import check
from dfkd.teacher import Teacher
from dfkd.teacher.forward import PairedForward
from generators.latents import build_decoder, gaussian


@dataclass(frozen=True)
class ZsktConfig:
    """The paper's names and its settings; a value out of range is a ``DfkdError``.

    Attributes:
        lr_g: learning rate of Adam, betas 0.9 and 0.999. In the paper it falls along a cosine
            over all updates; how many a budget allows is not known here, so it stays as it is.
        clip: the largest norm of the generator's whole gradient; a longer one is scaled to it.
        synthesis_batch_size: images in a step, the generator's and (as published) the student's.
        latent_dim, ngf, large: see ``Decoder``.
    """

    lr_g: float = 1e-3
    clip: float = 5.0
    synthesis_batch_size: int = 128
    latent_dim: int = 100
    ngf: int = 64
    large: bool = False

    def __post_init__(self) -> None:
        counts = (self.synthesis_batch_size - 1, self.latent_dim, self.ngf)
        check(min(counts) >= 1, f"a batch of at least 2 (batch-norm), other counts of 1: {self}")
        check(min(self.lr_g, self.clip) > 0, f"lr_g and clip must be positive: {self}")


class Zskt(Method):
    """The ``Synthesizer``. The student watches in train mode and stays as it is, bit by bit.

    The decoder emits normalised images: in the teacher's image space they may leave [0, 1].

    Args:
        teacher: any; only its answers are asked for.
        config: the setting.
        seed: see ``Method``.
    """

    parts = ("generator", "optimizer")
    values = ("images",)

    def __init__(self, teacher: Teacher, config: ZsktConfig | None = None, seed: int = 0) -> None:
        super().__init__(teacher, config or ZsktConfig(), seed)
        c: ZsktConfig = self.config
        options = {"large": c.large, "normalized": True, "affine": True}
        generator = build_decoder(teacher.spec.shape, self._rng, c.latent_dim, c.ngf, **options)
        self.generator = generator.to(self.device)
        self.objective = Objective.of(kd_mean=-1.0)
        self.forward = PairedForward(teacher, self.objective.needs)
        self.optimizer = torch.optim.Adam(self.generator.parameters(), c.lr_g)
        self.images: Tensor | None = None  # of the last update's latents, after its step

    def update(self, student: nn.Module) -> Metrics:
        """Take the generator's step on new latents; keep the images that they give after it."""
        latents = self._latents()
        images = self._decode(latents)
        outputs = self.ask(self.forward, images, student, training=True)
        loss, components = self.objective(outputs)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.generator.parameters(), self.config.clip)
        self.optimizer.step()
        # Once for all of the student's steps: the generator does not change between them.
        with torch.no_grad():
            self.images = self._decode(latents)
        return {"loss": loss.detach(), **components}

    def sample(self, count: int) -> Batch:
        """Return images of the last update's latents: the first ``count``, or all over and over.

        Before the first update: images of the untrained generator.
        """
        images = self.images
        if images is None:
            with torch.no_grad():
                images = self._decode(self._latents())
        return self.cycle(images, count)

    def _latents(self) -> Tensor:
        config = self.config
        return gaussian(config.synthesis_batch_size, config.latent_dim, self._rng, self.device)

    def _decode(self, latents: Tensor) -> Tensor:
        """Images in the image space of ``Teacher``, not clamped; the generator in train mode."""
        normalized = self.run(self.generator, latents)
        self.images_made += len(normalized)
        return self.teacher.spec.denormalize(normalized)

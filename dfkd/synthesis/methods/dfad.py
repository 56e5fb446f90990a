"""DFAD (Fang et al., 2019): generator and student play for the difference of their logits.

The generator looks for images on which student and teacher differ, the student learns to answer
alike on them; nothing else is asked. The measure is the mean absolute difference of the logits,
whose gradient does not vanish as the student comes close. Of five student steps that follow one
of the generator, each has images from latents of its own.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dfkd.losses.response import l1_logits
from dfkd.protocols import Batch, Metrics
from dfkd.synthesis.steps import check, forward_pair, pack_state, unpack_state
from dfkd.teacher import Teacher
from generators.latents import build_decoder, gaussian

_PARTS = ("generator", "optimizer")
_STATE = ("images_made", "teacher_images")


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


class Dfad:
    """The ``Synthesizer``. The student watches in train mode and stays as it is, bit by bit.

    The decoder emits normalised images: in the teacher's image space they may leave [0, 1].

    Args:
        teacher: any; only its answers are asked for.
        seed: of all that is random here; the global random state is left alone.
        autocast: context in which generator, teacher and student run; losses are float32.
    """

    def __init__(
        self, teacher: Teacher, config: DfadConfig | None = None, seed: int = 0, *,
        autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> None:  # fmt: skip
        self.teacher, self._autocast, self.device = teacher, autocast, teacher.device
        self.config = c = config or DfadConfig()
        self._rng = torch.Generator().manual_seed(seed)
        options = {"large": c.large, "normalized": True}
        generator = build_decoder(teacher.spec.shape, self._rng, c.latent_dim, c.ngf, **options)
        self.generator = generator.to(self.device)
        self.optimizer = torch.optim.Adam(self.generator.parameters(), c.lr_g)
        self.images_made = self.teacher_images = 0

    def update(self, student: nn.Module) -> Metrics:
        """The generator's step: it minimises -mean |s - t|, through student and teacher alike."""
        count = self.config.synthesis_batch_size
        images = self._generate(count)
        trace, student_logits = forward_pair(
            self.teacher, images, student, autocast=self._autocast, training=True
        )
        assert student_logits is not None
        loss = -l1_logits(student_logits, trace.logits)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.teacher_images += count
        return {"synthesis/adversarial": loss.detach()}

    @torch.no_grad()
    def sample(self, count: int) -> Batch:
        """``count`` images from new latents, of the generator as it is; nobody labelled them."""
        return Batch(self._generate(count))

    def state_dict(self) -> dict[str, Any]:
        """Generator, Adam, the random state and counters; copies, not aliases."""
        return pack_state(self, _PARTS, _STATE)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state_dict``, bit-identical."""
        unpack_state(self, state, _PARTS, _STATE)

    def _generate(self, count: int) -> Tensor:
        """``count`` new images, in the image space of ``Teacher``, not clamped.

        The generator stays in train mode, as published: its norms go by the batch at hand.
        """
        enough = max(2, count)  # for them
        latents = gaussian(enough, self.config.latent_dim, self._rng, self.device)
        with self._autocast():
            normalized = self.generator(latents).float()
        self.images_made += count
        return self.teacher.spec.denormalize(normalized)[:count]

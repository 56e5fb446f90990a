"""MAD (Do et al., NeurIPS 2022): the student also learns from what the generator used to be.

A generator that chases its student leaves behind what it showed before, and the student forgets
it. An exponential moving average of the generator changes slowly and keeps showing it.

From the paper are the average and that the student trains on images of both. The rest is our
reading: a label-conditioned decoder, the adversary -KL with a student in eval mode beside
cross-entropy and batch-norm distance, all of weight 1, one Adam step an update, latents drawn
anew for every batch, half of it from each generator, and the decay.
"""

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dfkd.protocols import Batch, Metrics
from dfkd.synthesis import terms
from dfkd.synthesis.objective import Evidence, Term
from dfkd.synthesis.steps import check, forward_pair, pack_state, unpack_state
from dfkd.teacher import Teacher
from generators.conditional import LabelConditioned
from generators.latents import build_decoder, gaussian, random_targets
from generators.reset import drawn

BETAS = (0.5, 0.999)
_PARTS = ("generator", "average", "optimizer")
_STATE = ("images_made", "teacher_images")


@dataclass(frozen=True)
class MadConfig:
    """Settings, ours where the module says so; a value out of range is a ``DfkdError``.

    Attributes:
        bn, oh, adv: weights of batch-norm distance, cross-entropy and adversary.
        momentum: alpha; an update makes the average alpha * average + (1 - alpha) * generator.
        lr_g: learning rate of Adam, betas 0.5 and 0.999.
        synthesis_batch_size: images in an update of the generator.
        latent_dim, ngf, large: see ``Decoder``.
    """

    bn: float = 1.0
    oh: float = 1.0
    adv: float = 1.0
    momentum: float = 0.95
    lr_g: float = 1e-3
    synthesis_batch_size: int = 256
    latent_dim: int = 256
    ngf: int = 64
    large: bool = False

    def __post_init__(self) -> None:
        check(
            min(self.synthesis_batch_size - 1, self.latent_dim, self.ngf) >= 1,
            f"a batch of at least 2 (batch-norm), other counts at least 1: {self}",
        )
        weights = (self.bn, self.oh, self.adv)
        check(min(weights) >= 0 < sum(weights), f"weights >= 0, one of them positive: {self}")
        check(self.lr_g > 0, f"lr_g must be positive: {self}")
        check(0 <= self.momentum < 1, f"momentum must be in [0, 1): {self}")


class Mad:
    """The ``Synthesizer``. The student watches in eval mode and stays as it is, bit by bit.

    Args:
        teacher: stores batch-norm statistics, else a ``DfkdError``.
        seed: of all that is random here; the global random state is left alone.
        autocast: context in which generators, teacher and student run; losses are float32.
    """

    def __init__(
        self, teacher: Teacher, config: MadConfig | None = None, seed: int = 0, *,
        autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> None:  # fmt: skip
        teacher.require_statistics("mad")
        self.teacher, self._autocast, self.device = teacher, autocast, teacher.device
        self.config = c = config or MadConfig()
        self._rng = torch.Generator().manual_seed(seed)
        decoder = build_decoder(teacher.spec.shape, self._rng, c.latent_dim, c.ngf, large=c.large)
        generator = drawn(lambda: LabelConditioned(decoder, teacher.num_classes), self._rng)
        self.generator = generator.to(self.device)
        # In eval mode: the running statistics of its norms are averages as well.
        self.average = copy.deepcopy(self.generator).requires_grad_(False).eval()
        self.optimizer = torch.optim.Adam(self.generator.parameters(), c.lr_g, betas=BETAS)
        self.images_made = self.teacher_images = 0

    def update(self, student: nn.Module) -> Metrics:
        """One step of the generator; its average follows."""
        config, count = self.config, self.config.synthesis_batch_size
        objective = (
            Term("statistics", terms.statistics, config.bn)
            + Term("cross_entropy", terms.cross_entropy, config.oh)
            + Term("adversarial", terms.disagreement, config.adv)
        )
        images, targets = self._generate(self.generator, count)
        trace, student_logits = forward_pair(
            self.teacher, images, student, autocast=self._autocast, statistics=True
        )
        loss, parts = objective(Evidence(images, targets, trace, student_logits))
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self._follow()
        self.teacher_images += count
        parts = {"loss": loss.detach(), **parts}
        return {f"synthesis/{name}": value for name, value in parts.items()}

    @torch.no_grad()
    def sample(self, count: int) -> Batch:
        """Half of the images from the generator as it is, half from its average; all new."""
        older = count // 2
        halves = (
            self._generate(self.generator, count - older),
            self._generate(self.average, older),
        )
        images, targets = (torch.cat(column) for column in zip(*halves, strict=True))
        return Batch(images, targets=targets)

    def state_dict(self) -> dict[str, Any]:
        """Both generators, Adam, the random state and counters; copies, not aliases."""
        return pack_state(self, _PARTS, _STATE)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state_dict``, bit-identical."""
        unpack_state(self, state, _PARTS, _STATE)

    def _generate(self, generator: LabelConditioned, count: int) -> tuple[Tensor, Tensor]:
        """``count`` new images and the classes they were made for."""
        enough = max(2, count)  # for a batch-norm in train mode
        latents = gaussian(enough, self.config.latent_dim, self._rng, self.device)
        targets = random_targets(enough, self.teacher.num_classes, self._rng, self.device)
        with self._autocast():
            images = generator(latents, targets).float()
        self.images_made += count
        return images[:count], targets[:count]

    @torch.no_grad()
    def _follow(self) -> None:
        """Parameters and running statistics of the average move; its counters are copied."""
        current = self.generator.state_dict()
        for name, value in self.average.state_dict().items():
            if value.is_floating_point():
                value.lerp_(current[name], 1 - self.config.momentum)
            else:
                value.copy_(current[name])

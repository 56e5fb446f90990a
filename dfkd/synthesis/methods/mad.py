"""MAD (Do et al., NeurIPS 2022): the student also learns from what the generator used to be.

A generator that chases its student leaves behind what it showed before, and the student forgets
it. An exponential moving average of the generator changes slowly and keeps showing it.

From the paper are the average and that the student trains on images of both. The rest is our
reading: a label-conditioned decoder, the adversary -KL with a student in eval mode beside
cross-entropy and batch-norm distance, all of weight 1, one Adam step an update, latents drawn
anew for every batch, half of it from each generator, and the decay.
"""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dfkd.losses.objective import Objective
from dfkd.protocols import Batch, Metrics
from dfkd.synthesis.method import Method, descend
from dfkd.synthesis.steps import check
from dfkd.teacher import Teacher
from dfkd.teacher.forward import PairedForward
from generators.conditional import LabelConditioned
from generators.latents import build_decoder, gaussian
from generators.reset import drawn

_BETAS = (0.5, 0.999)


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


class Mad(Method):
    """The ``Synthesizer``. The student watches in eval mode and stays as it is, bit by bit.

    Args:
        teacher: stores batch-norm statistics, else a ``DfkdError``.
        config: the setting.
        seed: see ``Method``.
    """

    parts = ("generator", "average", "optimizer")
    values = ()

    def __init__(self, teacher: Teacher, config: MadConfig | None = None, seed: int = 0) -> None:
        teacher.require_statistics("mad")
        super().__init__(teacher, config or MadConfig(), seed)
        c: MadConfig = self.config
        decoder = build_decoder(teacher.spec.shape, self._rng, c.latent_dim, c.ngf, large=c.large)
        generator = drawn(lambda: LabelConditioned(decoder, teacher.task.targets), self._rng)
        self.generator = generator.to(self.device)
        self.objective = Objective.of(bn=c.bn, onehot=c.oh, kd=-c.adv)
        self.forward = PairedForward(teacher, self.objective.needs)
        # In eval mode: the running statistics of its norms are averages as well.
        self.average = copy.deepcopy(self.generator).requires_grad_(False).eval()
        self.optimizer = torch.optim.Adam(self.generator.parameters(), c.lr_g, betas=_BETAS)

    def update(self, student: nn.Module) -> Metrics:
        """Take one step of the generator; its average follows."""
        images, targets = self._generate(self.generator, self.config.synthesis_batch_size)
        loss, components = self.objective(self.ask(self.forward, images, student, targets=targets))
        descend(self.optimizer, loss)
        self._follow()
        return {"loss": loss.detach(), **components}

    @torch.no_grad()
    def sample(self, count: int) -> Batch:
        """Half of the images from the generator as it is, half from its average; all new."""
        older = count // 2
        halves = (
            self._generate(self.generator, count - older),
            self._generate(self.average, older),
        )
        images, targets = (torch.cat(column) for column in zip(*halves, strict=True))
        return Batch(images, target=targets)

    def _generate(self, generator: LabelConditioned, count: int) -> tuple[Tensor, Tensor]:
        """``count`` new images and the classes they were made for."""
        enough = max(2, count)  # for a batch-norm in train mode
        latents = gaussian(enough, self.config.latent_dim, self._rng, self.device)
        targets = self.teacher.task.sample_targets(enough, self._rng, self.device)
        images = self.run(generator, latents, targets)
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

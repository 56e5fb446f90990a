"""DFQ (Choi et al., CVPR Workshops 2020): an adversary that keeps to what the teacher knows.

The generator looks for images on which the student is wrong, and four terms say which: those that
leave in the teacher the statistics of its data, are surely one class and show all classes equally
often. The paper quantises networks with it; weights and settings here are those by which CMI
(Fang et al., IJCAI 2021) compares itself with it in distillation.
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

_BETAS = (0.5, 0.999)


@dataclass(frozen=True)
class DfqConfig:
    """Names and settings of CMI's comparison; a value out of range is a ``DfkdError``.

    Attributes:
        adv, bn, oh, balance: weights of the adversary (-KL, a mean over images), of batch-norm
            distance, of cross-entropy with the teacher's own decision, and of
            ``class_balance`` in nats.
        lr_g: learning rate of Adam, betas 0.5 and 0.999.
        synthesis_batch_size: images in a step of the generator.
        latent_dim, ngf, large: see ``Decoder``.
    """

    adv: float = 1.0
    bn: float = 1.0
    oh: float = 1.0
    balance: float = 20.0
    lr_g: float = 1e-3
    synthesis_batch_size: int = 256
    latent_dim: int = 256
    ngf: int = 64
    large: bool = False

    def __post_init__(self) -> None:
        counts = (self.synthesis_batch_size - 1, self.latent_dim, self.ngf)
        check(min(counts) >= 1, f"a batch of at least 2 (batch-norm), other counts of 1: {self}")
        weights = (self.adv, self.bn, self.oh, self.balance)
        check(min(weights) >= 0 < sum(weights), f"weights >= 0, one of them positive: {self}")
        check(self.lr_g > 0, f"lr_g must be positive: {self}")


class Dfq(Method):
    """The ``Synthesizer``. The student watches in eval mode and stays as it is, bit by bit.

    Args:
        teacher: stores batch-norm statistics, else a ``DfkdError``.
        config: the setting.
        seed: see ``Method``.
    """

    parts = ("generator", "optimizer")
    values = ()

    def __init__(self, teacher: Teacher, config: DfqConfig | None = None, seed: int = 0) -> None:
        teacher.require_statistics("dfq")
        super().__init__(teacher, config or DfqConfig(), seed)
        c: DfqConfig = self.config
        generator = build_decoder(teacher.spec.shape, self._rng, c.latent_dim, c.ngf, large=c.large)
        self.generator = generator.to(self.device)
        # The target is the teacher's own decision: any class will do, if the answer is sure.
        self.objective = Objective.of(kd=-c.adv, bn=c.bn, onehot=c.oh, balance=c.balance)
        self.forward = PairedForward(teacher, self.objective.needs)
        self.optimizer = torch.optim.Adam(self.generator.parameters(), c.lr_g, betas=_BETAS)

    def update(self, student: nn.Module) -> Metrics:
        """Take one step of the generator."""
        images = self._generate(self.config.synthesis_batch_size)
        loss, components = self.objective(self.ask(self.forward, images, student))
        descend(self.optimizer, loss)
        return {"loss": loss.detach(), **components}

    @torch.no_grad()
    def sample(self, count: int) -> Batch:
        """Make ``count`` images from new latents; nobody has labelled them."""
        return Batch(self._generate(count))

    def _generate(self, count: int) -> Tensor:
        """``count`` new images in [0, 1]; the generator stays in train mode."""
        enough = max(2, count)  # for its batch-norms
        latents = gaussian(enough, self.config.latent_dim, self._rng, self.device)
        images = self.run(self.generator, latents)
        self.images_made += count
        return images[:count]

"""NAYER (Tran et al., CVPR 2024): what to draw comes from an embedding of the class,
how the drawings differ from a noisy layer whose weights are drawn anew every round.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dfkd.errors import DfkdError
from dfkd.losses.objective import Objective
from dfkd.protocols import Batch, Metrics
from dfkd.synthesis.method import Method, descend
from dfkd.synthesis.steps import Average, detached_average, keep_best, smooth
from dfkd.teacher import Teacher
from dfkd.teacher.forward import PairedForward
from generators.conditional import EmbeddingConditioned, random_orthogonal
from generators.latents import build_decoder
from generators.reset import drawn, reset_all

RANDOM = "random-orthogonal"


@dataclass(frozen=True)
class NayerConfig:
    """The paper's names and its settings for CIFAR; a value out of range is a ``DfkdError``.

    Attributes:
        bn, oh, adv: weights of batch-norm distance, cross-entropy and adversary.
        g_steps, lr_g: Adam steps a round, betas 0.5 and 0.999, and their learning rate.
        synthesis_batch_size: images a round makes.
        capacity: images that the bank holds.
        bn_momentum: m; the loss sees (1 - m) * batch + m * average of the rounds before.
        recreate: rounds after which the generator starts from new weights.
        latent_dim, ngf, large: see ``Decoder``.
        embeddings: a file (``.npy`` or ``.safetensors``) with a row a class, as published a text
            encoder's of "a image of NAME"; or ``random-orthogonal``: fixed random rows, which say
            nothing about how alike two classes are.
        embedding_dim: numbers of such a random row.
    """

    bn: float = 10.0
    oh: float = 0.5
    adv: float = 1.33
    g_steps: int = 40
    lr_g: float = 4e-3
    synthesis_batch_size: int = 400
    bn_momentum: float = 0.9
    recreate: int = 10
    capacity: int = 20_000
    latent_dim: int = 1000
    ngf: int = 64
    large: bool = False
    embeddings: str = RANDOM
    embedding_dim: int = 512

    def __post_init__(self) -> None:
        counts = (self.g_steps, self.recreate, self.capacity, self.latent_dim, self.ngf)
        if min(*counts, self.embedding_dim, self.synthesis_batch_size - 1) < 1:
            raise DfkdError(f"a batch of at least 2 (batch-norm), other counts at least 1: {self}")
        if min(self.bn, self.oh, self.adv) < 0 or self.lr_g <= 0 or not 0 <= self.bn_momentum < 1:
            raise DfkdError(f"weights >= 0, lr_g > 0, bn_momentum in [0, 1): {self}")


class Nayer(Method):
    """The ``Synthesizer``. The student watches in eval mode and stays as it is, bit by bit.

    Args:
        teacher: stores batch-norm statistics.
        embeddings: classes x dimensions, instead of those that ``config`` names.
        config: the setting.
        seed: see ``Method``.

    Raises:
        DfkdError: the teacher stores no statistics, or the embeddings do not fit.
    """

    parts = ("generator", "bank")
    values = ("average", "round")

    def __init__(
        self,
        teacher: Teacher,
        config: NayerConfig | None = None,
        seed: int = 0,
        embeddings: Tensor | None = None,
    ) -> None:
        teacher.require_statistics("nayer")
        super().__init__(teacher, config or NayerConfig(), seed)
        c: NayerConfig = self.config
        self.objective = Objective.of(bn=c.bn, onehot=c.oh, adv=c.adv)
        self.forward = PairedForward(teacher, self.objective.needs)
        self.generator = self._build(embeddings)
        self.average: Average = {}
        self.bank = self.new_bank(c.capacity, seed)
        self.round = 0

    def update(self, student: nn.Module) -> Metrics:
        """Make one round (Algorithm 1); metrics are those of the batch that is kept."""
        config = self.config
        if self.round and self.round % config.recreate == 0:
            reset_all(self.generator, self._rng, std=None)
        targets = self.generator.redraw(config.synthesis_batch_size, self._rng)
        optimizer = torch.optim.Adam(self.generator.parameters(), config.lr_g, betas=(0.5, 0.999))
        best: dict[str, Tensor] = {}
        for _ in range(config.g_steps):
            images = self.run(self.generator, targets)
            outputs = self.ask(self.forward, images, student, targets=targets)
            outputs = smooth(outputs, self.average, config.bn_momentum)
            loss, components = self.objective(outputs)
            descend(optimizer, loss)
            # The images precede the step: the loss is theirs.
            made = {"images": images.detach(), "loss": loss.detach(), **components}
            best = keep_best(best, made)
        # What the last loss saw, (1 - m) * batch + m * average, is the average's own update.
        self.average = detached_average(outputs)
        self.keep(best.pop("images"), targets)
        self.round += 1
        return best

    def sample(self, count: int) -> Batch:
        """Draw from the bank; before the first round, from the untrained generator."""
        if self.round:
            return self.bank.sample(count)
        targets = self.generator.redraw(self.config.synthesis_batch_size, self._rng)
        with torch.no_grad():
            images = self.run(self.generator, targets)
        self.images_made += min(count, len(images))
        return self.cycle(images, count, target=targets)

    def _build(self, embeddings: Tensor | None) -> EmbeddingConditioned:
        config, classes = self.config, self.teacher.task.targets
        if embeddings is None:
            embeddings = random_orthogonal(classes, config.embedding_dim, self._rng)
        embeddings = embeddings.float()
        if embeddings.ndim != 2 or len(embeddings) != classes or not embeddings.isfinite().all():
            raise DfkdError(f"need finite {classes} x d embeddings, not {[*embeddings.shape]}")
        layers, shape = -(-config.synthesis_batch_size // classes), self.teacher.spec.shape
        decoder = build_decoder(shape, self._rng, config.latent_dim, config.ngf, large=config.large)
        generator = drawn(lambda: EmbeddingConditioned(decoder, embeddings, layers), self._rng)
        return generator.to(self.device)

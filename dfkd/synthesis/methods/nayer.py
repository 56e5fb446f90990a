"""NAYER (Tran et al., CVPR 2024): what to draw comes from an embedding of the class,
how the drawings differ from a noisy layer whose weights are drawn anew every round.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dfkd.errors import DfkdError
from dfkd.loading.matrix import read_matrix
from dfkd.protocols import Batch, Metrics
from dfkd.synthesis import terms
from dfkd.synthesis.bank import ImageBank
from dfkd.synthesis.objective import Evidence, Term
from dfkd.synthesis.steps import (
    Average,
    detached_average,
    forward_pair,
    keep_best,
    pack_state,
    quantize_and_label,
    smooth,
    unpack_state,
)
from dfkd.teacher import Teacher
from generators.conditional import EmbeddingConditioned, random_orthogonal
from generators.latents import build_decoder
from generators.reset import drawn, reset_all

RANDOM = "random-orthogonal"
_PARTS = ("generator", "bank")
_STATE = ("average", "round", "images_made", "teacher_images")


@dataclass(frozen=True)
class NayerConfig:
    """The paper's names and its settings for CIFAR; a value out of range is a ``DfkdError``.

    Attributes:
        bn, oh, adv: weights of batch-norm distance, cross-entropy and adversary.
        g_steps, lr_g: Adam steps a round, betas 0.5 and 0.999, and their learning rate.
        synthesis_batch_size: images a round makes; capacity: images that the bank holds.
        bn_momentum: m; the loss sees (1 - m) * batch + m * average of the rounds before.
        recreate: rounds after which the generator starts from new weights.
        latent_dim, ngf, large: see ``Decoder``.
        embeddings: a file (``.npy`` or ``.safetensors``) with a row a class, as published a text
            encoder's of "a image of NAME"; or ``random-orthogonal``: fixed random rows of
            ``embedding_dim`` numbers, which say nothing about how alike two classes are.
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


class Nayer:
    """The ``Synthesizer``. The student watches in eval mode and stays as it is, bit by bit.

    Args:
        teacher: stores batch-norm statistics.
        seed: of all that is random here; the global random state is left alone.
        embeddings: classes x dimensions, instead of those that ``config`` names.
        autocast: context in which generator, teacher and student run; losses are float32.

    Raises:
        DfkdError: the teacher stores no statistics, or the embeddings do not fit.
    """

    def __init__(
        self, teacher: Teacher, config: NayerConfig | None = None, seed: int = 0,
        embeddings: Tensor | None = None, *,
        autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> None:  # fmt: skip
        teacher.require_statistics("nayer")
        self.teacher, self._autocast = teacher, autocast
        self.config = config = config or NayerConfig()
        self.device = teacher.device
        if embeddings is None and config.embeddings != RANDOM:
            embeddings = read_matrix(Path(config.embeddings).expanduser())
        self._rng = torch.Generator().manual_seed(seed)
        self.generator = self._build(embeddings)
        self.average: Average = {}
        self.bank = ImageBank(config.capacity, teacher.spec, teacher.num_classes, seed, self.device)
        self.round = self.images_made = self.teacher_images = 0

    def update(self, student: nn.Module) -> Metrics:
        """One round (Algorithm 1); metrics are those of the batch that is kept."""
        config = self.config
        objective = (
            Term("statistics", terms.statistics, config.bn)
            + Term("cross_entropy", terms.cross_entropy, config.oh)
            + Term("adversarial", terms.decision_adversarial, config.adv)
        )
        if self.round and self.round % config.recreate == 0:
            reset_all(self.generator, self._rng, std=None)
        targets = self.generator.redraw(config.synthesis_batch_size, self._rng)
        optimizer = torch.optim.Adam(self.generator.parameters(), config.lr_g, betas=(0.5, 0.999))
        best: dict[str, Tensor] = {}
        for _ in range(config.g_steps):
            with self._autocast():
                images = self.generator(targets).float()
            trace, student_logits = forward_pair(
                self.teacher, images, student, autocast=self._autocast, statistics=True
            )
            statistics = smooth(trace.statistics, self.average, config.bn_momentum)
            trace = trace._replace(statistics=statistics)
            loss, parts = objective(Evidence(images, targets, trace, student_logits))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            # The images precede the step: the loss is theirs.
            made = {"images": images.detach(), "loss": loss.detach(), **parts}
            best = keep_best(best, made)
        # What the last loss saw, (1 - m) * batch + m * average, is the average's own update.
        self.average = detached_average(statistics)
        self._keep(best.pop("images"), targets)
        return {f"synthesis/{name}": value for name, value in best.items()}

    def sample(self, count: int) -> Batch:
        """``count`` images of the bank; before the first round, of the untrained generator."""
        if self.round:
            return self.bank.sample(count)
        targets = self.generator.redraw(self.config.synthesis_batch_size, self._rng)
        with torch.no_grad(), self._autocast():
            images = self.generator(targets).float()
        self.images_made += min(count, len(images))
        index = torch.arange(count, device=self.device) % len(images)
        return Batch(images[index], targets=targets[index])

    def state_dict(self) -> dict[str, Any]:
        """Everything but Adam, which is new every round; copies, not aliases."""
        return pack_state(self, _PARTS, _STATE)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state_dict``, bit-identical."""
        unpack_state(self, state, _PARTS, _STATE)

    def _build(self, embeddings: Tensor | None) -> EmbeddingConditioned:
        config, classes = self.config, self.teacher.num_classes
        if embeddings is None:
            embeddings = random_orthogonal(classes, config.embedding_dim, self._rng)
        embeddings = embeddings.float()
        if embeddings.ndim != 2 or len(embeddings) != classes or not embeddings.isfinite().all():
            raise DfkdError(f"need finite {classes} x d embeddings, not {[*embeddings.shape]}")
        layers, shape = -(-config.synthesis_batch_size // classes), self.teacher.spec.shape
        decoder = build_decoder(shape, self._rng, config.latent_dim, config.ngf, large=config.large)
        generator = drawn(lambda: EmbeddingConditioned(decoder, embeddings, layers), self._rng)
        return generator.to(self.device)

    @torch.no_grad()
    def _keep(self, images: Tensor, targets: Tensor) -> None:
        """Round the best batch to 8 bits, let the teacher label *that*, and bank it."""
        images, logits = quantize_and_label(self.teacher, images, self._autocast)
        self.bank.add(images, logits, targets)
        self.round += 1
        self.images_made += len(images)
        self.teacher_images += len(images) * (self.config.g_steps + 1)

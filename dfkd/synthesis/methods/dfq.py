"""DFQ (Choi et al., CVPR Workshops 2020): an adversary that keeps to what the teacher knows.

The generator looks for images on which the student is wrong, and four terms say which: those that
leave in the teacher the statistics of its data, are surely one class and show all classes equally
often. The paper quantises networks with it; weights and settings here are those by which CMI
(Fang et al., IJCAI 2021) compares itself with it in distillation.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dfkd.losses.adversarial import class_balance
from dfkd.protocols import Batch, Metrics
from dfkd.synthesis import terms
from dfkd.synthesis.objective import Evidence, Term
from dfkd.synthesis.steps import check, forward_pair, pack_state, unpack_state
from dfkd.teacher import Teacher
from generators.latents import build_decoder, gaussian

BETAS = (0.5, 0.999)
_PARTS = ("generator", "optimizer")
_STATE = ("images_made", "teacher_images")


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


class Dfq:
    """The ``Synthesizer``. The student watches in eval mode and stays as it is, bit by bit.

    Args:
        teacher: stores batch-norm statistics, else a ``DfkdError``.
        seed: of all that is random here; the global random state is left alone.
        autocast: context in which generator, teacher and student run; losses are float32.
    """

    def __init__(
        self, teacher: Teacher, config: DfqConfig | None = None, seed: int = 0, *,
        autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> None:  # fmt: skip
        teacher.require_statistics("dfq")
        self.teacher, self._autocast, self.device = teacher, autocast, teacher.device
        self.config = c = config or DfqConfig()
        self._rng = torch.Generator().manual_seed(seed)
        generator = build_decoder(teacher.spec.shape, self._rng, c.latent_dim, c.ngf, large=c.large)
        self.generator = generator.to(self.device)
        self.optimizer = torch.optim.Adam(self.generator.parameters(), c.lr_g, betas=BETAS)
        self.images_made = self.teacher_images = 0

    def update(self, student: nn.Module) -> Metrics:
        """One step of the generator."""
        config, count = self.config, self.config.synthesis_batch_size
        objective = (
            Term("adversarial", terms.disagreement, config.adv)
            + Term("statistics", terms.statistics, config.bn)
            # The target is the teacher's own decision: any class will do, if the answer is sure.
            + Term("one_hot", terms.cross_entropy, config.oh)
            + Term("balance", lambda e: class_balance(e.trace.logits), config.balance)
        )
        images = self._generate(count)
        trace, student_logits = forward_pair(
            self.teacher, images, student, autocast=self._autocast, statistics=True
        )
        loss, parts = objective(Evidence(images, trace.logits.argmax(1), trace, student_logits))
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.teacher_images += count
        parts = {"loss": loss.detach(), **parts}
        return {f"synthesis/{name}": value for name, value in parts.items()}

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
        """``count`` new images in [0, 1]; the generator stays in train mode."""
        enough = max(2, count)  # for its batch-norms
        latents = gaussian(enough, self.config.latent_dim, self._rng, self.device)
        with self._autocast():
            images: Tensor = self.generator(latents).float()
        self.images_made += count
        return images[:count]

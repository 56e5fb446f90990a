"""DAFL (Chen et al., ICCV 2019): a generator whose images the teacher takes for its own data.

Three signs of real data: an answer close to one class, classes equally frequent in a batch, and a
classifier whose input is excited. Nobody asks the student. Generator and student take one step
each, on the same images.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dfkd.losses.adversarial import activation
from dfkd.networks.layers import INPUT_SUFFIX, classifier
from dfkd.protocols import Batch, Metrics
from dfkd.synthesis import terms
from dfkd.synthesis.objective import Evidence, Term
from dfkd.synthesis.steps import check, forward_pair, pack_state, unpack_state
from dfkd.teacher import Teacher
from generators.latents import build_decoder, gaussian

EPS = 0.8  # of the stages' batch-norms, as the authors' code has it
_PARTS = ("generator", "optimizer")
_STATE = ("batch", "images_made", "teacher_images")


@dataclass(frozen=True)
class DaflConfig:
    """The authors' names and their settings for MNIST; a value out of range is a ``DfkdError``.

    Attributes:
        oh, ie, a: weights of one-hot, information entropy (in log10) and activation loss.
        lr_g: learning rate of Adam, betas 0.9 and 0.999.
        synthesis_batch_size: images in a step. Users of the authors' code report that small
            batches collapse: classes cannot be equally frequent among few images.
        latent_dim, ngf, large: see ``Decoder``.
    """

    oh: float = 1.0
    ie: float = 5.0
    a: float = 0.1
    lr_g: float = 0.2
    synthesis_batch_size: int = 512
    latent_dim: int = 100
    ngf: int = 64
    large: bool = False

    def __post_init__(self) -> None:
        counts = (self.synthesis_batch_size - 1, self.latent_dim, self.ngf)
        check(min(counts) >= 1, f"a batch of at least 2 (batch-norm), other counts of 1: {self}")
        weights = (self.oh, self.ie, self.a)
        check(min(weights) >= 0 < sum(weights), f"weights >= 0, one of them positive: {self}")
        check(self.lr_g > 0, f"lr_g must be positive: {self}")


def mnist() -> DaflConfig:
    """The published setting for MNIST."""
    return DaflConfig()


def cifar10() -> DaflConfig:
    """The published setting for CIFAR-10."""
    return DaflConfig(
        oh=0.05, ie=5.0, a=0.01, lr_g=0.02, synthesis_batch_size=1024, latent_dim=1000
    )


def cifar100() -> DaflConfig:
    """The published weights for CIFAR-100; rate, batch and latents are those for CIFAR-10."""
    return DaflConfig(oh=0.5, ie=20.0, a=0.1, lr_g=0.02, synthesis_batch_size=1024, latent_dim=1000)


class Dafl:
    """The ``Synthesizer``. The student is not asked.

    The decoder emits normalised images: in the teacher's image space they may leave [0, 1].

    Args:
        teacher: ends with a linear classifier, else a ``DfkdError``.
        seed: of all that is random here; the global random state is left alone.
        autocast: context in which generator and teacher run; losses are float32.
    """

    def __init__(
        self, teacher: Teacher, config: DaflConfig | None = None, seed: int = 0, *,
        autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> None:  # fmt: skip
        self._layer = classifier(teacher.network, teacher.num_classes) + INPUT_SUFFIX
        self.teacher, self._autocast, self.device = teacher, autocast, teacher.device
        self.config = c = config or DaflConfig()
        self._rng = torch.Generator().manual_seed(seed)
        options: dict[str, Any] = {"large": c.large, "normalized": True, "eps": EPS}
        generator = build_decoder(teacher.spec.shape, self._rng, c.latent_dim, c.ngf, **options)
        self.generator = generator.to(self.device)
        self.optimizer = torch.optim.Adam(self.generator.parameters(), c.lr_g)
        # Images that the last update made and the teacher's logits, for the student's step.
        self.batch: tuple[Tensor, Tensor] | None = None
        self.images_made = self.teacher_images = 0

    def update(self, student: nn.Module) -> Metrics:
        """The generator's step on a new batch (L_Total); the student's is for the same one."""
        config, layer = self.config, self._layer
        objective = (
            # The target is the teacher's own decision: any class will do, if the answer is sure.
            Term("one_hot", terms.cross_entropy, config.oh)
            + Term("information_entropy", terms.information_entropy, config.ie)
            + Term("activation", lambda e: activation(e.trace.features[layer].float()), config.a)
        )
        images = self._generate()
        trace, _ = forward_pair(self.teacher, images, autocast=self._autocast, features=[layer])
        loss, parts = objective(Evidence(images, trace.logits.argmax(1), trace))
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        # The images precede the step, and the teacher has answered them already.
        self.batch = (images.detach(), trace.logits.detach())
        self.images_made += len(images)
        self.teacher_images += len(images)
        parts = {"loss": loss.detach(), **parts}
        return {f"synthesis/{name}": value for name, value in parts.items()}

    def sample(self, count: int) -> Batch:
        """The last update's batch, its first ``count`` images or all of them over and over.

        Before the first update: images of the untrained generator, without the teacher's answers.
        """
        if self.batch is None:
            with torch.no_grad():
                images = self._generate()
            self.images_made += min(count, len(images))
            return Batch(images[self._cycled(count, images)])
        images, logits = self.batch
        index = self._cycled(count, images)
        return Batch(images[index], logits[index])

    def _cycled(self, count: int, images: Tensor) -> Tensor:
        return torch.arange(count, device=self.device) % len(images)

    def state_dict(self) -> dict[str, Any]:
        """Generator, Adam, the batch, the random state and counters; copies, not aliases."""
        return pack_state(self, _PARTS, _STATE)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state_dict``, bit-identical."""
        unpack_state(self, state, _PARTS, _STATE)

    def _generate(self) -> Tensor:
        """A batch from fresh latents, in the image space of ``Teacher``, not clamped."""
        count, dimensions = self.config.synthesis_batch_size, self.config.latent_dim
        latents = gaussian(count, dimensions, self._rng, self.device)
        with self._autocast():
            normalized = self.generator(latents).float()
        return self.teacher.spec.denormalize(normalized)

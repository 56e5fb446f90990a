"""DAFL (Chen et al., ICCV 2019): a generator whose images the teacher takes for its own data.

Three signs of real data: an answer close to one class, classes equally frequent in a batch, and a
classifier whose input is excited. Nobody asks the student. Generator and student take one step
each, on the same images.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dfkd.losses.objective import Objective
from dfkd.networks.layers import classifier
from dfkd.protocols import Batch, Metrics
from dfkd.synthesis.method import Method, descend
from dfkd.synthesis.steps import check
from dfkd.tasks import Prediction
from dfkd.teacher import Teacher
from dfkd.teacher.forward import PairedForward
from generators.latents import build_decoder, gaussian

_EPS = 0.8  # of the stages' batch-norms, as the authors' code has it


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
    """Return the published setting for MNIST."""
    return DaflConfig()


def cifar10() -> DaflConfig:
    """Return the published setting for CIFAR-10."""
    return DaflConfig(
        oh=0.05, ie=5.0, a=0.01, lr_g=0.02, synthesis_batch_size=1024, latent_dim=1000
    )


def cifar100() -> DaflConfig:
    """Return the published weights for CIFAR-100; the rest is as for CIFAR-10."""
    return DaflConfig(oh=0.5, ie=20.0, a=0.1, lr_g=0.02, synthesis_batch_size=1024, latent_dim=1000)


class Dafl(Method):
    """The ``Synthesizer``. The student is not asked.

    The decoder emits normalised images: in the teacher's image space they may leave [0, 1].

    Args:
        teacher: ends with a linear classifier, else a ``DfkdError``.
        config: the setting.
        seed: see ``Method``.
    """

    parts = ("generator", "optimizer")
    values = ("batch",)

    def __init__(self, teacher: Teacher, config: DaflConfig | None = None, seed: int = 0) -> None:
        classifier(teacher.network, teacher.task.widths)  # or it is refused here
        super().__init__(teacher, config or DaflConfig(), seed)
        c: DaflConfig = self.config
        options: dict[str, Any] = {"large": c.large, "normalized": True, "eps": _EPS}
        generator = build_decoder(teacher.spec.shape, self._rng, c.latent_dim, c.ngf, **options)
        self.generator = generator.to(self.device)
        # The target is the teacher's own decision: any class will do, if the answer is sure.
        self.objective = Objective.of(onehot=c.oh, balance10=c.ie, activation=c.a)
        self.forward = PairedForward(teacher, self.objective.needs)
        self.optimizer = torch.optim.Adam(self.generator.parameters(), c.lr_g)
        # Images that the last update made and the teacher's answers, for the student's step.
        self.batch: Batch | None = None

    def update(self, student: nn.Module) -> Metrics:
        """Take the generator's step on a new batch (L_Total), which is the student's as well."""
        images = self._generate()
        outputs = self.ask(self.forward, images)
        loss, components = self.objective(outputs)
        descend(self.optimizer, loss)
        # The images precede the step, and the teacher has answered them already.
        self.batch = Batch(images.detach(), outputs.teacher.prediction.detached())
        self.images_made += len(images)
        return {"loss": loss.detach(), **components}

    def sample(self, count: int) -> Batch:
        """Return the last update's batch, its first ``count`` images or all of them over and over.

        Before the first update: images of the untrained generator, without the teacher's answers.
        """
        if self.batch is None:
            with torch.no_grad():
                images = self._generate()
            self.images_made += min(count, len(images))
            return self.cycle(images, count)
        index = torch.arange(count, device=self.device) % len(self.batch.inputs)
        assert self.batch.prediction is not None
        known = self.batch.prediction.of_samples(index, len(self.batch.inputs))
        return Batch(self.batch.inputs[index], known)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state_dict``, bit-identical."""
        super().load_state_dict(state)
        if state["batch"] is not None:
            inputs, prediction, *_ = state["batch"]
            known = Prediction(*prediction).mapped(lambda part: part.to(self.device))
            self.batch = Batch(inputs.to(self.device), known)

    def _generate(self) -> Tensor:
        """A batch from fresh latents, in the image space of ``Teacher``, not clamped."""
        count, dimensions = self.config.synthesis_batch_size, self.config.latent_dim
        latents = gaussian(count, dimensions, self._rng, self.device)
        return self.teacher.spec.denormalize(self.run(self.generator, latents))

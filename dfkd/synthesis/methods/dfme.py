"""DFME (Truong et al., CVPR 2021): a generator led by estimated gradients of a closed teacher.

Generator and student play for the mean absolute difference of their answers, as in DFAD. No
gradient comes through the teacher, so that of the loss by the image, before its tanh, is estimated
by forward differences: in ``directions`` random directions u of length 1 it is
d (L(x + epsilon u) - L(x)) / epsilon u, of d values an image. Each image costs ``directions`` + 1
queries. Probabilities have become logits by their logs less the mean (``dfkd.access.answers``), as
in the paper. All of it is computed in float32: narrow floats do not show the differences.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dfkd.errors import DfkdError, check_within
from dfkd.networks.modes import frozen
from dfkd.protocols import Batch, Metrics
from dfkd.synthesis.method import Method
from dfkd.teacher import Teacher
from dfkd.teacher.forward import student_prediction
from generators.latents import build_decoder, gaussian


@dataclass(frozen=True)
class DfmeConfig:
    """The paper's setting.

    Attributes:
        lr_g: learning rate of Adam.
        synthesis_batch_size: images in a step of the generator.
        directions: m, in which a difference is taken.
        epsilon: length of a difference, before the tanh.
        latent_dim, ngf: see ``Decoder``.
    """

    lr_g: float = 1e-4
    synthesis_batch_size: int = 256
    directions: int = 1
    epsilon: float = 1e-3
    latent_dim: int = 256
    ngf: int = 64

    def __post_init__(self) -> None:
        check_within(self, "(0, inf)", "lr_g", "epsilon")
        check_within(self, "[1, inf)", "directions", "latent_dim", "ngf")
        check_within(self, "[2, inf)", "synthesis_batch_size")


class Dfme(Method):
    """The ``Synthesizer``. It wants answers to float images: bytes do not hold its differences.

    Args:
        teacher: any that takes floats; only its answers are asked for.
        config: the setting.
        seed: see ``Method``.

    Raises:
        DfkdError: the teacher takes bytes alone.
    """

    parts = ("generator", "optimizer")
    values = ()

    def __init__(self, teacher: Teacher, config: DfmeConfig | None = None, seed: int = 0) -> None:
        super().__init__(teacher, config or DfmeConfig(), seed)
        if not teacher.takes_floats:
            raise DfkdError(
                f"dfme asks about differences of {self.config.epsilon:g}, which images of 8 bits "
                "do not show, and this teacher takes those alone: use default, drawings or disguide"
            )
        c: DfmeConfig = self.config
        generator = build_decoder(teacher.spec.shape, self._rng, c.latent_dim, c.ngf)
        # As published; the tanh comes after the place where the gradient is estimated.
        generator.end = nn.BatchNorm2d(teacher.spec.channels, affine=False)
        self.generator = generator.to(self.device)
        self.optimizer = torch.optim.Adam(self.generator.parameters(), c.lr_g)

    def update(self, student: nn.Module) -> Metrics:
        """Take one step of the generator up the estimated gradient."""
        before = self._before(self.config.synthesis_batch_size)
        loss, gradient = self._estimated(before.detach(), student)
        self.optimizer.zero_grad(set_to_none=True)
        before.backward(-gradient / len(before))  # autograd goes on below the images
        self.optimizer.step()
        return {"l1": loss.mean()}

    @torch.no_grad()
    def _estimated(self, before: Tensor, student: nn.Module) -> tuple[Tensor, Tensor]:
        """The loss of each image, and the estimate of its gradient by what enters the tanh."""
        c: DfmeConfig = self.config
        here, size = self._loss(before, student), before[0].numel()
        gradient = torch.zeros_like(before)
        for _ in range(c.directions):
            drawn = torch.randn(before.shape, generator=self._rng).to(before.device)
            unit = drawn / drawn.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
            there = self._loss(before + c.epsilon * unit, student)
            slope = (there - here) / c.epsilon
            gradient += size / c.directions * slope.view(-1, 1, 1, 1) * unit
        return here, gradient

    def _loss(self, before: Tensor, student: nn.Module) -> Tensor:
        """|student - teacher| of each image, a mean over classes."""
        images = _bounded(before)
        self.teacher_images += len(images)
        wanted = self.teacher.predict(images).logits.float()
        with frozen(student, training=False):
            found = student_prediction(student, self.teacher, images).logits
        return (found - wanted).abs().view(len(images), -1).mean(1)

    @torch.no_grad()
    def sample(self, count: int) -> Batch:
        """Make ``count`` images from new latents; nobody has labelled them."""
        return Batch(_bounded(self._before(count)))

    def _before(self, count: int) -> Tensor:
        """``count`` new images, before their tanh."""
        latents = gaussian(max(2, count), self.config.latent_dim, self._rng, self.device)
        self.images_made += count
        return self.run(self.generator, latents)[:count]


def _bounded(before: Tensor) -> Tensor:
    """Bring what a generator emits into [0, 1]."""
    return 0.5 + 0.5 * before.tanh()

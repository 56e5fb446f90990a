"""DisGUIDE (Rosenthal et al., AAAI 2023): a generator led by two clones that disagree.

The generator needs no answer of the teacher: it looks for images on which two clones of it differ,
and that they take for many classes. Only what the student learns from is asked about, and kept for
replay. One clone is the student; the other one, whose weights start elsewhere, is this method's own
and learns beside it from the same images. Probabilities or classes alone serve alike.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dfkd.errors import check_within
from dfkd.losses.response import l1_logits
from dfkd.networks.modes import frozen
from dfkd.networks.zoo import resnet
from dfkd.protocols import Batch, Metrics
from dfkd.synthesis.method import Method, descend
from dfkd.teacher import Teacher
from dfkd.teacher.forward import student_prediction
from generators.latents import build_decoder, gaussian
from generators.reset import drawn

_TINY = 1e-6
"""Added to probabilities before their logarithm."""


@dataclass(frozen=True)
class DisguideConfig:
    """The authors' setting for ten classes; for a hundred their ``diversity`` is 0.04.

    Attributes:
        lr_g: learning rate of the generator's Adam.
        lr_clone: of the own clone's; the student has its own trainer.
        diversity: weight of the term that wants many classes, against disagreement.
        synthesis_batch_size: images in a step of the generator, and asked about after it.
        clone_steps: of the own clone after it, on images of the replay.
        latent_dim, ngf: see ``Decoder``.
        width: channels of the own clone's first stage, a small residual network.
        capacity: answered images that are kept, the latest ones.
    """

    lr_g: float = 1e-4
    lr_clone: float = 1e-3
    diversity: float = 0.2
    synthesis_batch_size: int = 256
    clone_steps: int = 4
    latent_dim: int = 256
    ngf: int = 64
    width: int = 16
    capacity: int = 100_000

    def __post_init__(self) -> None:
        check_within(self, "(0, inf)", "lr_g", "lr_clone")
        check_within(self, "[0, inf)", "diversity", "clone_steps")
        check_within(self, "[2, inf)", "synthesis_batch_size")
        check_within(self, "[1, inf)", "latent_dim", "ngf", "width", "capacity")


class Disguide(Method):
    """The ``Synthesizer``. The student watches in eval mode and stays as it is, bit by bit."""

    parts = ("generator", "optimizer", "clone", "clone_optimizer", "bank")

    def __init__(
        self, teacher: Teacher, config: DisguideConfig | None = None, seed: int = 0
    ) -> None:
        super().__init__(teacher, config or DisguideConfig(), seed)
        c: DisguideConfig = self.config
        generator = build_decoder(teacher.spec.shape, self._rng, c.latent_dim, c.ngf)
        self.generator = generator.to(self.device)
        widths = (c.width, 2 * c.width, 2 * c.width)
        channels, classes = teacher.spec.channels, teacher.num_classes
        clone = drawn(lambda: resnet(8, channels, classes, widths), self._rng)
        self.clone = clone.to(self.device)
        self.optimizer = torch.optim.Adam(self.generator.parameters(), c.lr_g)
        self.clone_optimizer = torch.optim.Adam(self.clone.parameters(), c.lr_clone)
        self.bank = self.new_bank(c.capacity, seed)

    def update(self, student: nn.Module) -> Metrics:
        """Take a step of the generator, ask about new images, let the own clone learn."""
        size = self.config.synthesis_batch_size
        with frozen(student, training=False), frozen(self.clone, training=False):
            images = self._generate(size)
            answers = [
                student_prediction(network, self.teacher, images).logits
                for network in (student, self.clone)
            ]
            metrics = dict(zip(("disagreement", "diversity"), terms(*answers), strict=True))
            loss = self.config.diversity * metrics["diversity"] - metrics["disagreement"]
            descend(self.optimizer, loss)
        self._ask(self.teacher.affordable(size))
        for _ in range(self.config.clone_steps if len(self.bank) else 0):
            metrics["clone"] = self._learn(size)
        return {name: value.detach() for name, value in metrics.items()} | {"loss": loss.detach()}

    @torch.no_grad()
    def _ask(self, count: int) -> None:
        if count:
            images, prediction = self.label(self._generate(count))
            self.bank.add(images, prediction, self.teacher.task.decide(prediction))

    def _learn(self, size: int) -> Tensor:
        batch = self.bank.sample(size)
        assert batch.prediction is not None
        self.clone.train()
        found = student_prediction(self.clone, self.teacher, batch.inputs).logits
        loss = l1_logits(found, batch.prediction.logits)
        descend(self.clone_optimizer, loss)
        return loss

    @torch.no_grad()
    def sample(self, count: int) -> Batch:
        """Draw from all that was answered; before that new images, which nobody has labelled."""
        return self.bank.sample(count) if len(self.bank) else Batch(self._generate(count))

    def _generate(self, count: int) -> Tensor:
        latents = gaussian(max(2, count), self.config.latent_dim, self._rng, self.device)
        self.images_made += count
        return self.run(self.generator, latents)[:count]


def terms(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Return how far two clones differ, and how few classes they see, of N x classes logits.

    That is the standard deviation of their probabilities, |p - q| / sqrt(2), a mean over images and
    classes; and the negative entropy of the mean probabilities, in nats.
    """
    p, q = one.softmax(1), other.softmax(1)
    disagreement = (p - q).abs().mean() / 2**0.5
    mean = ((p + q) / 2 + _TINY).mean(0)
    return disagreement, (mean * mean.log()).sum()

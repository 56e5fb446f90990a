"""PRE-DFKD (Binici et al., AAAI 2022): the student rehearses what a memory draws, and stores none.

A generator that chases its student leaves behind what it showed before, and the student forgets
it. A variational autoencoder learns what the generator makes, and its own earlier drawings with
it, and an eighth of every batch of the student comes from there.

From the paper and its code are the generator's loss, the alternation, what the memory learns from
and how often. Ours are the memory's size and its loss: the textbook ELBO of Kingma & Welling
(ICLR 2014), latents drawn from N(0, 1). The authors weigh the KL by 1e-5, reconstruct by mean
absolute differences of pixels and of the teacher's logits, tune the latents by the teacher before
they are decoded, and add their eighth on top of a batch, where here it is part of one.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dfkd.losses.adversarial import js_agreement
from dfkd.losses.objective import Objective, Term
from dfkd.losses.registry import LOSSES
from dfkd.losses.variational import gaussian_reconstruction, standard_normal_kl
from dfkd.networks.layers import classifier
from dfkd.protocols import Batch, Metrics
from dfkd.synthesis.method import Method, descend
from dfkd.synthesis.steps import check
from dfkd.teacher import Teacher
from dfkd.teacher.forward import PairedForward
from dfkd.teacher.outputs import PairOutputs
from generators.latents import build_decoder, gaussian
from generators.reset import drawn
from generators.vae import VariationalAutoencoder

_EPS = 0.8  # of the stages' batch-norms, as the authors' code has it
_IMAGES_PER_MEMORY = 8  # one image in so many is the memory's


@dataclass(frozen=True)
class PreConfig:
    """The authors' settings for CIFAR, a memory of our size; out of range is a ``DfkdError``.

    Attributes:
        oh, ie, a, js: weights of one-hot, information entropy (in log10) and activation loss
            and of the competition 1 - JS.
        lr_g, lr_memory: learning rates of Adam, betas 0.9 and 0.999.
        synthesis_batch_size: images in the generator's step; the memory's steps have half as many
            new ones, and an eighth as many of its own.
        memory_steps: steps of the memory in an update.
        latent_dim, ngf, large: of the generator, see ``Decoder``.
        memory_dim, memory_ngf: the same of the memory's decoder.
    """

    oh: float = 1.0
    ie: float = 5.0
    a: float = 0.1
    js: float = 1.0
    lr_g: float = 0.02
    lr_memory: float = 5e-4
    synthesis_batch_size: int = 1024
    memory_steps: int = 4
    latent_dim: int = 1000
    ngf: int = 64
    large: bool = False
    memory_dim: int = 128
    memory_ngf: int = 32

    def __post_init__(self) -> None:
        sizes = (self.latent_dim, self.ngf, self.memory_dim, self.memory_ngf)
        counts = (self.synthesis_batch_size - 1, self.memory_steps, *sizes)
        check(min(counts) >= 1, f"a batch of at least 2 (batch-norm), other counts of 1: {self}")
        weights = (self.oh, self.ie, self.a, self.js)
        check(min(weights) >= 0 < sum(weights), f"weights >= 0, one of them positive: {self}")
        check(min(self.lr_g, self.lr_memory) > 0, f"learning rates must be positive: {self}")


class Pre(Method):
    """The ``Synthesizer``. The student watches in eval mode and stays as it is, bit by bit.

    Generator and memory live in normalised space: as the teacher's images theirs may leave [0, 1].

    Args:
        teacher: ends with a linear classifier, else a ``DfkdError``.
        config: the setting.
        seed: see ``Method``.
    """

    parts = ("generator", "memory", "optimizer", "memory_optimizer")
    values = ("round",)

    def __init__(self, teacher: Teacher, config: PreConfig | None = None, seed: int = 0) -> None:
        classifier(teacher.network, teacher.task.widths)  # or it is refused here
        super().__init__(teacher, config or PreConfig(), seed)
        c, rng = self.config, self._rng
        # The target is the teacher's own decision: any class will do, if the answer is sure.
        self.objective = Objective.of(onehot=c.oh, balance10=c.ie, activation=c.a)
        self.objective += Term("js", _competition, c.js, LOSSES["js"].needs)
        self.forward = PairedForward(teacher, self.objective.needs)
        options: dict[str, Any] = {"large": c.large, "normalized": True, "eps": _EPS}
        g = build_decoder(teacher.spec.shape, rng, c.latent_dim, c.ngf, **options)
        decoder = build_decoder(teacher.spec.shape, rng, c.memory_dim, c.memory_ngf)
        memory = drawn(lambda: VariationalAutoencoder(decoder), rng)
        self.generator, self.memory = g.to(self.device), memory.to(self.device)
        self.optimizer = torch.optim.Adam(self.generator.parameters(), c.lr_g)
        self.memory_optimizer = torch.optim.Adam(self.memory.parameters(), c.lr_memory)
        self.round = 0

    def update(self, student: nn.Module) -> Metrics:
        """Take a step of the generator, then those of the memory, the last of which is logged."""
        count = self.config.synthesis_batch_size
        images = self.teacher.spec.denormalize(self._generate(count))
        loss, components = self.objective(self.ask(self.forward, images, student))
        descend(self.optimizer, loss)
        metrics = {"loss": loss.detach(), **components}
        self.images_made += count
        for _ in range(self.config.memory_steps):
            metrics |= self._memorise(max(2, count // 2), count // _IMAGES_PER_MEMORY)
        self.round += 1
        return metrics

    @torch.no_grad()
    def sample(self, count: int) -> Batch:
        """New images, an eighth of them recalled; before the first update all are generated."""
        recalled = count // _IMAGES_PER_MEMORY if self.round else 0
        images = self._mixture(count - recalled, recalled)
        self.images_made += count
        return Batch(self.teacher.spec.denormalize(images))

    def _memorise(self, new: int, own: int) -> Metrics:
        """One step on generated images and, lest the memory forget as well, on recalled ones."""
        with torch.no_grad():
            images = self._mixture(new, own if self.round else 0)
        noise = gaussian(len(images), self.config.memory_dim, self._rng, self.device)
        with self.teacher.autocast():
            answers = self.memory.train()(images, noise)
        reconstructed, mean, log_variance = (answer.float() for answer in answers)
        reconstruction = gaussian_reconstruction(reconstructed, images)
        kl = standard_normal_kl(mean, log_variance)
        descend(self.memory_optimizer, reconstruction + kl)
        self.images_made += len(images)
        return {"memory_reconstruction": reconstruction.detach(), "memory_kl": kl.detach()}

    def _mixture(self, new: int, own: int) -> Tensor:
        """``new`` generated images, then ``own`` recalled ones."""
        images = self._generate(new)
        return torch.cat([images, self._recall(own)]) if own else images

    def _generate(self, count: int) -> Tensor:
        """``count`` normalised images from fresh latents."""
        # Two at least: the batch-norms are in train mode.
        latents = gaussian(max(2, count), self.config.latent_dim, self._rng, self.device)
        return self.run(self.generator, latents)[:count]

    def _recall(self, count: int) -> Tensor:
        """``count`` normalised images, drawn by the memory."""
        latents = gaussian(count, self.config.memory_dim, self._rng, self.device)
        with self.teacher.autocast():
            return self.memory.eval().recall(latents).float()


def _competition(outputs: PairOutputs) -> Tensor:
    # Differ from the teacher's answer as it is: no gradient through it, as in the authors' code.
    return js_agreement(outputs.answered.logits, outputs.teacher.logits.detach())

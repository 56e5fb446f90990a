"""The form ``images`` of adversarial distillation: a generator adds to the user's own images.

One update, top to bottom: make images, let the critic learn to tell them from the given ones, let
the generator learn to fool it, and let the student learn what the teacher says to both. Few images
become more of their kind; the teacher labels them all.
"""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from dfkd.distillation.critic import GAN_BETAS, CriticTrainer
from dfkd.distillation.learner import Learner, metrics
from dfkd.distillation.learner_config import LearnerConfig
from dfkd.distillation.scheme import Scheme
from dfkd.distillation.schemes.adversarial_config import AdversarialConfig
from dfkd.errors import DfkdError
from dfkd.networks.seeding import seeded
from dfkd.protocols import Batch, Metrics, Stateful
from dfkd.teacher import Teacher
from dfkd.training.distributed import SINGLE_PROCESS, Runtime
from generators.critics import ImageCritic
from generators.latents import build_decoder, gaussian

SMALLEST = 8


class GeneratorTrainer:
    """A generator in training, with its optimiser and the latents it starts from."""

    def __init__(self, teacher: Teacher, config: AdversarialConfig, seed: int, runtime: Runtime):
        self._generator = torch.Generator().manual_seed(seed)
        decoder = build_decoder(teacher.spec.shape, self._generator, config.latent_dim, config.ngf)
        self.network, self._runtime = decoder.to(teacher.device), runtime
        self._optimizer = torch.optim.Adam(
            decoder.parameters(), config.generator_lr, betas=GAN_BETAS
        )
        self.made = 0

    def images(self, count: int) -> Tensor:
        """Make ``count`` images, N x C x H x W in [0, 1], as part of the generator's graph."""
        # Every process makes those of all, so that batch-norms see the same images everywhere.
        rank, size = self._runtime.rank, self._runtime.world_size
        device = self.network.to_image.weight.device
        latents = gaussian(size * count, self.network.latent_dim, self._generator, device)
        with self._runtime.autocast():
            images: Tensor = self.network(latents)
        self.made += len(images)
        return images.float()[rank::size]

    def step(self, loss: Tensor) -> None:
        """Take one step of the generator."""
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self._runtime.all_reduce_gradients(self.network)
        self._optimizer.step()

    def state_dict(self) -> dict[str, Any]:
        """Return network, optimiser and the latents' generator; copies."""
        state = {
            "network": self.network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "generator": self._generator.get_state(),
            "made": self.made,
        }
        return copy.deepcopy(state)

    def load_state_dict(self, state_dict: dict[str, Any], /) -> None:
        """Continue exactly where ``state_dict`` was taken."""
        self.network.load_state_dict(state_dict["network"])
        self._optimizer.load_state_dict(copy.deepcopy(state_dict["optimizer"]))
        self._generator.set_state(state_dict["generator"].cpu())
        self.made = state_dict["made"]


class AdversarialImages(Scheme):
    """The ``Scheme`` adversarial, for ``images``; what it is given are the user's images.

    Raises:
        DfkdError: images too small for a critic.
    """

    def __init__(
        self,
        teacher: Teacher,
        student: nn.Module,
        config: LearnerConfig,
        seed: int,
        scheme: AdversarialConfig,
        runtime: Runtime = SINGLE_PROCESS,
    ) -> None:
        self.config, self._runtime = scheme, runtime
        self.learners = (Learner(teacher, student, config, seed, runtime),)
        self._critic: CriticTrainer | None = None
        if not scheme.weight:
            return
        if min(teacher.spec.height, teacher.spec.width) < SMALLEST:
            raise DfkdError(
                f"scheme_config.form=images needs images of at least {SMALLEST}x{SMALLEST}, not "
                f"{teacher.spec.height}x{teacher.spec.width}; take scheme_config.form=logits"
            )
        with seeded(seed):
            critic = ImageCritic(*teacher.spec.shape, scheme.width)
        rates = (scheme.critic_lr, scheme.noise)
        self._critic = CriticTrainer([critic], scheme.loss, *rates, seed, teacher.device, runtime)
        self._trainer = GeneratorTrainer(teacher, scheme, seed, runtime)

    def update(self, batch: Batch) -> Metrics:
        """Take one step of the critic, one of the generator, one of the student."""
        (learner,) = self.learners
        shard = learner.prepare(batch)
        reported = self._contest(self._critic, shard.inputs) if self._critic else {}
        outputs = learner.forward(shard)
        parts = learner.losses(outputs)
        loss = learner.weighted(parts)
        if self._critic:
            with torch.no_grad():
                # What the generator has just become shows others than the critic has seen.
                made = self._trainer.images(len(shard.inputs))
            further = learner.losses(learner.forward(Batch(made)))
            loss = loss + self.config.weight * learner.weighted(further)
            reported |= {f"made_{name}": part.detach() for name, part in further.items()}
        learner.learn(loss)
        return metrics(parts, outputs) | reported

    def _contest(self, critic: CriticTrainer, real: Tensor) -> Metrics:
        """The critic learns to tell generated images, then the generator to fool it."""
        fake = self._trainer.images(len(real))
        with self._runtime.autocast():
            loss, share = critic.critic_loss((real,), (fake,))
        critic.step(loss)
        with critic.frozen(), self._runtime.autocast():
            fooling = critic.generator_loss((real,), (fake,))
        self._trainer.step(fooling)
        return {
            "critic": loss.detach(),
            "critic_accuracy": share,
            "fooling": fooling.detach(),
        }

    @property
    def images_made(self) -> int:
        """By the generator, for its critic and for the student."""
        return self._trainer.made if self._critic else 0

    def extras(self) -> dict[str, Stateful]:
        """Return critic and generator; their rates stay as they are."""
        return {"critic": self._critic, "generator": self._trainer} if self._critic else {}

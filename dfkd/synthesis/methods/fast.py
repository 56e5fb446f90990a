"""FastDFKD (Fang et al., AAAI 2022): a generator that is a good place to start from.

A meta-generator G keeps what all images share. Each round a copy of it and fresh latents are
adapted in k steps, where a generator that starts anew takes hundreds; what it learned moves G.
"""

import copy
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dfkd.errors import DfkdError
from dfkd.losses.objective import Objective
from dfkd.protocols import Batch, Metrics
from dfkd.synthesis.method import Method
from dfkd.synthesis.steps import Average, check, detached_average, keep_best, smooth
from dfkd.teacher import Teacher
from dfkd.teacher.forward import PairedForward
from generators.latents import build_decoder, gaussian
from generators.reset import reset_first

_BETAS = (0.5, 0.999)
REPTILE = 67.0  # the factor of its gradient in the authors' code


@dataclass(frozen=True)
class FastConfig:
    """The authors' names and settings for CIFAR, k = 5; a value out of range is a ``DfkdError``.

    Attributes:
        bn, oh, adv: weights of batch-norm distance, cross-entropy and adversary for a ResNet-34
            teacher; published for VGG-11 are 10, 0.5, 1.0 and for WRN-40-2 10, 0.4, 1.1.
        g_steps: k, Adam steps a round on the copy and its latents.
        lr_g, lr_z: rates of the copy and of the latents; G's own rate is lr_g * k.
        meta: what moves G: ``fomaml`` (the sum of the k gradients) or ``reptile`` (67 times
            what the k steps have changed).
        warmup: rounds without adversary, for a student that has learned nothing yet.
        reset_round: rounds from the warm-up on until the first layer is drawn anew; 0: never.
        bn_momentum: m; the loss sees (1 - m) * batch + m * average of the rounds before.
        synthesis_batch_size: images a round makes.
        capacity: images that the bank holds; ours, the authors keep those of all 220 rounds.
        latent_dim, ngf, large: see ``Decoder``.
    """

    bn: float = 10.0
    oh: float = 0.5
    adv: float = 1.33
    g_steps: int = 5
    lr_g: float = 3e-3
    lr_z: float = 0.01
    meta: str = "fomaml"
    warmup: int = 20
    reset_round: int = 120
    bn_momentum: float = 0.9
    synthesis_batch_size: int = 256
    capacity: int = 20_000
    latent_dim: int = 256
    ngf: int = 64
    large: bool = False

    def __post_init__(self) -> None:
        counts = (self.synthesis_batch_size - 1, self.g_steps, self.capacity, self.ngf)
        check(min(*counts, self.latent_dim) >= 1, f"a batch of 2, other counts of 1: {self}")
        check(min(self.warmup, self.reset_round) >= 0, f"warmup, reset_round >= 0: {self}")
        weights = (self.bn, self.oh, self.adv)
        check(min(weights) >= 0 < self.bn + self.oh, f"weights >= 0, bn or oh positive: {self}")
        momentum = 0 <= self.bn_momentum < 1
        check(min(self.lr_g, self.lr_z) > 0 and momentum, f"rates > 0, m in [0, 1): {self}")
        check(self.meta in ("fomaml", "reptile"), f"meta: fomaml or reptile, not {self.meta!r}")


def published(k: int) -> FastConfig:
    """Return the authors' setting for k = 2, 5 or 10; a ``DfkdError`` for another k."""
    rates = {2: (5e-3, 0.015), 5: (3e-3, 0.01), 10: (2e-3, 0.01)}
    if k not in rates:
        raise DfkdError(f"FastDFKD is published with 2, 5 and 10 steps a round, not {k}")
    return FastConfig(g_steps=k, lr_g=rates[k][0], lr_z=rates[k][1])


class Fast(Method):
    """The ``Synthesizer``. The student watches in eval mode and stays as it is, bit by bit.

    The authors' code also crops and mirrors what the networks are shown; that is left out here.

    Args:
        teacher: stores batch-norm statistics, else a ``DfkdError``.
        config: the setting.
        seed: see ``Method``.
    """

    parts = ("generator", "optimizer", "bank")
    values = ("average", "round")

    def __init__(self, teacher: Teacher, config: FastConfig | None = None, seed: int = 0) -> None:
        teacher.require_statistics("fast")
        super().__init__(teacher, config or FastConfig(), seed)
        c: FastConfig = self.config
        sizes = (c.latent_dim, c.ngf)
        g = build_decoder(teacher.spec.shape, self._rng, *sizes, large=c.large)
        self.generator = g.to(self.device)
        self.optimizer = torch.optim.Adam(g.parameters(), c.lr_g * c.g_steps, betas=_BETAS)
        self.average: Average = {}
        self.objective = Objective.of(bn=c.bn, onehot=c.oh, adv=c.adv)
        self.early = Objective.of(bn=c.bn, onehot=c.oh)
        self.forward = PairedForward(teacher, self.objective.needs)
        self.bank = self.new_bank(c.capacity, seed)
        self.round = 0

    def update(self, student: nn.Module) -> Metrics:
        """Make one round (Algorithm 1); metrics are those of the batch that is kept."""
        config = self.config
        self.round += 1
        competes = self.round > config.warmup and config.adv > 0
        objective = self.objective if competes else self.early
        if config.reset_round and self.round == config.warmup + config.reset_round:
            reset_first(self.generator, self._rng)
        count = config.synthesis_batch_size
        targets = self.teacher.task.sample_targets(count, self._rng, self.device)
        latents = gaussian(count, config.latent_dim, self._rng, self.device).requires_grad_()
        adapted = copy.deepcopy(self.generator)
        optimizer = torch.optim.Adam(adapted.parameters(), config.lr_g, betas=_BETAS)
        optimizer.add_param_group({"params": [latents], "lr": config.lr_z})
        self.optimizer.zero_grad(set_to_none=True)
        best: dict[str, Tensor] = {}
        for _ in range(config.g_steps):
            images = self.run(adapted, latents)
            outputs = self.ask(self.forward, images, student if competes else None, targets=targets)
            outputs = smooth(outputs, self.average, config.bn_momentum)
            loss, components = objective(outputs)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            if config.meta == "fomaml":
                _add_gradients(self.generator, (p.grad for p in adapted.parameters()))
            optimizer.step()
            # The images precede the step: the loss is theirs.
            made = {"images": images.detach(), "loss": loss.detach()}
            made |= {"adv": loss.new_zeros(()), **components}  # 0 while nobody competes
            best = keep_best(best, made)
        if config.meta == "reptile":
            pairs = zip(self.generator.parameters(), adapted.parameters(), strict=True)
            _add_gradients(self.generator, (REPTILE * (p - q).detach() for p, q in pairs))
        self.optimizer.step()
        # What the last loss saw, (1 - m) * batch + m * average, is the average's own update.
        self.average = detached_average(outputs)
        self.keep(best.pop("images"), targets)
        return best

    def sample(self, count: int) -> Batch:
        """Draw from the bank; before the first round, from the untrained generator."""
        if self.round:
            return self.bank.sample(count)
        size, dimensions = self.config.synthesis_batch_size, self.config.latent_dim
        with torch.no_grad():
            images = self.run(self.generator, gaussian(size, dimensions, self._rng, self.device))
        self.images_made += min(count, len(images))
        return self.cycle(images, count)


def _add_gradients(network: nn.Module, gradients: Iterable[Tensor | None]) -> None:
    """Add to each parameter's ``.grad``, out of place."""
    for parameter, gradient in zip(network.parameters(), gradients, strict=True):
        assert gradient is not None
        parameter.grad = gradient + (0 if parameter.grad is None else parameter.grad)

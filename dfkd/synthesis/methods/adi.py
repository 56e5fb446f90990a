"""Adaptive DeepInversion: images on which the student of the moment is still wrong.

Yin et al., "Dreaming to Distill", CVPR 2020, section 3.3. Synthesis and distillation take turns:
the pixels x of a fresh batch minimise (eqs. 2-4 and 8)

    main * CE(T(x), y) + r_feature * R_BN(x) + tv_l2 * TV2(x) + tv_l1 * TV1(x) + l2 * ||x||
                       + adi * (1 - JS(S(x), T(x)))

it is banked, the student learns from the bank, and the next batch competes with what the student
has become. The authors released the loss, and not this loop.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dfkd.losses.objective import Objective
from dfkd.protocols import Batch, Metrics
from dfkd.synthesis.method import Method, descend
from dfkd.synthesis.steps import check, keep_best, statistics_term
from dfkd.teacher import Teacher
from dfkd.teacher.forward import PairedForward
from dfkd.training.augment import flip, jitter
from generators.pixels import Pixels


@dataclass(frozen=True)
class AdiConfig:
    """The authors' CIFAR setting by their names; a value out of range is a ``DfkdError``.

    Attributes:
        batch_size: images of a round; their statistics are matched together.
        iterations: Adam steps a round.
        lr, betas: Adam's; the rate is constant, in the teacher's normalised units.
        main, r_feature: weights of the cross-entropy and of R_BN; the paper has 10 for the
            latter, the authors' code 100.
        first_bn_multiplier: factor of the first layer within R_BN.
        tv_l1, tv_l2, l2: weights of the image priors, taken in the teacher's normalised units.
        adi: weight of the competition. UNVERIFIED: 10 is the paper's figure for CIFAR as we
            recall it, and the authors' code has none.
        jitter: largest roll in pixels, drawn anew every step.
        flip: probability of a mirror image, drawn anew every step.
        clip: keep images in [0, 1] after every step.
        capacity: images that the bank holds.
    """

    batch_size: int = 256
    iterations: int = 2000
    lr: float = 0.1
    betas: tuple[float, float] = (0.9, 0.999)
    main: float = 1.0
    r_feature: float = 10.0
    first_bn_multiplier: float = 1.0
    tv_l1: float = 0.0
    tv_l2: float = 2.5e-5
    l2: float = 0.0
    adi: float = 10.0
    jitter: int = 2
    flip: float = 0.0
    clip: bool = False
    capacity: int = 20_000

    def __post_init__(self) -> None:
        object.__setattr__(self, "betas", tuple(self.betas))  # JSON and YAML bring lists
        counts = (self.batch_size - 1, self.iterations, self.capacity)
        check(min(counts) >= 1, f"a batch of at least 2, other counts at least 1: {self}")
        weights = (self.main, self.r_feature, self.adi, self.tv_l1, self.tv_l2, self.l2)
        check(min(weights) >= 0 < max(weights), f"weights >= 0, and not all 0: {self}")
        check(self.first_bn_multiplier >= 0, f"first_bn_multiplier must be >= 0: {self}")
        check(self.lr > 0, f"lr must be positive: {self}")
        check(min(self.betas) >= 0 and max(self.betas) < 1, f"betas must be in [0, 1): {self}")
        check(self.jitter >= 0 and 0 <= self.flip <= 1, f"jitter >= 0, flip in [0, 1]: {self}")


class Adi(Method):
    """The ``Synthesizer``: one update is one whole round, from noise to a banked batch.

    The student competes in eval mode and stays as it is, bit by bit.

    Args:
        teacher: stores batch-norm statistics, else a ``DfkdError``.
        config: the setting.
        seed: see ``Method``.
    """

    parts = ("bank",)
    values = ("round",)

    def __init__(self, teacher: Teacher, config: AdiConfig | None = None, seed: int = 0) -> None:
        teacher.require_statistics("adi")
        super().__init__(teacher, config or AdiConfig(), seed)
        c: AdiConfig = self.config
        self.bank = self.new_bank(c.capacity, seed)
        self.objective = Objective.of(onehot=c.main)
        self.objective += statistics_term(c.r_feature, c.first_bn_multiplier)
        self.objective += Objective.of(tv_l2=c.tv_l2, tv_l1=c.tv_l1, l2=c.l2, js=c.adi)
        self.forward = PairedForward(teacher, self.objective.needs)
        self.round = 0

    def update(self, student: nn.Module) -> Metrics:
        """Make one round; metrics are those of the iterate that is kept."""
        config, spec = self.config, self.teacher.spec
        # Evenly many of each class, as published; in a new order, for there may be more classes.
        targets = self.teacher.task.sample_targets(
            config.batch_size, self._rng, self.device, balanced=True
        )
        unit = sum(spec.std) / spec.channels  # lr is in the teacher's normalised units
        pixels = Pixels(self._noise(), unit)
        optimizer = torch.optim.Adam(pixels.parameters(), config.lr, config.betas)
        best: dict[str, Tensor] = {}
        for _ in range(config.iterations):
            images = pixels()
            shown = flip(jitter(images, config.jitter, self._rng), config.flip, self._rng)
            competitor = student if config.adi else None
            loss, components = self.objective(
                self.ask(self.forward, shown, competitor, targets=targets)
            )
            made = {"images": images.detach(), "loss": loss.detach(), **components}
            best = keep_best(best, made)
            descend(optimizer, loss)
            if config.clip:
                pixels.clip_()
        # Clipped and rounded to 8 bits: the teacher labels what the bank holds.
        self.keep(best.pop("images"), targets)
        self.round += 1
        return best

    def sample(self, count: int) -> Batch:
        """Draw from the bank; before the first round, return the noise that one starts from."""
        if self.round:
            return self.bank.sample(count)
        noise = self.teacher.spec.project_(self._noise())
        self.images_made += min(count, len(noise))
        return self.cycle(noise, count)

    def _noise(self) -> Tensor:
        """A batch of N(0, 1) in the teacher's normalised space."""
        shape = (self.config.batch_size, *self.teacher.spec.shape)
        noise = torch.randn(shape, generator=self._rng).to(self.device)
        return self.teacher.spec.denormalize(noise)

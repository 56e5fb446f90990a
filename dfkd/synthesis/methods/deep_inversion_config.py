"""DeepInversion's knobs: the published settings, ours for photographs, and the objective."""

import math
from dataclasses import dataclass, replace

import torch

from dfkd.errors import DfkdError
from dfkd.losses.objective import Objective
from dfkd.synthesis.steps import statistics_term
from dfkd.teacher import Teacher
from dfkd.teacher.spec import ImageSpec

BASES = ("pixel", "chroma", "fourier")


@dataclass(frozen=True)
class DeepInversionConfig:
    """The paper's settings by the paper's names; the defaults are its ImageNet setting 1.

    Attributes:
        batch_size: images optimised together; their statistics are matched together.
        iterations: Adam steps at full resolution.
        low_resolution_iterations: steps at half resolution before them.
        lr: Adam's peak rate, in the teacher's normalised units; in the Fourier basis in its own.
        betas: Adam's.
        warmup: iterations of each resolution in which the rate rises from 0; a cosine follows.
        r_feature, first_bn_multiplier: weight of R_BN, and of its first layer within it.
        tv_l1, tv_l2, l2: weights of the image priors, taken in the teacher's normalised units.
        adi: weight of the competition with the student (Adaptive DeepInversion); 0 is off.
        jitter: largest roll in pixels, halved at half resolution.
        flip: probability of a mirror image; None leaves it to the teacher (``dfkd.runs.mirror``).
        crop: smallest share of the area that the teacher is shown (SRe2L's crops); 1 is all.
        curriculum: that share falls from 1 to ``crop`` on a cosine, from easy to hard (CDA's).
        running: weight of earlier steps in a running average of the statistics, which is matched
            in the batch's place while the gradient is the batch's (EDC); 0 is off.
        clip: keep images in [0, 1] after every step.
        basis: ``pixel``, ``chroma`` (colour at a quarter of the resolution) or ``fourier``.
        colour_gain, colour_cutoff: of the Fourier basis, see ``FourierPixels``.
        smooth_start: begin with smooth blobs instead of the paper's white noise.
        capacity: images that the bank holds.

    Raises:
        DfkdError: a count below 1, a negative weight, a share outside [0, 1], an unknown basis.
    """

    batch_size: int = 84
    iterations: int = 2000
    low_resolution_iterations: int = 0
    lr: float = 0.2
    betas: tuple[float, float] = (0.5, 0.9)
    warmup: int = 100
    r_feature: float = 0.05
    first_bn_multiplier: float = 10.0
    tv_l1: float = 0.0
    tv_l2: float = 1e-4
    l2: float = 1e-5
    adi: float = 0.0
    jitter: int = 30
    flip: float | None = None
    crop: float = 1.0
    curriculum: bool = False
    running: float = 0.0
    clip: bool = True
    basis: str = "pixel"
    colour_gain: float = 0.4
    colour_cutoff: float = 0.06
    smooth_start: bool = False
    capacity: int = 20_000

    def __post_init__(self) -> None:
        object.__setattr__(self, "betas", tuple(self.betas))  # JSON and YAML bring lists
        if min(self.batch_size, self.iterations, self.capacity) < 1:
            raise DfkdError("batch_size, iterations and capacity must be at least 1")
        weights = (self.r_feature, self.first_bn_multiplier, self.tv_l1, self.tv_l2, self.l2)
        counts = (self.low_resolution_iterations, self.warmup, self.jitter)
        if min(*weights, *counts, self.adi) < 0 or not self.lr > 0:
            raise DfkdError("DeepInversion's weights and counts must not be negative, lr positive")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise DfkdError(f"betas must be in [0, 1), not {self.betas}")
        if not (self.colour_gain > 0 and self.colour_cutoff > 0):
            raise DfkdError("colour_gain and colour_cutoff must be positive")
        if not (0 <= (self.flip or 0) <= 1 and 0 < self.crop <= 1):
            raise DfkdError("flip must be in [0, 1] and crop in (0, 1]")
        if not 0 <= self.running < 1:
            raise DfkdError(f"running must be in [0, 1), not {self.running}")
        if self.basis not in BASES:
            raise DfkdError(f"basis must be one of {', '.join(BASES)}, not {self.basis!r}")

    @property
    def total_iterations(self) -> int:
        """Of one batch, over both resolutions."""
        return self.low_resolution_iterations + self.iterations

    def rate(self, position: float) -> float:
        """Return Adam's learning rate: a warm-up, then a cosine to 0, at each resolution anew."""
        low = self.low_resolution_iterations
        done, total = (position, low) if position < low else (position - low, self.iterations)
        rise = min(1.0, (done + 1) / self.warmup) if self.warmup else 1.0
        return self.lr * rise * 0.5 * (1 + math.cos(math.pi * min(done / total, 1.0)))

    def crop_at(self, position: float) -> float:
        """Return the smallest share of the area that is shown at an iteration."""
        if not self.curriculum:
            return self.crop
        done = min(position / self.total_iterations, 1.0)
        return self.crop + (1 - self.crop) * 0.5 * (1 + math.cos(math.pi * done))

    def position(self, share: float) -> float:
        """Find the iteration to be at when ``share`` in [0, 1] of a batch's time is spent.

        An iteration at half resolution costs a quarter.
        """
        low, full = self.low_resolution_iterations, self.iterations
        work = share * (0.25 * low + full)
        return work / 0.25 if work < 0.25 * low else low + (work - 0.25 * low)


def imagenet(setting: int = 0) -> DeepInversionConfig:
    """Return an ImageNet setting: two resolutions, 2k, or the paper's 20k iterations."""
    if setting == 0:
        return DeepInversionConfig(low_resolution_iterations=2000, iterations=1000)
    if setting == 1:
        return DeepInversionConfig(iterations=2000)
    if setting == 2:
        return DeepInversionConfig(iterations=20_000, betas=(0.9, 0.999), clip=False)
    raise DfkdError(f"DeepInversion has ImageNet settings 0, 1 and 2, not {setting}")


def cifar(adi: float = 0.0) -> DeepInversionConfig:
    """Return the authors' setting for 32 x 32 images; ``adi`` adds the student."""
    return DeepInversionConfig(
        batch_size=256, iterations=2000, lr=0.1, warmup=0, r_feature=100.0,
        first_bn_multiplier=1.0, tv_l2=2.5e-5, l2=0.0, jitter=2, flip=0.0, clip=False, adi=adi,
    )  # fmt: skip


def small() -> DeepInversionConfig:
    """Return our setting for a few small pictures.

    The published weight of the statistics (100) is for batches of 256 that a student
    learns from; over a handful of images it leaves nothing of the classes.
    """
    return replace(
        cifar(), batch_size=64, r_feature=3.0, tv_l2=1e-2, smooth_start=True, clip=True, flip=None
    )


def sre2l() -> DeepInversionConfig:
    """Return SRe2L's setting (Yin et al., NeurIPS 2023): crops, cross-entropy, statistics."""
    return DeepInversionConfig(
        batch_size=100, iterations=4000, lr=0.25, warmup=0, r_feature=0.01, tv_l2=0.0, l2=0.0,
        jitter=0, crop=0.08,
    )  # fmt: skip


def cda() -> DeepInversionConfig:
    """Return CDA's setting (Yin and Shen, 2023): SRe2L's, with crops from easy to hard."""
    return replace(sre2l(), curriculum=True)


def psaq() -> DeepInversionConfig:
    """Return PSAQ-ViT's setting (Li et al., ECCV 2022), for transformers with ``prior=patch``.

    Its two rounds of 500 iterations are one of 1,000, with the second's jitter. Its pull of the
    total variation to a value drawn for 32 images of 224 x 224 is left out.
    """
    return DeepInversionConfig(
        batch_size=32, iterations=1000, lr=0.2, warmup=100, r_feature=1.0, first_bn_multiplier=1.0,
        tv_l2=0.0, l2=0.0, jitter=30,
    )  # fmt: skip


def natural() -> DeepInversionConfig:
    """Return our setting for photographs: smooth starts and coarse colour in the Fourier basis.

    The published setting paints colour noise where the class does not care: cheap pixels
    that satisfy the first layers' variances. A basis without fine colour has none, and
    one in which coarse structure moves most needs a third of the iterations.
    """
    return DeepInversionConfig(
        batch_size=16, low_resolution_iterations=600, iterations=200, warmup=40, lr=0.05,
        tv_l2=1.5e-3, jitter=16, crop=0.4, basis="fourier", smooth_start=True, capacity=2048,
    )  # fmt: skip


def default_config(teacher: Teacher) -> DeepInversionConfig:
    """Choose ``natural()`` for images of at least 96 pixels, ``small()`` for smaller ones.

    A teacher that takes one size only gets all its iterations at that size.
    """
    if min(teacher.spec.height, teacher.spec.width) < 96:
        return small()
    config = natural()
    if accepts_half(teacher):
        return config
    work = config.iterations + config.low_resolution_iterations // 4
    return replace(config, low_resolution_iterations=0, iterations=work)


def traced_shapes(config: DeepInversionConfig, spec: ImageSpec) -> tuple[tuple[int, ...], ...]:
    """N x C x H x W of the batches that the teacher is shown, the low resolution first."""
    full = (config.batch_size, *spec.shape)
    half = (config.batch_size, spec.channels, spec.height // 2, spec.width // 2)
    return (half, full) if config.low_resolution_iterations else (full,)


@torch.no_grad()
def accepts_half(teacher: Teacher) -> bool:
    """Tell whether the teacher answers to images of half its resolution."""
    spec = teacher.spec
    shape = (2, spec.channels, spec.height // 2, spec.width // 2)
    try:
        return teacher(torch.full(shape, 0.5, device=teacher.device)).shape[1:] == (
            teacher.task.width,
        )
    except Exception:  # whatever a network says to images of another size, or answers
        return False


def objective(config: DeepInversionConfig) -> Objective:
    """Build eqs. 2-4 and 8 of the paper with a setting's weights; weight 0 is not computed.

    Args:
        config: the setting. The competition needs a student where its weight is not 0.
    """
    return (
        Objective.of(onehot=1.0)
        + statistics_term(config.r_feature, config.first_bn_multiplier)
        + Objective.of(tv_l1=config.tv_l1, tv_l2=config.tv_l2, l2=config.l2, js=config.adi)
    )

"""From a teacher of pictures of signals to a student of the signals themselves.

The roles are those of Cogni-Net (Mukherjee et al., arXiv:1811.00201): a convolutional teacher that
sees, a recurrent student of signals. It needs pairs of pictures and signals; here a differentiable
front end (``dfkd.networks.frontends``) makes the picture of a signal. Behind it the teacher takes
signals itself, so that any method can make *signals*, and the student learns from them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from dfkd.errors import DfkdError, nearest
from dfkd.networks.frontends import Cepstral, Spectrogram
from dfkd.networks.layers import unwrap
from dfkd.teacher import Teacher
from dfkd.teacher.priors import prior_around
from dfkd.teacher.spec import ImageSpec

FRONT_ENDS = ("cepstral", "stft")


@dataclass(frozen=True)
class CrossModalConfig:
    """What a signal is, and what picture of it the teacher knows; at first the bundled vowels'.

    Attributes:
        front_end: ``cepstral`` for frames of cepstrum coefficients, ``stft`` for waveforms.
        channels, frames: of a signal; a waveform has 1 channel, and samples for frames.
        low, high: the values between which a signal lies.
        lifter: the coefficients are stored times n to this power; see ``Cepstral``.
        n_fft, hop: of ``stft``.
        height, width: the teacher's pictures.
        darkest, brightest: what is black and white in them, in the logarithm of the spectrum.
    """

    front_end: str = "cepstral"
    channels: int = 12
    frames: int = 32
    low: float = -2.7
    high: float = 2.7
    lifter: float = 0.5
    n_fft: int = 128
    hop: int = 32
    height: int = 16
    width: int = 32
    darkest: float = -7.0
    brightest: float = 6.0

    def __post_init__(self) -> None:
        if self.front_end not in FRONT_ENDS:
            close = nearest(self.front_end, FRONT_ENDS)
            raise DfkdError(f"front_end cannot be {self.front_end!r}{close}")
        if min(self.channels, self.frames, self.n_fft, self.hop, self.height, self.width) < 1:
            raise DfkdError(f"sizes must be at least 1: {self}")
        ends = (self.low, self.high, self.darkest, self.brightest, self.lifter)
        if not all(map(math.isfinite, ends)):
            raise DfkdError(f"low, high, darkest, brightest and lifter must be finite, not {ends}")
        if not (self.low < self.high and self.darkest < self.brightest):
            raise DfkdError("low must be below high, and darkest below brightest")
        if self.front_end == "stft" and (self.channels != 1 or self.frames <= self.n_fft // 2):
            raise DfkdError(
                "stft wants channels=1 and more samples (frames) than half of n_fft, not "
                f"{self.channels} x {self.frames} and n_fft={self.n_fft}"
            )

    @property
    def spec(self) -> ImageSpec:
        """The signals, stored in [0, 1]; normalised they have their own units."""
        span = self.high - self.low
        return ImageSpec(1, self.channels, self.frames, (-self.low / span,), (1 / span,))


class BehindFrontEnd(nn.Module):
    """N x 1 x channels x frames signals in their own units -> what ``teacher`` says of them."""

    def __init__(self, front_end: nn.Module, teacher: Teacher) -> None:
        super().__init__()
        self.front_end = front_end
        # What torch.compile made does not see hooks that are opened later.
        self.network: nn.Module = unwrap(teacher.network)
        self.spec = teacher.spec

    def forward(self, signals: Tensor) -> Tensor:
        logits: Tensor = self.network(self.spec.normalize(self.front_end(signals)))
        return logits


def front_end_of(config: CrossModalConfig) -> nn.Module:
    """Build the front end that ``config`` describes."""
    size, shades = (config.height, config.width), (config.darkest, config.brightest)
    if config.front_end == "stft":
        return Spectrogram(config.n_fft, config.hop, *size, *shades)
    return Cepstral(config.channels, *size, *shades, config.lifter)


def put_behind_front_end(teachers: Sequence[Teacher], config: CrossModalConfig) -> Teacher:
    """Put the teacher behind its front end: a ``Teacher`` of signals.

    Raises:
        DfkdError: several teachers, or one that does not look at what the front end shows.
    """
    if len(teachers) != 1:
        raise DfkdError(f"cross_modal wants one teacher, not {len(teachers)}; see ensemble")
    teacher = teachers[0]
    teacher.require_inside("cross_modal asks its teacher as one network with the front end")
    shown = (1, config.height, config.width)
    if teacher.spec.shape != shown:
        given, wanted = ("x".join(map(str, shape)) for shape in (shown, teacher.spec.shape))
        raise DfkdError(
            f"the front end gives {given} images and the teacher takes {wanted}: set "
            "scheme_config.height and .width, and say what a signal is (channels, frames)"
        )
    # Moved before a ``Teacher`` asks it how many classes there are.
    front_end = front_end_of(config).to(teacher.device)
    prior = prior_around(teachers, "a teacher behind a front end")
    return Teacher(BehindFrontEnd(front_end, teacher), config.spec, task=teacher.task, prior=prior)

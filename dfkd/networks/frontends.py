"""From signals to the images that a teacher of signals was trained on, differentiably.

A signal is N x 1 x channels x frames, in its own units; the image N x 1 x height x width in
[0, 1], frequency from top (low) to bottom, time from left to right.
"""

import math

import torch
from torch import Tensor, nn


class Cepstral(nn.Module):
    """Liftered cepstra -> the log-spectra whose cosine series they are.

    Row n of a signal is n^``lifter`` times cepstrum coefficient n = 1, 2, ...; the log-spectrum
    at frequency w of a frame is 2 sum_n c_n cos(n w). Linear up to its ends.

    Args:
        coefficients: rows of a signal.
        lifter: 0 for plain coefficients. Those of speech fall with n: 1/2 brings them to one scale.
        height, width: of the image; frames are stretched to ``width``.
        darkest, brightest: log-spectra that become 0 and 1.
    """

    def __init__(
        self,
        coefficients: int,
        height: int,
        width: int,
        darkest: float,
        brightest: float,
        lifter: float = 0.0,
    ) -> None:
        super().__init__()
        self.size, self.darkest, self.brightest = (height, width), darkest, brightest
        order = torch.arange(1, coefficients + 1, dtype=torch.float64)
        frequency = (torch.arange(height, dtype=torch.float64) + 0.5) * torch.pi / height
        series = 2 * torch.cos(torch.outer(frequency, order)) / order**lifter
        self.series: Tensor
        self.register_buffer("series", series.float())

    def forward(self, signals: Tensor) -> Tensor:
        spectra = self.series.to(signals.dtype) @ signals
        return shaded(stretched(spectra, self.size), self.darkest, self.brightest)


class Spectrogram(nn.Module):
    """Waveforms N x 1 x 1 x samples -> log-magnitudes of their short-time Fourier transform.

    Args:
        n_fft, hop: samples in a (Hann) window, and between windows.
        height, width: of the image, to which frequencies and frames are resized.
        darkest, brightest: natural logarithms of magnitudes that become 0 and 1.
    """

    def __init__(
        self, n_fft: int, hop: int, height: int, width: int, darkest: float, brightest: float
    ) -> None:
        super().__init__()
        self.n_fft, self.hop, self.size = n_fft, hop, (height, width)
        self.darkest, self.brightest = darkest, brightest
        self.window: Tensor
        self.register_buffer("window", torch.hann_window(n_fft))

    def forward(self, waves: Tensor) -> Tensor:
        window = self.window.to(waves.dtype)
        waves = waves.reshape(len(waves), -1)
        waves = torch.stft(waves, self.n_fft, self.hop, window=window, return_complex=True)
        power = torch.view_as_real(waves).square().sum(-1)
        # Silence has no logarithm: below the darkest shade nothing matters any more.
        floor = max(math.exp(2 * self.darkest - 2), torch.finfo(power.dtype).tiny)
        spectra = (power + floor).log() / 2
        return shaded(stretched(spectra[:, None], self.size), self.darkest, self.brightest)


def stretched(spectra: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize N x 1 x frequencies x frames linearly; first and last values stay."""
    height, width = size
    if spectra.shape[2] != height:
        spectra = tents(height, spectra.shape[2], spectra) @ spectra
    if spectra.shape[3] != width:
        spectra = spectra @ tents(width, spectra.shape[3], spectra).T
    return spectra


def tents(size: int, given: int, like: Tensor) -> Tensor:
    """Build the ``size`` x ``given`` matrix of linear interpolation between evenly spaced points.

    Where there are fewer points than values the tents are as wide as a step: nothing that lies
    between two of them, such as a pure tone, is lost.
    """
    points = torch.linspace(0, given - 1, size, device=like.device, dtype=like.dtype)
    values = torch.arange(given, device=like.device, dtype=like.dtype)
    step = max(1.0, (given - 1) / max(1, size - 1))
    shares = (1 - (points[:, None] - values).abs() / step).clamp(min=0)
    return shares / shares.sum(1, keepdim=True)


def shaded(spectra: Tensor, darkest: float, brightest: float) -> Tensor:
    """Map ``darkest`` to ``brightest`` linearly to 0 to 1, clamped straight through.

    With a gradient of 0 a signal that is too loud everywhere could never become softer.
    """
    share = (spectra - darkest) / (brightest - darkest)
    return share + (share.clamp(0, 1) - share).detach()

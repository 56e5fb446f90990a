"""Pixels are a generator without input: modules whose parameter is the image.

Three bases of the same images. What a basis cannot represent, an optimiser
cannot abuse; which directions are cheap in it, an optimiser takes first.

* ``Pixels``: every pixel on its own, the basis of DeepInversion.
* ``ChromaPixels``: full luminance, colour at a lower resolution, as JPEG's
  4:2:0 and the eye have it: colour noise from pixel to pixel does not exist.
* ``FourierPixels``: frequencies, scaled so that coarse ones move most, over
  decorrelated colours (Olah et al., "Feature Visualization", Distill 2017); the
  colours can be kept coarse here, too.

All share ``forward() -> images`` (N x C x H x W in [0, 1]) and ``clip_()``,
which moves the parameter to where the images need no clipping.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Columns: luminance, red - green, blue - yellow, each of unit length. The images of
# this matrix times (y, u, v) are RGB; its inverse is its transpose.
OPPONENT = ((0.57735, 0.70711, -0.40825), (0.57735, -0.70711, -0.40825), (0.57735, 0.0, 0.81650))
CONTRAST = 0.25
"""Intensity of one unit of the Fourier basis: the slope of the sigmoid that others put there."""

NEGLIGIBLE = 1e-3
"""Of what the scale of a colour frequency falls below, the basis holds nothing."""


class Pixels(nn.Module):
    """Images as they are: the parameter is (images - 0.5) / scale.

    Args:
        images: N x C x H x W in [0, 1], where the optimisation starts.
        scale: what one unit of the parameter is worth in intensity. DeepInversion steps in the
            teacher's normalised units, so its scale is the mean of the normalisation's std.
    """

    def __init__(self, images: Tensor, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale
        self.values = nn.Parameter((images.detach() - 0.5) / scale)

    def forward(self) -> Tensor:
        """Return the images N x C x H x W; within [0, 1] after ``clip_``."""
        return 0.5 + self.scale * self.values

    @torch.no_grad()
    def clip_(self) -> None:
        """Project the parameter onto images in [0, 1]."""
        self.values.clamp_(-0.5 / self.scale, 0.5 / self.scale)


class ChromaPixels(nn.Module):
    """Colour images of full luminance and of colour at 1 / ``reduction`` of the resolution.

    Args:
        images: N x 3 x H x W in [0, 1]; their fine colour is lost.
        scale: what one unit of the parameters is worth in intensity, as in ``Pixels``.
        reduction: how many pixels wide a cell of colour is; 1 keeps all.
    """

    def __init__(self, images: Tensor, scale: float = 1.0, reduction: int = 4) -> None:
        super().__init__()
        self.scale = scale
        planes = to_opponent(images.detach() - 0.5) / scale
        height, width = images.shape[-2:]
        cells = (max(1, height // reduction), max(1, width // reduction))
        self.luminance = nn.Parameter(planes[:, :1].contiguous())
        self.colour = nn.Parameter(F.adaptive_avg_pool2d(planes[:, 1:], cells))

    def forward(self) -> Tensor:
        """Return the images N x 3 x H x W, clamped to [0, 1] with a straight-through gradient."""
        return _clipped(self._unclipped())

    @torch.no_grad()
    def clip_(self) -> None:
        """Move the parameters by what clipping changes, so that they do not drift outside."""
        images = self._unclipped()
        excess = to_opponent(images.clamp(0, 1) - images) / self.scale
        height, width = self.colour.shape[-2:]
        self.luminance.add_(excess[:, :1])
        self.colour.add_(F.adaptive_avg_pool2d(excess[:, 1:], (height, width)))

    def _unclipped(self) -> Tensor:
        size = self.luminance.shape[-2:]
        colour = F.interpolate(self.colour, size, mode="bilinear", align_corners=False)
        return 0.5 + self.scale * from_opponent(torch.cat([self.luminance, colour], 1))


class FourierPixels(nn.Module):
    """Images by their spectrum: frequency f is scaled by 1 / f, colours are decorrelated.

    Natural images have amplitudes near 1 / f, and less colour than light and shade. A step
    of an optimiser that treats all parameters alike then changes most what varies most.
    Feature visualisation ends in a sigmoid; clipping keeps tones more natural here, for
    pixels that a sigmoid has driven to black or white stay there.

    Args:
        images: N x C x H x W in [0, 1]; colours are decorrelated where C is 3.
        decay: the power of f by which the scale falls.
        colour_gain: scale of the two colour planes beside that of luminance.
        colour_cutoff: width of the Gaussian by which colour falls off with f, in cycles a
            pixel (0.5 is the finest there is); finer colour than some four widths is lost.
    """

    scale: Tensor

    def __init__(
        self,
        images: Tensor,
        decay: float = 1.0,
        colour_gain: float = 1.0,
        colour_cutoff: float = math.inf,
    ) -> None:
        super().__init__()
        self.size = (images.shape[-2], images.shape[-1])
        height, width = self.size
        rows = torch.fft.fftfreq(height, device=images.device)[:, None]
        columns = torch.fft.rfftfreq(width, device=images.device)[None, :]
        frequency = (rows.square() + columns.square()).sqrt()
        scale = frequency.clamp(min=1 / max(height, width)).pow(-decay)
        if images.shape[1] == 3:
            fall = colour_gain * torch.exp(-0.5 * (frequency / colour_cutoff).square())
            colour = torch.where(fall > NEGLIGIBLE, fall, 0) * scale
            scale = torch.stack([scale, colour, colour])
        self.register_buffer("scale", scale[..., None])
        self.spectrum = nn.Parameter(self._parameters_of(images.detach() - 0.5))

    def forward(self) -> Tensor:
        """Return the images N x C x H x W, clamped to [0, 1] with a straight-through gradient."""
        return _clipped(self._unclipped())

    @torch.no_grad()
    def clip_(self) -> None:
        """Move the parameter by what clipping changes, so that it does not drift outside."""
        images = self._unclipped()
        self.spectrum.add_(self._parameters_of(images.clamp(0, 1) - images))

    def _unclipped(self) -> Tensor:
        spectrum = torch.view_as_complex((self.spectrum * self.scale).contiguous())
        planes = torch.fft.irfft2(spectrum, self.size, norm="ortho")
        return 0.5 + CONTRAST * (from_opponent(planes) if planes.shape[1] == 3 else planes)

    def _parameters_of(self, change: Tensor) -> Tensor:
        """The change of the parameter that makes this change of the images, as far as any does."""
        planes = (to_opponent(change) if change.shape[1] == 3 else change) / CONTRAST
        spectrum = torch.view_as_real(torch.fft.rfft2(planes, norm="ortho"))
        return torch.where(self.scale > 0, spectrum / self.scale, 0)


def _clipped(images: Tensor) -> Tensor:
    """Clipped to [0, 1] straight through: a pixel at the border gets gradients and comes back."""
    return images + (images.clamp(0, 1) - images).detach()


def to_opponent(images: Tensor) -> Tensor:
    """Rotate RGB into luminance, red - green and blue - yellow; N x 3 x H x W."""
    return torch.einsum("rp,nrhw->nphw", images.new_tensor(OPPONENT), images)


def from_opponent(planes: Tensor) -> Tensor:
    """Rotate luminance, red - green and blue - yellow back into RGB."""
    return torch.einsum("rp,nphw->nrhw", planes.new_tensor(OPPONENT), planes)


def smooth_images(
    shape: tuple[int, int, int, int],
    generator: torch.Generator,
    cells: int = 7,
    contrast: float = 0.2,
) -> Tensor:
    """Draw grey images with smooth random blobs, from ``cells`` x ``cells`` normal numbers.

    The noise is enlarged bicubically. Optimisation from such images needs about half the
    iterations that it needs from white noise.

    Args:
        shape: N, C, H, W.
        generator: the source of randomness; the images are on its device.
        cells: noise values along a side.
        contrast: standard deviation of the noise, in intensity.

    Returns:
        N x C x H x W in [0, 1].
    """
    coarse = (*shape[:2], cells, cells)
    noise = torch.randn(coarse, generator=generator, device=generator.device)
    return (0.5 + contrast * resize(noise, *shape[2:])).clamp(0, 1)


def resize(images: Tensor, height: int, width: int) -> Tensor:
    """Resize images: bicubic, antialiased, not clamped."""
    return F.interpolate(images, (height, width), mode="bicubic", antialias=True)

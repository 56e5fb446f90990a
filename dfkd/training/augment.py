"""Jitter, flip and crop: batched, drawn for every image alone, differentiable.

Random numbers come from the generator that is passed (torch's global one where it
is ``None``), drawn where it lives and moved to the images: a run with a CPU
generator makes the same choices on every device.

Crops are warped by kornia, from boxes that are drawn here. Flips and shifts are not: kornia
interpolates a shift, where these move whole pixels and wrap them around.
"""

import math
from dataclasses import replace
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

FLIP = 0.5
"""Probability of a mirror image where it keeps its class."""
Setting = TypeVar("Setting")


def with_flip(setting: Setting, mirrored: bool | None) -> Setting:
    """Set ``flip`` to ``FLIP`` or 0 where a setting leaves it open (None).

    Args:
        setting: a frozen dataclass; one without ``flip`` comes back as it is.
        mirrored: whether mirror images keep their class; None where it was not measured.
    """
    anything: Any = setting
    if getattr(setting, "flip", 0.0) is not None:
        return setting
    chosen: Setting = replace(anything, flip=FLIP if mirrored else 0.0)
    return chosen


def jitter(images: Tensor, pixels: int, generator: torch.Generator | None) -> Tensor:
    """Roll every image by up to ``pixels`` rows and columns; what leaves re-enters opposite.

    Args:
        images: N x C x H x W.
        pixels: largest shift in either direction; 0 changes nothing.
        generator: draws the random numbers; None: torch's own.
    """
    if pixels == 0:
        return images
    rows, columns = ((2 * _uniform(2, images, generator) - 1) * (pixels + 0.5)).round()
    images = _roll(images, rows.clamp(-pixels, pixels).long(), dim=2)
    return _roll(images, columns.clamp(-pixels, pixels).long(), dim=3)


def padded_crop(images: Tensor, pixels: int, generator: torch.Generator | None) -> Tensor:
    """Move every image by up to ``pixels`` rows and columns; what leaves is gone, black enters.

    The same as a crop of the old size from the image with a black margin.

    Args:
        images: N x C x H x W in [0, 1].
        pixels: width of that margin; 0 changes nothing.
        generator: draws the random numbers; None: torch's own.
    """
    if pixels == 0:
        return images
    rolled = jitter(F.pad(images, (pixels, pixels, pixels, pixels)), pixels, generator)
    return rolled[..., pixels:-pixels, pixels:-pixels]


def flip(images: Tensor, probability: float, generator: torch.Generator | None) -> Tensor:
    """Mirror every image left to right with ``probability``.

    Args:
        images: N x C x H x W.
        probability: in [0, 1]; 0 changes nothing.
        generator: draws the random numbers; None: torch's own.
    """
    if probability == 0:
        return images
    mirrored = _uniform(1, images, generator).view(-1, 1, 1, 1) < probability
    return torch.where(mirrored, images.flip(-1), images)


def crop(images: Tensor, scale: float, generator: torch.Generator | None) -> Tensor:
    """Cut a random part out of every image and resize it (bilinear) to the whole size again.

    The part's area is uniform in [``scale``, 1] of the image's, its aspect ratio
    log-uniform in [3/4, 4/3] times the image's (Szegedy et al., CVPR 2015, section 6);
    a side that would not fit is the image's own.

    Args:
        images: N x C x H x W.
        scale: smallest share of the area, in (0, 1]; 1 changes nothing.
        generator: draws the random numbers; None: torch's own.
    """
    if scale == 1:
        return images
    from kornia.geometry.transform import warp_affine  # a second: only for those who crop

    area, shape, x, y = _uniform(4, images, generator)
    area = scale + (1 - scale) * area
    stretch = torch.exp((shape - 0.5) * math.log(4 / 3))  # square root of the aspect ratio
    part = torch.stack([area.sqrt() * stretch, area.sqrt() / stretch], 1).clamp(max=1)
    size = part.new_tensor([images.shape[3], images.shape[2]])
    corner = (1 - part) * torch.stack([x, y], 1) * size
    # An index is of a pixel's centre, half a pixel from its corner.
    shift = (0.5 - corner) / part - 0.5
    matrices = torch.cat([torch.diag_embed(1 / part), shift[..., None]], 2).to(images.dtype)
    height, width = images.shape[2:]
    return warp_affine(
        images, matrices, (height, width), padding_mode="border", align_corners=False
    )


def _uniform(count: int, images: Tensor, generator: torch.Generator | None) -> Tensor:
    """``count`` x N numbers in [0, 1), on the images' device."""
    device = images.device if generator is None else generator.device
    return torch.rand((count, len(images)), generator=generator, device=device).to(images.device)


def _roll(images: Tensor, shifts: Tensor, dim: int) -> Tensor:
    """``torch.roll`` along ``dim``, for every image by its own shift."""
    size = images.shape[dim]
    source = (torch.arange(size, device=images.device) - shifts[:, None]) % size
    source = source.view([-1, 1, *(size if d == dim else 1 for d in (2, 3))])
    return images.gather(dim, source.expand(images.shape))

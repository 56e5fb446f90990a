"""Activation maximisation: an image for each channel of a layer, which excites it most.

Erhan et al., "Visualizing Higher-Layer Features of a Deep Network", 2009. What keeps the images
from being noise is of Olah et al., "Feature Visualization", Distill 2017: the gradient's
frequencies f are weighed by 1 / f, and before every step comes a small shift and change of scale,
under which the excitement must last. Only the teacher's gradient is needed, no statistics.

Steps have one length for every image. They are no Adam's: where a frequency has no gradient, Adam
would follow the sign of a rounding error.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, NamedTuple

import torch
from torch import Generator, Tensor

from dfkd.errors import DfkdError, check_settings
from dfkd.synthesis.layer_outputs import channel_dim, check_layers, layer_outputs
from dfkd.teacher import Teacher
from dfkd.training.augment import jitter
from generators.pixels import smooth_images

_MOMENTUM = 0.9


@dataclass(frozen=True)
class ActivationConfig:
    """How a channel's image is sought.

    Attributes:
        steps: of ascent.
        lr: what a step moves a pixel by, root mean square; a cosine leads it to 0.
        jitter: largest shift, as a share of the shorter side.
        scale: largest change of scale; 0 is none.

    Raises:
        DfkdError: a value out of range.
    """

    steps: Annotated[int, "[1, inf)"] = 200
    lr: Annotated[float, "(0, inf)"] = 0.02
    jitter: Annotated[float, "[0, 0.5]"] = 0.06
    scale: Annotated[float, "[0, 0.5]"] = 0.08

    def __post_init__(self) -> None:
        check_settings(self, "`")


class Excited(NamedTuple):
    """Images that excite a channel each, and how much.

    Attributes:
        images: N x C x H x W in [0, 1].
        before: mean of each channel over its starting image, N.
        after: the same of the images.
    """

    images: Tensor
    before: Tensor
    after: Tensor


def excite(
    teacher: Teacher, layer: str, channels: Sequence[int], config: ActivationConfig | None = None,
    seed: int = 0, on_step: Callable[[int, Tensor], None] = lambda step, images: None,
) -> Excited:  # fmt: skip
    """Make an image for each channel of a layer that maximises the mean of that channel.

    Args:
        teacher: gives gradients; needs no statistics.
        layer: a dotted module name.
        channels: indices, one an image.
        config: the defaults when left out.
        seed: of the starting images, shifts and scales.
        on_step: called before every step with its number and the images as they are.

    Raises:
        DfkdError: no such layer or channel, or no gradient from there to the images.
    """
    config = config or ActivationConfig()
    outputs = layer_outputs(teacher)
    check_layers([layer], outputs, teacher)
    dim = channel_dim(teacher, layer, outputs[layer])
    check_channels(channels, outputs[layer][dim], layer)
    index = torch.tensor(list(channels), device=teacher.device)
    rng = Generator().manual_seed(seed)
    start = smooth_images((len(channels), *teacher.spec.shape), rng, contrast=0.1)
    images = start.to(teacher.device)
    velocity = torch.zeros_like(images)
    before = _means(teacher, layer, images, index, dim)
    for step in range(config.steps):
        on_step(step, images)
        images.requires_grad_()
        means = _means(teacher, layer, _moved(images, config, rng), index, dim)
        check_gradient_of(means, layer)
        (gradient,) = torch.autograd.grad(means.sum(), images)
        velocity = _MOMENTUM * velocity + _direction(gradient)
        rate = config.lr * 0.5 * (1 + math.cos(math.pi * step / config.steps))
        images = (images.detach() + rate * velocity).clamp(0, 1)
    after = _means(teacher, layer, images, index, dim)
    return Excited(images, before.detach().cpu(), after.detach().cpu())


def check_channels(channels: Sequence[int], count: int, layer: str) -> None:
    """Raise a ``DfkdError`` unless all are channels of a layer that has ``count`` of them."""
    if wrong := [index for index in channels if not 0 <= index < count]:
        raise DfkdError(
            f"channel {wrong[0]} is out of range: layer {layer} has channels 0 to {count - 1}"
        )
    if not channels:
        raise DfkdError("`channels` wants at least one index")


def check_gradient_of(values: Tensor, layer: str) -> None:
    """Raise a ``DfkdError`` where a layer's output hands no gradient on."""
    if not values.requires_grad:
        raise DfkdError(
            f"no gradient leads from layer {layer} to the image: take no_grad() or detach() out of "
            "the teacher's forward, or name an earlier one in `layers`"
        )


def _means(teacher: Teacher, layer: str, images: Tensor, index: Tensor, dim: int) -> Tensor:
    """Mean of channel ``index[i]`` over image i, N."""
    features = teacher.trace(images, features=[layer]).features[layer].float()
    maps = features.movedim(dim, 1).flatten(2) if features.ndim > 2 else features[..., None]
    return maps[torch.arange(len(index), device=index.device), index].mean(1)


def _direction(gradient: Tensor) -> Tensor:
    """Weigh frequencies f by 1 / f, and bring every image's to a root mean square of 1."""
    height, width = gradient.shape[2:]
    rows = torch.fft.fftfreq(height, device=gradient.device)[:, None]
    columns = torch.fft.rfftfreq(width, device=gradient.device)
    frequency = (rows.square() + columns.square()).sqrt().clamp(min=1 / max(height, width))
    weighed: Tensor = torch.fft.irfft2(torch.fft.rfft2(gradient) / frequency, (height, width))
    size = weighed.square().mean((1, 2, 3), keepdim=True).sqrt()
    return torch.where(size > 0, weighed / size, 0)  # a dead channel has no gradient


def _moved(images: Tensor, config: ActivationConfig, rng: Generator) -> Tensor:
    """Shift and scale every image at random."""
    images = jitter(images, round(config.jitter * min(images.shape[2:])), rng)
    if not config.scale or min(images.shape[2:]) < 2:
        return images
    from kornia.geometry.transform import scale  # a second: only for those who scale

    change = (2 * torch.rand(len(images), 1, generator=rng) - 1) * config.scale
    return scale(images, (1 + change).expand(-1, 2).to(images), padding_mode="border")

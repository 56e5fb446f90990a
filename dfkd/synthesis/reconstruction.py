"""Reconstruct an image from what one layer says of it: what is lost on the way becomes visible.

Mahendran and Vedaldi, "Understanding Deep Image Representations by Inverting Them", CVPR 2015:
images x minimise ||F(x) - F(x0)||^2 / ||F(x0)||^2 plus a little total variation. One batch has
an image for each layer. Only the teacher's gradient is needed, no statistics.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, NamedTuple

import torch
from torch import Generator, Tensor

from dfkd.errors import check_settings
from dfkd.losses.prior import total_variation_l1
from dfkd.synthesis.activation import check_gradient_of
from dfkd.synthesis.layer_outputs import check_layers, layer_outputs
from dfkd.teacher import Teacher
from generators.pixels import Pixels, smooth_images

_LEAST = 1e-12
"""Of the squared norm of features: a dead layer has nothing to be relative to."""


@dataclass(frozen=True)
class ReconstructionConfig:
    """How an image is sought that has given features.

    Attributes:
        steps: of Adam.
        lr: its rate, in intensity; a cosine leads it to 0.
        tv: weight of the total variation beside the relative error of the features.

    Raises:
        DfkdError: a value out of range.
    """

    steps: Annotated[int, "[1, inf)"] = 500
    lr: Annotated[float, "(0, inf)"] = 0.05
    tv: Annotated[float, "[0, inf)"] = 0.03

    def __post_init__(self) -> None:
        check_settings(self, "`")


class Reconstructed(NamedTuple):
    """Images with the features of another, layer by layer.

    Attributes:
        images: layers x C x H x W in [0, 1].
        errors: squared distance of the features over their squared norm, one a layer.
    """

    images: Tensor
    errors: Tensor


def reconstruct(
    teacher: Teacher, image: Tensor, layers: Sequence[str],
    config: ReconstructionConfig | None = None, seed: int = 0,
    on_step: Callable[[int, Tensor], None] = lambda step, images: None,
) -> Reconstructed:  # fmt: skip
    """Make for each layer an image that the layer takes for ``image``.

    Args:
        teacher: gives gradients; needs no statistics.
        image: C x H x W in [0, 1].
        layers: dotted module names.
        config: the defaults when left out.
        seed: of the starting images.
        on_step: called before every step with its number and the images as they are.

    Raises:
        DfkdError: no such layer, or no gradient from there to the images.
    """
    config = config or ReconstructionConfig()
    check_layers(layers, layer_outputs(teacher), teacher)
    names = list(dict.fromkeys(layers))
    with torch.no_grad():
        wanted = teacher.trace(image[None].to(teacher.device), features=names).features
    rng = Generator().manual_seed(seed)
    start = smooth_images((len(layers), *teacher.spec.shape), rng, contrast=0.1)
    # In the Fourier basis deep layers end at several times the error: sharp features want pixels.
    pixels = Pixels(start.to(teacher.device))
    optimizer = torch.optim.Adam(pixels.parameters(), config.lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.steps)
    for step in range(config.steps):
        images = pixels()
        on_step(step, images.detach())
        errors = _errors(teacher, images, layers, wanted)
        for error, layer in zip(errors, layers, strict=True):
            check_gradient_of(error, layer)
        optimizer.zero_grad(set_to_none=True)
        # The mean over images, times their number: one more layer changes nothing for the others.
        roughness = len(layers) * total_variation_l1(images)
        (torch.stack(errors).sum() + config.tv * roughness).backward()
        optimizer.step()
        schedule.step()
        pixels.clip_()
    images = pixels().detach().clamp(0, 1)
    with torch.no_grad():
        errors = _errors(teacher, images, layers, wanted)
    return Reconstructed(images, torch.stack(errors).cpu())


def _errors(
    teacher: Teacher, images: Tensor, layers: Sequence[str], wanted: dict[str, Tensor]
) -> list[Tensor]:
    """The error of image i in layer i."""
    features = teacher.trace(images, features=list(wanted)).features
    found = []
    for row, layer in enumerate(layers):
        goal = wanted[layer][0].float()
        distance = (features[layer][row].float() - goal).square().sum()
        found.append(distance / goal.square().sum().clamp(min=_LEAST))
    return found

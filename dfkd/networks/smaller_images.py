"""A network that is shown its images in a smaller size: the same weights, fewer operations."""

import torch.nn.functional as F
from torch import Tensor, nn


class SmallerImages(nn.Module):
    """Shrinks images by the mean of what each new pixel covers, then asks the network inside.

    Normalised images stay normalised: a mean of values is a value of the mean colour.

    Args:
        module: takes images of any size.
        side: shorter side of what it is shown, in pixels; smaller images are left alone.
    """

    def __init__(self, module: nn.Module, side: int) -> None:
        super().__init__()
        self.module, self.side = module, side

    def forward(self, images: Tensor) -> Tensor:
        """Answer to N x C x H x W images as ``module`` does to smaller ones."""
        height, width = images.shape[2:]
        factor = self.side / min(height, width)
        if factor < 1:
            size = max(1, round(height * factor)), max(1, round(width * factor))
            images = F.interpolate(images, size, mode="area")
        answer: Tensor = self.module(images)
        return answer

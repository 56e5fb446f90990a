"""Views: an image as a student is shown it, cut, mirrored, lit and mixed, from kept numbers.

A view is a row of numbers. Whoever applies it to the image gets the same picture again, in any
batch, worker or order: so a teacher can answer once and be gone. Pixels are moved by kornia;
``dfkd.datasets.written.drawn_views`` has the numbers.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, NamedTuple

import torch
from torch import Tensor

from dfkd.errors import check_settings


@dataclass(frozen=True)
class ViewConfig:
    """What views may do to an image.

    Attributes:
        crop: smallest share of its area that is shown, in (0, 1]; 1 shows all.
        flip: probability of its mirror image, in [0, 1].
        light: largest relative change of brightness and of contrast, in [0, 1).
        mix: share of views that have a part of another image pasted in (CutMix), in [0, 1].

    Raises:
        DfkdError: a value out of range.
    """

    crop: Annotated[float, "(0, 1]"] = 0.5
    flip: Annotated[float, "[0, 1]"] = 0.0
    light: Annotated[float, "[0, 1)"] = 0.2
    mix: Annotated[float, "[0, 1]"] = 0.5

    def __post_init__(self) -> None:
        check_settings(self, "`")


class Views(NamedTuple):
    """The views of N images in one epoch.

    Attributes:
        box: left, top, right and bottom of what is shown, in 1/65535 of the sides, int32 N x 4.
        flip: whether it is mirrored, uint8 N.
        light: factors of brightness and contrast, float16 N x 2.
        partner: whose view is pasted in, an index of the set, int32 N; its own: none.
        patch: where, as ``box``, int32 N x 4.
        other_box, other_flip, other_light: how the partner is shown in it.
    """

    box: Tensor
    flip: Tensor
    light: Tensor
    partner: Tensor
    patch: Tensor
    other_box: Tensor
    other_flip: Tensor
    other_light: Tensor

    @classmethod
    def of(
        cls, box: Tensor, flip: Tensor, light: Tensor, partner: Tensor, patch: Tensor
    ) -> "Views":
        """Return views in which partners are shown as in their own of the same epoch."""
        at = partner.long()
        return cls(box, flip, light, partner, patch, box[at], flip[at], light[at])

    def select(self, indices: Tensor) -> "Views":
        """Return the views of some images, in the order of ``indices``."""
        return Views(*(column[indices] for column in self))


UNIT = 65535
"""Of a side, in which places are kept."""


def plain_views(count: int) -> Views:
    """Return the views that show every image as it is."""
    whole = torch.tensor([0, 0, UNIT, UNIT], dtype=torch.int32).expand(count, 4)
    own, none = torch.arange(count).int(), torch.zeros(count, dtype=torch.uint8)
    return Views.of(whole, none, torch.ones(count, 2).half(), own, whole)


def show_views(read: Callable[[Tensor], Tensor], views: Views, indices: Tensor) -> Tensor:
    """Return the views of some images of a set, float in [0, 1], N x C x H x W.

    Args:
        read: (indices) -> uint8 images of the set.
        views: of all of its images.
        indices: which to show.
    """
    own = views.select(indices)
    partners, shown = own.partner.long(), _alone(read(indices), own.box, own.flip, own.light)
    pasted = partners != indices
    if not pasted.any():
        return shown
    theirs = own.other_box[pasted], own.other_flip[pasted], own.other_light[pasted]
    others = _alone(read(partners[pasted]), *theirs)
    height, width = shown.shape[-2:]
    size = torch.tensor([width, height, width, height])
    edges = (own.patch[pasted].double() / UNIT * size).round().long()[:, :, None, None]
    left, top, right, bottom = edges.unbind(1)
    x, y = torch.arange(width).view(1, 1, -1), torch.arange(height).view(1, -1, 1)
    inside = (x >= left) & (x < right) & (y >= top) & (y < bottom)
    shown[pasted] = torch.where(inside[:, None], others, shown[pasted])
    return shown


def _alone(images: Tensor, box: Tensor, flip: Tensor, light: Tensor) -> Tensor:
    """Cut, mirror and light; uint8 in, float out."""
    from kornia.enhance import adjust_brightness, adjust_contrast
    from kornia.geometry.transform import crop_and_resize

    shown = images.float() / 255
    height, width = shown.shape[-2:]
    whole = (box == torch.tensor([0, 0, UNIT, UNIT])).all(1)
    if not whole.all():
        # kornia's corners are the centres of pixels.
        size = torch.tensor([width, height, width, height]) / UNIT
        edges = box.float() * size - torch.tensor([0.0, 0.0, 1.0, 1.0])
        left, top, right, bottom = edges.clamp(min=0.0).unbind(1)
        corners = torch.stack([left, top, right, top, right, bottom, left, bottom], 1)
        cut = crop_and_resize(shown, corners.view(-1, 4, 2), (height, width))
        shown = torch.where(whole[:, None, None, None], shown, cut)
    shown = torch.where(flip.bool()[:, None, None, None], shown.flip(-1), shown)
    brightness, contrast = light.float().unbind(1)
    if not (light == 1).all():
        shown = adjust_contrast(adjust_brightness(shown, brightness - 1), contrast)
    return shown.clamp(0, 1)

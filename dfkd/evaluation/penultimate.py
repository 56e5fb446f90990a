"""What a network sees of images: the features that its classifier gets, and its answers."""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from dfkd.errors import DfkdError
from dfkd.evaluation.accuracy import in_unit_range
from dfkd.networks.layers import INPUT_SUFFIX, classifier
from dfkd.teacher import Teacher

ANSWERS = "its answers"
"""What stands for the layer where a network has no classifier to look before."""
_BATCH = 64
_WIDEST = 8192


class Sight(NamedTuple):
    """What a network saw.

    Attributes:
        features: N x d, float32 on the CPU.
        logits: N x classes, float32 on the CPU.
        layer: whose output the features are; ``ANSWERS`` for the logits.
    """

    features: Tensor
    logits: Tensor
    layer: str


@torch.no_grad()
def look_at(teacher: Teacher, images: Iterable[Tensor]) -> Sight:
    """Show images to a network and collect what enters its classifier, and its answers.

    Where it has no linear classifier, or one that takes no single vector an image, its answers
    stand for its features.

    Args:
        teacher: any network as a teacher; unchanged.
        images: batches of any size, N x C x H x W, uint8 or float in [0, 1].

    Raises:
        DfkdError: no image, or values that are not finite.
    """
    layer = _layer(teacher)
    wanted = [] if layer == ANSWERS else [layer]
    features, logits = [], []
    for part in (part for batch in images for part in torch.split(batch, _BATCH)):
        found = teacher.trace(in_unit_range(part.to(teacher.device)), features=wanted)
        logits.append(found.logits.float().cpu())
        features.append(found.features[layer].float().cpu() if wanted else logits[-1])
    if not logits:
        raise DfkdError("there is no image to look at")
    seen = Sight(torch.cat(features), torch.cat(logits), layer)
    if not seen.features.isfinite().all():
        raise DfkdError("a network's features of some images are not finite: nothing to measure")
    return seen


def _layer(teacher: Teacher) -> str:
    try:
        name = classifier(teacher.network, teacher.task.widths) + INPUT_SUFFIX
    except DfkdError:
        return ANSWERS
    images = teacher.spec.example(2, teacher.device)
    shape = teacher.trace(images, features=[name]).features[name].shape
    return name if len(shape) == 2 and shape[0] == 2 and shape[1] <= _WIDEST else ANSWERS

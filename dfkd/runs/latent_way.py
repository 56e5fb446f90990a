"""The way between latents, along the arcs of a sphere."""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor


def slerp(start: Tensor, end: Tensor, share: float) -> Tensor:
    """Return the latent at ``share`` of the way along the arc from one to the other.

    High-dimensional noise lies near a sphere, which the straight way leaves (White, "Sampling
    Generative Networks", 2016). Lengths are interpolated as well.

    Args:
        start, end: vectors.
        share: in [0, 1].

    >>> slerp(torch.tensor([2.0, 0.0]), torch.tensor([0.0, 2.0]), 0.5).tolist()
    [1.4142135381698608, 1.4142135381698608]
    """
    angle = torch.nn.functional.cosine_similarity(start, end, 0).clamp(-1, 1).acos()
    if float(angle.sin()) < 1e-4:
        return start.lerp(end, share)
    lengths = start.norm().lerp(end.norm(), share)
    one, other = start / start.norm(), end / end.norm()
    turned = torch.sin((1 - share) * angle) * one + torch.sin(share * angle) * other
    found: Tensor = lengths * turned / torch.sin(angle)
    return found


def latent_way(latents: Sequence[Tensor], frames: int) -> tuple[Tensor, list[int]]:
    """Return latents along the way, and at which of them the given ones are reached.

    Args:
        latents: to visit in turn, at least two vectors.
        frames: along the way, at least 2.
    """
    legs = list(pairwise(latents))
    places = [i * len(legs) / (frames - 1) for i in range(frames)]
    way = []
    for place in places:
        leg = min(math.floor(place), len(legs) - 1)
        way.append(slerp(*legs[leg], place - leg))
    stops = [round(i * (frames - 1) / len(legs)) for i in range(len(latents))]
    return torch.stack(way), stops

"""How many images each class has, in what order they come, and which become mixtures."""

import heapq
from collections.abc import Sequence

import torch
from torch import Tensor

_SOFT_LEAST = 0.5  # share of an image's own class in a mixture


def shared_out(total: int, weights: Sequence[float]) -> list[int]:
    """Share out whole things by weights, to the largest remainders; the sum is exact.

    >>> shared_out(10, [1, 1, 1]), shared_out(4, [3, 1])
    ([4, 3, 3], [3, 1])
    """
    whole = sum(weights)
    exact = [total * weight / whole for weight in weights]
    own = [int(value) for value in exact]
    order = sorted(range(len(own)), key=lambda i: (own[i] - exact[i], i))
    for place in order[: total - sum(own)]:
        own[place] += 1
    return own


def in_turn(counts: Sequence[int]) -> list[int]:
    """Return classes in the order of a set: each spread over it as evenly as its count allows.

    >>> in_turn([2, 0, 4])
    [2, 0, 2, 2, 0, 2]
    """
    places = (
        [((j + 0.5) / count, -count, index) for j in range(count)]
        for index, count in enumerate(counts)
    )
    return [index for *_, index in heapq.merge(*places)]


def mixed(classes: Tensor, share: float, num_classes: int, seed: int) -> Tensor:
    """Turn some targets into mixtures with a second class of the shard.

    Args:
        classes: N indices.
        share: of the images that become mixtures.
        num_classes: of the teacher.
        seed: of which, with what and how much.

    Returns:
        N x classes probabilities; the own class has at least half.
    """
    generator = torch.Generator().manual_seed(seed)
    count = len(classes)
    others = classes[torch.randperm(count, generator=generator)]
    weight = 1 - (1 - _SOFT_LEAST) * torch.rand(count, generator=generator)
    chosen = torch.randperm(count, generator=generator) < round(share * count)
    own = torch.where(chosen, weight, torch.ones(()))[:, None]
    one, other = (torch.eye(num_classes)[index] for index in (classes, others))
    return own * one + (1 - own) * other

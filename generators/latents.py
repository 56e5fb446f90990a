"""Decoders, latents and targets drawn from a generator of random numbers."""

from typing import Any

import torch
from torch import Generator, Tensor

from generators.decoders import Decoder
from generators.reset import drawn

LARGEST_START = 16
"""Side at which a decoder starts, at most: at 224 pixels two doublings would start at 56."""


def build_decoder(
    shape: tuple[int, int, int], rng: Generator, latent_dim: int, ngf: int, **options: Any
) -> Decoder:
    """Draw a ``Decoder`` for images of ``shape``, with more doublings for large ones.

    Args:
        shape: channels, height and width of an image.
        rng: draws its weights.
        latent_dim, ngf, options: see ``Decoder``.
    """
    stages = 2
    while max(shape[1:]) / 2**stages > LARGEST_START:
        stages += 1

    def build() -> Decoder:
        return Decoder(*shape, latent_dim, ngf, stages=stages, **options)

    return drawn(build, rng).to(memory_format=torch.channels_last)


def gaussian(count: int, dimensions: int, rng: Generator, device: torch.device) -> Tensor:
    """Draw latents of N(0, 1), count x dimensions, on ``rng``'s device: alike on any other."""
    return torch.randn(count, dimensions, generator=rng, device=rng.device).to(device)


def random_targets(count: int, classes: int, rng: Generator, device: torch.device) -> Tensor:
    """Draw ``count`` class indices uniformly."""
    return torch.randint(classes, (count,), generator=rng, device=rng.device).to(device)

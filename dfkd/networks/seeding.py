"""Weights drawn from a seed, while all else that is random goes on as if none had been drawn."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """What the CPU's global generator draws while the block runs comes from ``seed``.

    Accelerators' generators stay as they are: ``torch.manual_seed`` would set them as well, and
    what a student's dropout draws there would depend on what is built beside it.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield

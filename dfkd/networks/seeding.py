"""Random numbers from a seed, without moving the global generators."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the CPU's global generator while the block runs; restore its state afterwards.

    Accelerators' generators stay as they are: ``torch.manual_seed`` would set them as well, and
    what a student's dropout draws there would depend on what is built beside it.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield

"""Random numbers from a seed, without moving the global generators."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def seed_of(seed: int, place: int) -> int:
    """Derive the seed of one of many parts: other seeds lead elsewhere, places never to the same.

    Of a seed torch's generator takes 32 bits on a CPU, and would not tell larger ones apart.

    Args:
        seed: of the whole.
        place: of the part, in [0, 2**32).
    """
    start = int.from_bytes(hashlib.sha256(str(seed).encode()).digest()[:4], "big")
    return (start + place) % 2**32


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the CPU's global generator while the block runs; restore its state afterwards.

    Accelerators' generators stay as they are: ``torch.manual_seed`` would set them as well, and
    what a student's dropout draws there would depend on what is built beside it.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield

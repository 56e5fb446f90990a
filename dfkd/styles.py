"""A search for the way of drawing that a teacher's statistics recognise.

Most ways of drawing look like nothing that the teacher was trained on: a dark or a
bright ground, large or small shapes, flat or textured. What the teacher remembers of
its data says which. ``StyleSearch`` is a cross-entropy search (Rubinstein, 1999) over
``Style``: try several, measure how far the statistics of their drawings lie from the
stored ones, move towards the nearest. No gradient, a second of work.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from generators.procedural import Style

GENES = 10
"""Numbers in [0, 1] that describe a style: one a field of ``Style``."""


def decode(genes: Tensor) -> Style:
    """A point of the unit cube (GENES,) -> a style."""
    g = [float(value) for value in genes.clamp(0, 1)]
    low = 0.05 + 0.4 * g[1]
    return Style(
        shapes=1 + round(3 * g[0]),
        size_low=low,
        size_high=low + 0.9 * g[2],
        mirrored=g[3],
        holes=0.8 * g[4],
        inner=0.8 * g[5],
        texture=1.5 * g[6],
        dark_ground=g[7],
        plain_ground=g[8],
        colour=0.6 * g[9],
    )


class StyleSearch:
    """Keeps the best styles ever tried and where to look next.

    Args:
        population: styles tried in a generation.
        elites: styles kept.
        seed: of the proposals.
    """

    def __init__(self, population: int, elites: int, seed: int) -> None:
        self.population, self.elites = population, elites
        self._generator = torch.Generator().manual_seed(seed)
        self._centre, self._spread = torch.full((GENES,), 0.5), torch.full((GENES,), 0.35)
        self._best: list[tuple[float, Tensor]] = []

    @property
    def styles(self) -> tuple[Style, ...]:
        """The best styles so far, nearest first; the plain one before any search."""
        return tuple(decode(genes) for _, genes in self._best) or (Style(),)

    @property
    def distances(self) -> tuple[float, ...]:
        """Their distances, in the unit of ``advance``'s measure."""
        return tuple(distance for distance, _ in self._best)

    def advance(self, distance: Callable[[Style], float]) -> None:
        """One generation: try, measure, keep the best, look nearer to them."""
        noise = torch.randn((self.population, GENES), generator=self._generator)
        proposals = (self._centre + self._spread * noise).clamp(0, 1)
        tried = [(distance(decode(genes)), genes) for genes in proposals]
        self._best = sorted(self._best + tried, key=lambda pair: pair[0])[: self.elites]
        best = torch.stack([genes for _, genes in self._best])
        # A floor under the spread: a collapsed search would stop finding anything.
        self._centre, self._spread = best.mean(0), best.std(0, correction=0).clamp_min(0.05)

    def state_dict(self) -> dict[str, Any]:
        """Generator, proposal distribution and the best styles."""
        return {
            "generator": self._generator.get_state(),
            "centre": self._centre,
            "spread": self._spread,
            "best": self._best,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state_dict``."""
        self._generator.set_state(state["generator"])
        self._centre, self._spread = state["centre"], state["spread"]
        self._best = [(distance, genes) for distance, genes in state["best"]]

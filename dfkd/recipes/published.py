"""The papers' own sizes, where a method's recipe is smaller: data alone."""

from collections.abc import Callable
from typing import Any

from dfkd.synthesis.methods.adi import AdiConfig
from dfkd.synthesis.methods.cmi import CmiConfig
from dfkd.synthesis.methods.fast import FastConfig
from dfkd.synthesis.methods.nayer import NayerConfig
from dfkd.synthesis.methods.spaceship import SpaceshipConfig
from dfkd.training.budget import Alternation

PUBLISHED: dict[str, tuple[Callable[[], Any], Alternation]] = {
    "adi": (AdiConfig, Alternation(warmup_updates=1, steps_per_update=200, batch_size=256)),
    "cmi": (CmiConfig, Alternation(warmup_updates=1, steps_per_update=200, batch_size=256)),
    "fast": (
        FastConfig,
        Alternation(warmup_updates=20, warmup_share=0.25, steps_per_update=400, batch_size=256),
    ),
    "spaceship": (
        SpaceshipConfig,
        Alternation(warmup_updates=1, steps_per_update=2000, batch_size=256),
    ),
    "nayer": (NayerConfig, Alternation(warmup_updates=2, steps_per_update=400, batch_size=512)),
}
"""Settings and alternation as printed, where a method's own recipe is smaller; CMI's and
ADI's alternation,
which their papers do not say, and how many rounds NAYER makes first, are ours."""

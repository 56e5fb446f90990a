"""The commands and their options, as data; their docstrings are what ``--help`` says.

Nothing here imports torch: ``dfkd.cli`` reads this to understand a command before anything
slow is loaded.
"""

from dfkd.cli.dataset_arguments import DatasetMerge, Synthesize
from dfkd.cli.image_options import UNSAID, ImageOptions
from dfkd.cli.info_arguments import (
    Bench,
    Doctor,
    Evaluate,
    Knowledge,
    ProbeModel,
    Recipes,
    Schemes,
)
from dfkd.cli.run_arguments import Compare, Demo, Distill, Invert

__all__ = [
    "UNSAID",
    "Bench",
    "Compare",
    "DatasetMerge",
    "Demo",
    "Distill",
    "Doctor",
    "Evaluate",
    "ImageOptions",
    "Invert",
    "Knowledge",
    "ProbeModel",
    "Recipes",
    "Schemes",
    "Synthesize",
]

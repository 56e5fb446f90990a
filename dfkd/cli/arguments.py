"""The commands and their options, as data; their docstrings are what ``--help`` says.

Nothing here imports torch: ``dfkd.cli`` reads this to understand a command before anything
slow is loaded.
"""

from dfkd.cli.check_arguments import DatasetCard, DatasetCheck
from dfkd.cli.dataset_arguments import DatasetLabel, DatasetMerge, Synthesize
from dfkd.cli.export_arguments import ExportStats
from dfkd.cli.handover_arguments import DatasetExport, DatasetImport
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
from dfkd.cli.quality_arguments import DatasetQuality, DatasetSelect
from dfkd.cli.run_arguments import Compare, Demo, Distill, Invert
from dfkd.cli.serve_arguments import Serve
from dfkd.cli.visual_arguments import DatasetShow, Visualize

__all__ = [
    "UNSAID",
    "Bench",
    "Compare",
    "DatasetCard",
    "DatasetCheck",
    "DatasetExport",
    "DatasetImport",
    "DatasetLabel",
    "DatasetMerge",
    "DatasetQuality",
    "DatasetSelect",
    "DatasetShow",
    "Demo",
    "Distill",
    "Doctor",
    "Evaluate",
    "ExportStats",
    "ImageOptions",
    "Invert",
    "Knowledge",
    "ProbeModel",
    "Recipes",
    "Schemes",
    "Serve",
    "Synthesize",
    "Visualize",
]

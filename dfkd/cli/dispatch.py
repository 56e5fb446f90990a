"""What each command does: words in, the Python API, words out."""

from collections.abc import Callable
from typing import Any

from dfkd.cli import arguments
from dfkd.cli.compare import run_compare
from dfkd.cli.dataset import run_label, run_merge, run_synthesize
from dfkd.cli.dataset_check import run_card, run_check
from dfkd.cli.dataset_quality import run_quality, run_select
from dfkd.cli.distill import run_demo, run_distill
from dfkd.cli.export_stats import run_export_stats
from dfkd.cli.handover import run_export, run_import
from dfkd.cli.info import (
    run_bench,
    run_evaluate,
    show_findings,
    show_knowledge,
    show_probe,
    show_recipes,
    show_schemes,
)
from dfkd.cli.invert import run_invert
from dfkd.cli.serve import run_serve
from dfkd.cli.visualize import run_show, run_visualize


def run(command: Any) -> int:
    """Run the function of a command and return the exit status."""
    actions: dict[type[Any], Callable[[Any], int]] = {
        arguments.Demo: run_demo,
        arguments.ProbeModel: show_probe,
        arguments.Invert: run_invert,
        arguments.Visualize: run_visualize,
        arguments.Distill: run_distill,
        arguments.Synthesize: run_synthesize,
        arguments.DatasetLabel: run_label,
        arguments.DatasetMerge: run_merge,
        arguments.DatasetCheck: run_check,
        arguments.DatasetCard: run_card,
        arguments.DatasetExport: run_export,
        arguments.DatasetImport: run_import,
        arguments.DatasetQuality: run_quality,
        arguments.DatasetSelect: run_select,
        arguments.DatasetShow: run_show,
        arguments.Compare: run_compare,
        arguments.Evaluate: run_evaluate,
        arguments.ExportStats: run_export_stats,
        arguments.Doctor: show_findings,
        arguments.Recipes: show_recipes,
        arguments.Knowledge: show_knowledge,
        arguments.Schemes: show_schemes,
        arguments.Bench: run_bench,
        arguments.Serve: run_serve,
    }
    return actions[type(command)](command)

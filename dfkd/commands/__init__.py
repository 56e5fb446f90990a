"""What each command does: words in, the Python API, words out."""

from collections.abc import Callable
from typing import Any

from dfkd import cli
from dfkd.commands.distill import demo, distill
from dfkd.commands.invert import invert
from dfkd.commands.look import bench, evaluate, show_probe, show_recipes


def run(command: Any) -> int:
    """Dispatch; returns the exit status."""
    actions: dict[type[Any], Callable[[Any], int]] = {
        cli.Demo: demo,
        cli.ProbeModel: show_probe,
        cli.Invert: invert,
        cli.Distill: distill,
        cli.Evaluate: evaluate,
        cli.Recipes: show_recipes,
        cli.Bench: bench,
    }
    return actions[type(command)](command)

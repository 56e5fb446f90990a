"""``dfkd visualize`` and ``dfkd dataset show``."""

import webbrowser
from pathlib import Path
from typing import Any

from dfkd.cli import arguments
from dfkd.cli.common import Shown, compute_of, console, teacher_of
from dfkd.datasets.written.manifest import read_manifest
from dfkd.errors import DfkdError
from dfkd.loading.uri import local_paths
from dfkd.report.progress import Progress
from dfkd.runs import run_records
from dfkd.runs.manifest import Origin
from dfkd.runs.options import Output
from dfkd.runs.visualization import check_place, draw_visualization
from dfkd.runs.visualization_order import VisualizationOrder
from dfkd.sets.known_teachers import load_maker
from dfkd.sets.show import show_set
from dfkd.training import devices


def run_visualize(command: arguments.Visualize) -> int:
    """Draw and print which files to open."""
    what: Any = command.what
    names = None if command.layers is None else tuple(filter(None, command.layers.split(",")))
    order = VisualizationOrder(
        what, _indices(command.classes, "classes"), command.count, names,
        _indices(command.channels, "channels"), command.picture, command.method, command.steps,
        command.frames, command.seed,
    )  # fmt: skip
    output, compute = Output(command.out, command.overwrite), compute_of(command)
    check_place(order, output, [*local_paths((command.teacher,)), *command.facts.class_names])
    teacher = teacher_of(command.teacher, command.facts)
    origin = Origin(command.teacher, command=run_records.command_line())
    with Progress("Drawing", console()) as progress:
        progress.update(0.0, 0, {})
        made = draw_visualization(teacher, order, output, compute, [Shown(progress)], origin)
    for path in made.files:
        print(path)
    return 0


def _indices(text: str | None, name: str) -> tuple[int, ...] | None:
    try:
        return None if text is None else tuple(int(part) for part in text.split(","))
    except ValueError:
        raise DfkdError(f"`{name}` wants indices such as 1,7, not {text!r}") from None


def run_show(command: arguments.DatasetShow) -> int:
    """Write a set's page and say where."""
    if command.teacher is None:
        return _open(show_set(command.directory), command.open)
    device = devices.resolve_device(command.device)
    teacher = load_maker(read_manifest(command.directory), command.teacher).to(device)
    with Progress("Making the first shard again", console()) as progress:
        path = show_set(
            command.directory, teacher, lambda share, step: progress.update(share, step, {})
        )
    return _open(path, command.open)


def _open(path: Path, wanted: bool) -> int:
    print(path)
    if wanted and not webbrowser.open(path.absolute().as_uri()):
        raise DfkdError(f"no browser could be opened: open {path} yourself")
    return 0

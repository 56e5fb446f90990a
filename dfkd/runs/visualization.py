"""``dfkd.visualize``: what a teacher's classes, channels, layers and generators look like."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from dfkd.errors import DfkdError, unwritable
from dfkd.loading.uri import local_paths
from dfkd.networks.surroundings import own_surroundings
from dfkd.runs import manifest, run_directory
from dfkd.runs.callbacks import Callback
from dfkd.runs.exhibit import Group
from dfkd.runs.exhibits import EXHIBITS
from dfkd.runs.options import Compute, Output
from dfkd.runs.visualization_files import VISUALIZATION, write_visualization
from dfkd.runs.visualization_order import VisualizationOrder, What
from dfkd.teacher import Teacher
from dfkd.training import devices

_REPORT = 2.0
"""Seconds between two reports of progress."""


@dataclass(frozen=True)
class Visualization:
    """What ``dfkd.visualize`` returns.

    Attributes:
        directory: of all files.
        files: those to open: the page, the grid of all pictures, the animation where there is one.
        groups: the images with their captions, as the page has them.
        facts: figures: activations by layer and channel, errors by layer, or the like.
    """

    directory: Path
    files: Sequence[Path]
    groups: Sequence[Group]
    facts: Mapping[str, Any]


@own_surroundings()
def visualize(
    teacher: Teacher,
    what: What = "classes",
    *,
    output: Output | Path | str,
    classes: Sequence[int] | None = None,
    count: int = 8,
    layers: Sequence[str] | None = None,
    channels: Sequence[int] | None = None,
    picture: Path | str | None = None,
    method: str = "nayer",
    steps: int | None = None,
    frames: int = 30,
    seed: int = 0,
    compute: Compute | None = None,
    callbacks: Sequence[Callback] = (),
) -> Visualization:
    """Draw what a teacher sees: one page, PNG files, and an animated PNG where something moves.

    ``classes``: pictures of classes by DeepInversion. ``channels``: images that excite single
    channels. ``reconstruction``: a picture as each layer keeps it. ``walk``: a generator learns,
    and its images are shown on the way between latents. ``evolution``: how pictures of classes
    come to be. ``channels`` and ``reconstruction`` need gradients only, no statistics.

    Args:
        teacher: bit-identical afterwards.
        what: is to be seen.
        output: the directory; an ``Output`` says whether an earlier one may be replaced.
        classes: indices; the first ten when left out. Those that a walk visits.
        count: pictures a class, or channels a layer where ``channels`` are left out.
        layers: dotted module names; a few from first to last when left out.
        channels: indices, of each layer.
        picture: the PNG or JPEG file to reconstruct.
        method: whose generator learns for a walk.
        steps: of the optimiser; for a walk, of the student that the generator learns against. The
            method's own when left out.
        frames: of an animation, in [2, 60].
        seed: the same seed gives the same pictures on the same machine.
        compute: device and compilation, in one process and in float32.
        callbacks: watch the run.

    Raises:
        DfkdError: no such class, layer or channel, a teacher that lacks what is needed, a picture
            that cannot be read, or no room in ``output``.
    """
    order = VisualizationOrder(
        what, _fixed(classes), count, _fixed(layers), _fixed(channels),
        None if picture is None else Path(picture), method, steps, frames, seed,
    )  # fmt: skip
    output = output if isinstance(output, Output) else Output(output)
    return draw_visualization(teacher, order, output, compute or Compute(), callbacks)


def _fixed(values: Any) -> Any:
    return None if values is None else tuple(values)


def check_place(order: VisualizationOrder, output: Output, reads: Iterable[Path] = ()) -> Path:
    """Return the directory to write to; nothing is written yet.

    Args:
        order: what is to be seen.
        output: where.
        reads: files that are read besides the picture.

    Raises:
        DfkdError: it is taken, or is read from; an option that has no meaning here.
    """
    if output.path is None or output.resume:
        raise DfkdError("a visualisation is written in one go: name its directory as `output`")
    own = [order.picture] if order.picture else []
    return run_directory.prepare(
        output.path, output.overwrite, layout=VISUALIZATION, reads=[*own, *reads]
    )


def draw_visualization(
    teacher: Teacher,
    order: VisualizationOrder,
    output: Output,
    compute: Compute,
    callbacks: Sequence[Callback] = (),
    origin: manifest.Origin | None = None,
) -> Visualization:
    """Make what ``order`` asks for and write it; the arguments are those of ``visualize``."""
    origin = origin or manifest.Origin()
    order.check(teacher)
    directory = check_place(order, output, local_paths((origin.teacher,)))
    if compute.precision == "bf16" or compute.devices > 1:
        name = "devices" if compute.devices > 1 else "precision"
        raise DfkdError(f"pictures are made in float32 and in one process: leave `{name}` out")
    teacher.to(devices.resolve_device(compute.device))
    if order.what != "walk":
        teacher.require_gradient("visualize")
    before, digests = teacher.fingerprint(), teacher.digests()
    exhibit = EXHIBITS[order.what](teacher, order, compute, _reporter(callbacks))
    teacher.check_untouched(digests)
    for group in exhibit.groups:
        if not bool(torch.isfinite(group.images).all()):
            raise DfkdError(
                "the pictures are no numbers any more: lower `steps`, or another `seed`"
            )
    record = manifest.inversion_manifest(asdict(order), order.seed, teacher, origin, before)
    record["recipe"] |= {"picture": str(order.picture) if order.picture else None}
    record |= {"visualized": order.what, "facts": dict(exhibit.facts)}
    if exhibit.real:
        record["real_data"] = {"used": True, "purpose": exhibit.real}
    run_directory.create(directory, overwrite=output.overwrite, layout=VISUALIZATION)
    try:
        files = write_visualization(directory, exhibit, record)
    except OSError as error:
        raise unwritable(error, directory) from error
    return Visualization(directory, files, exhibit.groups, exhibit.facts)


def _reporter(callbacks: Sequence[Callback]) -> Any:
    last = [time.monotonic()]

    def pulse(share: float, step: int) -> None:
        if time.monotonic() - last[0] >= _REPORT:
            last[0] = time.monotonic()
            for callback in callbacks:
                callback.on_log(min(1.0, share), step, {}, ())

    return pulse

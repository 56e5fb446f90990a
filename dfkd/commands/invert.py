"""``dfkd invert``."""

import signal
import threading
import time
from collections.abc import Mapping

import torch

from dfkd import arguments, devices, rundir
from dfkd.commands.shared import console, teacher_of, tell_compiled
from dfkd.errors import DfkdError
from dfkd.inversion import invert_run
from dfkd.loading.uri import local_paths
from dfkd.networks import count_parameters
from dfkd.report.grid import write_grid, write_images
from dfkd.report.log import MetricsLog
from dfkd.report.page import write_page
from dfkd.report.progress import Progress


def invert(command: arguments.Invert) -> int:
    """Pictures, one PNG each, with a grid and a page."""
    classes = _class_list(command.classes)
    reads = local_paths((command.teacher,)) + list(command.facts.class_names)
    directory = rundir.prepare(command.out, command.overwrite, reads=reads)
    teacher = teacher_of(command.teacher, command.facts)
    if not teacher.layers:
        raise DfkdError(
            "pictures are made from batch-norm statistics, and this teacher stores none; "
            "dfkd distill --method drawings needs only its answers"
        )
    device = devices.resolve_device(command.device)
    teacher.to(device)
    before = teacher.fingerprint()
    stop = threading.Event()
    previous = signal.signal(signal.SIGINT, lambda *_: stop.set())
    rows: list[tuple[int, float, dict[str, float]]] = []
    clock = _Clock()
    with Progress("Inverting", console()) as progress:

        def show(share: float, metrics: Mapping[str, torch.Tensor]) -> None:
            if not clock.steps:  # all that can be refused has been, and little is lost yet
                rundir.create(directory, overwrite=command.overwrite)
            clock.steps += 1
            if clock.due():
                values = {name: float(value) for name, value in metrics.items()}
                rows.append((clock.steps, clock.seconds, values))
                progress.update(share, clock.steps, values)

        try:
            result = invert_run(
                teacher,
                classes,
                command.count,
                steps=command.steps,
                minutes=command.minutes,
                seed=command.seed,
                compile=command.compile,
                recompute=command.recompute,
                batch_size=command.batch_size,
                progress=show,
                stop=stop.is_set,
            )
        finally:
            signal.signal(signal.SIGINT, previous)
    log = MetricsLog(directory)
    for row in rows:
        log.write(*row)
    log.close()
    targets = result.targets.tolist()
    images = result.images.cpu()
    write_images(directory, images, targets)
    write_grid(directory / "grid.png", images, [teacher.class_names[i] for i in targets])
    figures = {
        "method": "deep_inversion",
        "own_top1": result.own_top1,
        "images_synthesized": len(images),
        "teacher_forwards": result.teacher_images,
        "teacher_parameters": count_parameters(teacher.network),
        "steps": result.steps,
        "compiled": result.compiled,
        "seconds": {
            "total": round(result.seconds, 2),
            "synthesis": round(result.seconds, 2),
            "distillation": 0.0,
        },
    }
    manifest = {
        **rundir.provenance(rundir.command_line(), devices.hardware(device)),
        "teacher": command.teacher,
        "recipe": {"method": "deep_inversion", "classes": classes, "count": command.count},
        "seed": command.seed,
        "class_names": list(teacher.class_names),
        "teacher_hash_before": before,
        "teacher_hash_after": teacher.fingerprint(),
        "real_data": {"used": False, "purpose": "none"},
    }
    rundir.write_json(directory / "result.json", figures)
    rundir.write_json(directory / "manifest.json", manifest)
    write_page(directory)
    tell_compiled(result.compiled)
    print(f"recognised by the teacher as their class: {result.own_top1:.1%}")
    for name in ("images", "report.html", "grid.png"):
        print(directory / name)
    return 130 if stop.is_set() else 0


class _Clock:
    """Steps and seconds, and whether two seconds have passed since the last report."""

    def __init__(self) -> None:
        self.steps, self._now = 0, time.perf_counter
        self._start = self._reported = self._now()

    @property
    def seconds(self) -> float:
        return self._now() - self._start

    def due(self) -> bool:
        if self._now() - self._reported < 2.0:
            return False
        self._reported = self._now()
        return True


def _class_list(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise DfkdError(f"--classes wants indices such as 1,7, not {text!r}") from None

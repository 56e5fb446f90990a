"""What ``dfkd invert`` leaves behind, the pictures first: whatever fails after them costs none."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from dfkd.errors import unwritable
from dfkd.networks import count_parameters
from dfkd.report.grid import to_uint8, write_grid, write_images
from dfkd.report.log import MetricsLog
from dfkd.report.page import write_page
from dfkd.runs import run_records
from dfkd.runs.inversion import InversionResult
from dfkd.teacher import Teacher
from dfkd.training.files import replacing

Row = tuple[int, float, dict[str, float]]


def write(
    directory: Path,
    result: InversionResult,
    teacher: Teacher,
    manifest: Mapping[str, Any],
    rows: Sequence[Row],
) -> list[Path]:
    """Pictures, figures, manifest, log, grid and page; returns what a user will want to open.

    Args:
        rows: of the log: step, seconds, losses by name.

    Raises:
        DfkdError: the disk takes no more; what was written before stays.
    """
    targets, images = result.targets.tolist(), result.images.cpu()
    try:
        written = _write_images(directory, images, targets)
        run_records.write_json(directory / "result.json", _figures(result, teacher))
        run_records.write_json(directory / "manifest.json", manifest)
        log = MetricsLog(directory)
        for row in rows:
            log.write(*row)
        log.close()
        write_grid(directory / "grid.png", images, [teacher.class_names[i] for i in targets])
        return [*written, write_page(directory), directory / "grid.png"]
    except OSError as error:
        raise unwritable(error, directory) from error


def _write_images(directory: Path, images: Tensor, targets: Sequence[int]) -> list[Path]:
    """One PNG each; what PNG cannot hold goes into a file of arrays, and is shown by its first."""
    channels = images.shape[1]
    if channels in (1, 3):
        write_images(directory, images, targets)
        return [directory / "images"]
    path = directory / "images.npz"
    with replacing(path) as part, part.open("wb") as file:
        np.savez_compressed(file, images=to_uint8(images), labels=np.array(targets))
    write_images(directory, images[:, : 3 if channels > 3 else 1], targets)
    return [path, directory / "images"]


def _figures(result: InversionResult, teacher: Teacher) -> dict[str, Any]:
    seconds = round(result.seconds, 2)
    return {
        "method": "deep_inversion",
        "own_top1": result.own_top1,
        "images_synthesized": len(result.images),
        "teacher_forwards": result.teacher_images,
        "teacher_parameters": count_parameters(teacher.network),
        "steps": result.steps,
        **result.decided,
        "complete": result.complete,
        "seconds": {"total": seconds, "synthesis": seconds, "distillation": 0.0},
    }


def recipe(result: InversionResult, classes: Sequence[int], count: int) -> dict[str, Any]:
    """What the pictures were asked to be, and the setting as it was used."""
    setting = dataclasses.asdict(result.config)
    return {
        "method": "deep_inversion", "classes": list(classes), "count": count, "synthesizer": setting
    }  # fmt: skip

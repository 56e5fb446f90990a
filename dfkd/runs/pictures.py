"""What an inversion leaves behind, the pictures first: whatever fails after them costs none."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from dfkd.errors import unwritable
from dfkd.report.grid import to_uint8, write_grid, write_images
from dfkd.report.page import write_page
from dfkd.runs import run_records
from dfkd.training.files import replacing


def write_pictures(
    directory: Path,
    images: Tensor,
    targets: Tensor,
    names: Sequence[str],
    metrics: Mapping[str, Any],
    manifest: Mapping[str, Any],
) -> None:
    """Write pictures, ``result.json``, ``manifest.json``, grid and page.

    Args:
        directory: of the run.
        images: N x C x H x W float in [0, 1], on the CPU.
        targets: N class indices.
        names: those of their classes.
        metrics: what ``result.json`` is to hold.
        manifest: where the pictures came from.

    Raises:
        DfkdError: the disk takes no more; what was written before stays.
    """
    try:
        _write_images(directory, images, targets.tolist())
        run_records.write_json(directory / "result.json", metrics)
        run_records.write_json(directory / "manifest.json", manifest)
        write_grid(directory / "grid.png", images, names)
        write_page(directory, manifest, metrics)
    except OSError as error:
        raise unwritable(error, directory) from error


def files_to_open(directory: Path) -> list[Path]:
    """List the files to open that exist: images, report and grid."""
    names = ("images.npz", "images", "report.html", "grid.png")
    return [directory / name for name in names if (directory / name).exists()]


def _write_images(directory: Path, images: Tensor, targets: Sequence[int]) -> None:
    """One PNG each; what PNG cannot hold goes into a file of arrays, and is shown by its first."""
    channels = images.shape[1]
    if channels in (1, 3):
        write_images(directory, images, targets)
        return
    with replacing(directory / "images.npz") as part, part.open("wb") as file:
        np.savez_compressed(file, images=to_uint8(images), labels=np.array(targets))
    write_images(directory, images[:, : 3 if channels > 3 else 1], targets)

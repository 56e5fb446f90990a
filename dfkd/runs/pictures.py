"""What an inversion leaves behind, the pictures first: whatever fails after them costs none."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from dfkd.errors import unwritable
from dfkd.report.gallery import Gallery, evolution_strips, gallery_of
from dfkd.report.grid import to_uint8, write_grid, write_images
from dfkd.report.page import write_page
from dfkd.runs import run_records
from dfkd.synthesis.evolution import Evolution
from dfkd.training.files import replacing


def write_pictures(
    directory: Path,
    images: Tensor,
    targets: Tensor,
    names: Sequence[str],
    metrics: Mapping[str, Any],
    manifest: Mapping[str, Any],
    gallery: Gallery | None = None,
) -> None:
    """Write pictures, ``result.json``, ``manifest.json``, grid and page.

    Args:
        directory: of the run.
        images: N x C x H x W float in [0, 1], on the CPU.
        targets: N class indices.
        names: those of their classes.
        metrics: what ``result.json`` is to hold.
        manifest: where the pictures came from.
        gallery: the pictures of the page; ``grid.png`` when left out.

    Raises:
        DfkdError: the disk takes no more; what was written before stays.
    """
    try:
        _write_images(directory, images, targets.tolist())
        run_records.write_json(directory / "result.json", metrics)
        run_records.write_json(directory / "manifest.json", manifest)
        write_grid(directory / "grid.png", images, names)
        write_page(directory, manifest, metrics, gallery)
    except OSError as error:
        raise unwritable(error, directory) from error


def gallery_of_run(
    images: Tensor, labels: Sequence[int], confidences: Sequence[float], names: Sequence[str],
    evolution: Evolution,
) -> Gallery:  # fmt: skip
    """Collect what the page of an inversion shows.

    Args:
        images: N x C x H x W float in [0, 1], on the CPU.
        labels: N class indices.
        confidences: the teacher's in these classes, N.
        names: N texts, those of the images' classes.
        evolution: of the first images.
    """
    known = dict(zip(labels, names, strict=True))
    gallery = gallery_of(images, labels, confidences, known)
    if not evolution.complete:
        return gallery
    frames = evolution.stacked()[:, : len(names)]
    strips, moments = evolution_strips(frames, names[: frames.shape[1]], evolution.shares)
    note = "The first images, at evenly spaced moments of their making."
    return replace(gallery, strips=strips, moments=moments, note=note)


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

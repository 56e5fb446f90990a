"""One epoch of labels on the disk: nothing in its file is trusted, and no value read unchecked."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from dfkd.datasets.written.answers import answer_columns
from dfkd.datasets.written.drawn_views import draw_views
from dfkd.datasets.written.label_manifest import DRAWN, LabelManifest, epoch_name
from dfkd.datasets.written.shards import digest, write_columns
from dfkd.datasets.written.views import UNIT, Views
from dfkd.errors import DfkdError
from dfkd.tasks.words import shown

_Kinds = dict[str, tuple[str, tuple[int, ...]]]
_VIEWS: _Kinds = {
    "box": ("I32", (4,)),
    "flip": ("U8", ()),
    "light": ("F16", (2,)),
    "partner": ("I32", ()),
    "patch": ("I32", (4,)),
}
_OTHERS = {f"other_{name}": _VIEWS[name] for name in ("box", "flip", "light")}
"""How partners are shown, in labels that a selection has; elsewhere it follows from the rest."""
_BRIGHTEST = 2.0


def write_epoch(path: Path, answers: Mapping[str, Tensor], views: Views | None = None) -> str:
    """Write an epoch, whole or not at all; return the SHA-256 of its bytes.

    Args:
        path: the file.
        answers: columns of ``answers_as_rows``.
        views: of all images, where they do not follow from the seed.
    """
    return write_columns(path, {**(views._asdict() if views else {}), **answers})


def read_epoch(
    directory: Path, manifest: LabelManifest, epoch: int, classes: int
) -> tuple[Views, dict[str, Tensor]]:
    """Read and check an epoch; returns the views and the answers to them.

    Args:
        directory: of the set.
        manifest: of its labels; the file's bytes must be what that says, if it says anything.
        epoch: from 0.
        classes: of the set.

    Raises:
        DfkdError: it is missing, damaged, or of another set.
    """
    again, path = "run dfkd dataset label again", directory / epoch_name(epoch)
    known, count, drawn = manifest.epochs[epoch], manifest.images, manifest.format == DRAWN
    if path.is_symlink() or not path.is_file():
        raise DfkdError(f"{path} is missing: {again}")
    try:
        with safe_open(str(path), "pt") as file:
            kept = answer_columns(classes, manifest.top_k, manifest.bits)
            scales = 1 if drawn else count
            views = {} if drawn else _VIEWS | (_OTHERS if "other_box" in file.keys() else {})  # noqa: SIM118
            _check_header(file, count, scales, {**views, **kept})
            columns = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if known is not None and digest(path) != known:
            raise ValueError("its bytes are not those of labels.json")
        _check_values(columns, count, classes)
    except (SafetensorError, OSError, ValueError) as error:
        raise DfkdError(f"{path} is damaged ({shown(str(error), 80)}): {again}") from None
    if drawn:
        return draw_views(count, manifest.views, manifest.seed, epoch), columns
    known_views = [columns.pop(name) for name in Views._fields if name in columns]
    return (Views if "other_box" in views else Views.of)(*known_views), columns


def _check_header(
    file: Any, count: int, scales: int, wanted: Mapping[str, tuple[str, tuple[int, ...]]]
) -> None:
    """Compare types and shapes, before any value is read."""
    slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
    if slices.keys() != wanted.keys():
        raise ValueError(f"it holds {', '.join(sorted(slices))}")
    for name, (kind, tail) in wanted.items():
        found = slices[name].get_dtype(), tuple(slices[name].get_shape())
        if found != (kind, (scales if name == "scale" else count, *tail)):
            raise ValueError(f"{name} is {found[0]} of {found[1]}")


def _check_values(columns: Mapping[str, Tensor], count: int, classes: int) -> None:
    """Raise where a value is none that a view or an answer can have; NaN lies nowhere."""
    bounds: Sequence[tuple[str, float, float]] = (
        ("box", 0, UNIT), ("patch", 0, UNIT), ("flip", 0, 1), ("light", 0, _BRIGHTEST),
        ("other_box", 0, UNIT), ("other_flip", 0, 1), ("other_light", 0, _BRIGHTEST),
        ("partner", 0, count - 1), ("classes", 0, classes - 1), ("values", -torch.inf, 0.01),
        ("logits", torch.finfo(torch.half).min, torch.finfo(torch.half).max),
        ("scale", 0, torch.finfo(torch.half).max),
    )  # fmt: skip
    for name, low, high in bounds:
        values = columns.get(name)
        if values is not None and not bool(((values >= low) & (values <= high)).all()):
            raise ValueError(f"{name} is out of range")
    for name in ("box", "patch", "other_box"):
        corners = columns.get(name)
        if corners is not None and not bool((corners[:, :2] <= corners[:, 2:]).all()):
            raise ValueError(f"{name} has corners in another order")

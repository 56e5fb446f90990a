"""One epoch of labels on the disk: nothing in its file is trusted, and no value read unchecked."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from dfkd.datasets.written.shards import digest
from dfkd.datasets.written.views import UNIT, Views
from dfkd.errors import DfkdError
from dfkd.tasks.words import shown

_VIEWS: Mapping[str, tuple[str, tuple[int, ...]]] = {
    "box": ("I32", (4,)),
    "flip": ("U8", ()),
    "light": ("F16", (2,)),
    "partner": ("I32", ()),
    "patch": ("I32", (4,)),
}
_BRIGHTEST = 2.0


def read_epoch(
    path: Path, count: int, classes: int, top_k: int = 0, known: str | None = None
) -> tuple[Views, dict[str, Tensor]]:
    """Read and check an epoch.

    Args:
        path: the file.
        count: images of the set.
        classes: of the set.
        top_k: how many answers a label keeps; 0: all.
        known: SHA-256 of its bytes; None: any.

    Raises:
        DfkdError: it is missing, damaged, or of another set.
    """
    again = "run dfkd dataset label again"
    if path.is_symlink() or not path.is_file():
        raise DfkdError(f"{path} is missing: {again}")
    try:
        with safe_open(str(path), "pt") as file:
            _check_header(file, count, classes, top_k)
            columns = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if known is not None and digest(path) != known:
            raise ValueError("its bytes are not those of labels.json")
        _check_values(columns, count, classes)
    except (SafetensorError, OSError, ValueError) as error:
        raise DfkdError(f"{path} is damaged ({shown(str(error), 80)}): {again}") from None
    answers = {name: values for name, values in columns.items() if name not in _VIEWS}
    return Views(*(columns[name] for name in Views._fields)), answers


KINDS_OF_CLASSES = {torch.uint8: "U8", torch.int16: "I16", torch.int32: "I32"}
"""What class indices are kept as, by safetensors' names."""


def class_kind(classes: int) -> torch.dtype:
    """Return the smallest type that holds the index of every class.

    >>> class_kind(10), class_kind(1000)
    (torch.uint8, torch.int16)
    """
    return next(kind for kind in KINDS_OF_CLASSES if classes <= torch.iinfo(kind).max + 1)


def _check_header(file: Any, count: int, classes: int, top_k: int) -> None:
    """Compare types and shapes, before any value is read."""
    kind = KINDS_OF_CLASSES[class_kind(classes)]
    few = {"values": ("F16", (top_k,)), "classes": (kind, (top_k,))}
    wanted = {**_VIEWS, **(few if top_k else {"logits": ("F16", (classes,))})}
    slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
    if slices.keys() != wanted.keys():
        raise ValueError(f"it holds {', '.join(sorted(slices))}")
    for name, (kind, tail) in wanted.items():
        found = slices[name].get_dtype(), tuple(slices[name].get_shape())
        if found != (kind, (count, *tail)):
            raise ValueError(f"{name} is {found[0]} of {found[1]}")


def _check_values(columns: Mapping[str, Tensor], count: int, classes: int) -> None:
    """Raise where a value is none that a view or an answer can have; NaN lies nowhere."""
    bounds: Sequence[tuple[str, float, float]] = (
        ("box", 0, UNIT), ("patch", 0, UNIT), ("flip", 0, 1), ("light", 0, _BRIGHTEST),
        ("partner", 0, count - 1), ("classes", 0, classes - 1), ("values", -torch.inf, 0.01),
        ("logits", torch.finfo(torch.half).min, torch.finfo(torch.half).max),
    )  # fmt: skip
    for name, low, high in bounds:
        values = columns.get(name)
        if values is not None and not bool(((values >= low) & (values <= high)).all()):
            raise ValueError(f"{name} is out of range")
    for name in ("box", "patch"):
        if not bool((columns[name][:, :2] <= columns[name][:, 2:]).all()):
            raise ValueError(f"{name} has corners in another order")

"""A shard: some images of a written dataset with all that is known of them, in one file.

A safetensors file with one tensor a column and a row an image. ``images`` (uint8,
N x C x H x W), ``labels`` (int64, N) and ``logits`` (float16, N x classes: the teacher's answers
to the images as stored) are always there; ``targets`` (float16, N x classes) where images were
made for mixtures of classes; every other column is one number an image, of its making:
``seed``, ``iterations``, ``confidence``, ``loss_NAME``. The same rows give the same bytes.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from dfkd.errors import DfkdError
from dfkd.tasks.words import shown
from dfkd.training.files import replacing

KNOWN: Mapping[str, tuple[torch.dtype, int]] = {
    "images": (torch.uint8, 4),
    "labels": (torch.int64, 1),
    "logits": (torch.float16, 2),
    "targets": (torch.float16, 2),
}
"""Type and dimensions of the columns that are more than a number an image."""
NEEDED = ("images", "labels", "logits")
_BYTES = {torch.uint8: "U8", torch.int64: "I64", torch.float16: "F16", torch.float32: "F32"}
_PIECE = 1 << 20


def shard_name(index: int) -> str:
    """Return the file of a shard within its set; names in a manifest are never opened.

    >>> shard_name(7)
    'shards/00007.safetensors'
    """
    return f"shards/{index:05d}.safetensors"


def check_rows(rows: Mapping[str, Tensor]) -> None:
    """Raise a ``DfkdError`` unless ``rows`` are the columns of a shard."""
    if absent := [name for name in NEEDED if name not in rows]:
        raise DfkdError(f"a shard needs {', '.join(absent)}")
    count = len(rows["images"])
    for name, values in rows.items():
        kind, dimensions = KNOWN.get(name, (values.dtype, 1))
        if values.dtype != kind or values.ndim != dimensions or values.dtype not in _BYTES:
            found = f"{values.dtype} of {tuple(values.shape)}"
            raise DfkdError(f"the column {shown(name, 40)} must not be {found}")
        if len(values) != count:
            raise DfkdError(f"{count} images and {len(values)} of {shown(name, 40)}")


def write_shard(path: Path, rows: Mapping[str, Tensor]) -> str:
    """Write a shard, whole or not at all; return the SHA-256 of its bytes in hexadecimal.

    Args:
        path: the file; its directory is made where there is none.
        rows: columns by name, see above; copied to the CPU.

    Raises:
        DfkdError: not the columns of a shard.
        OSError: it cannot be written.
    """
    check_rows(rows)
    return write_columns(path, rows)


def write_columns(path: Path, columns: Mapping[str, Tensor]) -> str:
    """Write tensors by name, whole or not at all; return the SHA-256 of the file's bytes.

    Args:
        path: the file; its directory is made where there is none.
        columns: copied to the CPU.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    plain = {name: columns[name].detach().cpu().contiguous() for name in sorted(columns)}
    with replacing(path) as part:
        try:
            save_file(plain, part)
        except SafetensorError as error:  # its word for a full disk
            raise OSError(str(error).rpartition("I/O error: ")[2]) from error
        return digest(part)


def digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes in hexadecimal, reading it piece by piece."""
    sums = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            sums.update(piece)
    return sums.hexdigest()


def _described(file: Any) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Type and shape of each tensor of an open file, none of them read."""
    slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
    return {name: (one.get_dtype(), tuple(one.get_shape())) for name, one in slices.items()}


class ShardFile:
    """An open shard, of which rows are read without the rest.

    Args:
        path: the file.
        shape: channels, height and width that its images must have.
        classes: how many logits a row must have.
        count: how many rows it must have; None: however many there are.

    Attributes:
        columns: the names of what is there.

    Raises:
        DfkdError: it is missing, no whole safetensors file, or holds other columns or shapes. No
            value has been read by then: a header cannot ask for more memory than the file has.
    """

    def __init__(
        self, path: Path, shape: Sequence[int], classes: int, count: int | None = None
    ) -> None:
        self.path = path
        if path.is_symlink() or not path.is_file():
            raise DfkdError(f"{path} is missing: dfkd dataset check --repair makes it again")
        try:
            file: Any = safe_open(str(path), "pt")
            found = _described(file)
            self.columns = tuple(sorted(found))
            self._check(found, tuple(shape), classes, count)
            # Views of the mapped file: a page is read when one of its values is.
            self._values: dict[str, Tensor] = {name: file.get_tensor(name) for name in found}
        except (SafetensorError, OSError) as error:
            raise DfkdError(f"{path} is damaged ({error}): dfkd dataset check --repair") from None

    def _check(
        self, found: Mapping[str, Any], shape: tuple[int, ...], classes: int, count: int | None
    ) -> None:
        rows = found["images"][1][0] if found.get("images", ("", ()))[1] else 0
        if count is not None and rows != count:
            raise DfkdError(f"{self.path} holds {rows} images, and the manifest says {count}")
        tails = {"images": shape, "logits": (classes,), "targets": (classes,)}
        for name in dict.fromkeys((*NEEDED, *found)):
            kind, size = found.get(name, ("", ()))
            wanted = (rows, *tails.get(name, ()))
            types = [_BYTES[KNOWN[name][0]]] if name in KNOWN else list(_BYTES.values())
            if size != wanted or kind not in types:
                held = f"{kind} of {size}" if kind else "nothing"
                raise DfkdError(
                    f"{self.path}: {shown(name, 40)} should be {' or '.join(types)} of {wanted}, "
                    f"and is {held}"
                )

    def read(self, name: str, start: int, stop: int) -> Tensor:
        """Return a copy of the rows from ``start`` to before ``stop`` of a column."""
        return self.mapped(name)[start:stop].clone()

    def mapped(self, name: str) -> Tensor:
        """Return a column as it lies in the mapped file, for reading alone: copy what you keep."""
        try:
            return self._values[name]
        except KeyError:
            raise DfkdError(f"{self.path} has no column {shown(name, 40)}") from None

    def rows(self) -> dict[str, Tensor]:
        """Return a copy of all of it."""
        return {name: values.clone() for name, values in self._values.items()}

"""Files of weights by what is in them, whatever they are called: a tree of tensors each.

Nothing in a file is run. What torch's own restricted loader refuses is read with inert stand-ins
(``dfkd.loading.inert``).
"""

import io
import json
import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from dfkd.errors import DfkdError
from dfkd.loading.inert import Numbers, Stored, read_pickle

LARGEST_JSON = 100_000_000
"""Bytes of a description in an archive."""
MAGIC = 0x1950A86A20F9469CFC6C
"""The first number of a file of ``torch.save`` from before version 1.6."""
_SILENT = {"numpy", "_codecs", "copyreg", "copy_reg"}
"""Modules whose names in a file are of arrays and of the way objects are written."""
EXPORTED = (
    "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64", "complex32",
    "complex64", "complex128", "bool", "bfloat16",
)  # fmt: skip
"""Types of numbers by the place, from 1, that ``torch.export`` writes for them."""


class Content(NamedTuple):
    """What a file holds.

    Attributes:
        tree: mappings, stand-ins and lists, with tensors in them.
        lines: what was decided in reading it, a sentence each.
    """

    tree: Any
    lines: tuple[str, ...] = ()


def read_content(path: Path) -> Content:
    """Read a file of tensors by its content.

    Raises:
        DfkdError: no such file, no kind that is known, damaged or truncated.
    """
    if not path.is_file():
        raise DfkdError(f"no weights file {str(path)!r}")
    try:
        with path.open("rb") as file:
            start = file.read(200)
    except OSError as error:
        raise DfkdError(f"{path} cannot be read ({error.strerror})") from None
    if start.startswith(b"PK"):
        return _unzipped(path)
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") < path.stat().st_size:
        return _safetensors(path)
    if path.suffix == ".safetensors":  # says in its own words what is wrong
        return _safetensors(path)
    if start.startswith(b"version https://git-lfs"):
        raise DfkdError(f"{path} is a pointer of git-lfs, not the file itself: run git lfs pull")
    if start.startswith(b"\x89HDF"):
        raise DfkdError(f"{path} is an HDF5 file; save its arrays with numpy.savez, by their keys")
    return _pickled(path, lambda: _legacy(path))


def _safetensors(path: Path) -> Content:
    try:
        return Content(load_file(path))
    except (SafetensorError, OSError) as error:
        raise DfkdError(f"{path} is no whole safetensors file ({error}); fetch it again") from None


def _pickled(path: Path, inertly: Callable[[], Content]) -> Content:
    """By torch's restricted loader where that is enough, else with stand-ins."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a pickle's age; what matters is raised
            return Content(torch.load(path, map_location="cpu", weights_only=True))
    except Exception:  # torch raises what its unpickler stumbled over: even KeyError
        pass
    try:
        return inertly()
    except DfkdError:
        raise
    except Exception:
        raise damaged(path) from None


def damaged(path: Path) -> DfkdError:
    """Return the error to raise where a file is none that can be read."""
    return DfkdError(
        f"{path} is damaged, truncated or no file of torch.save; fetch or save it again "
        "(a state_dict, or .safetensors)"
    )


def _unzipped(path: Path) -> Content:
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, NotImplementedError, ValueError):
        raise damaged(path) from None
    with archive:
        names = {name.partition("/")[2]: name for name in archive.namelist()}
        if any(name.endswith(".npy") for name in archive.namelist()):
            return _arrays(path, archive)
        try:
            if "data.pkl" not in names and "archive_format" in names:
                return Content(_exported(archive, names))
            if "data.pkl" in names and "constants.pkl" in names:
                if not any(name.startswith("data/") for name in names):
                    raise DfkdError(
                        f"{path} is frozen TorchScript, whose weights have no names: use it whole, "
                        f"as torchscript:{path}?trust=True"
                    )
                return Content(_Archive(archive, names).load()[0])
            if "serialized_state_dict.pt" in archive.namelist():
                inner = zipfile.ZipFile(io.BytesIO(archive.read("serialized_state_dict.pt")))
                return _noted(_Archive(inner).load())
        except DfkdError:
            raise
        except Exception:
            raise damaged(path) from None
        return _pickled(path, lambda: _noted(_Archive(archive, names).load()))


def _arrays(path: Path, archive: zipfile.ZipFile) -> Content:
    large, packed = sum(i.file_size for i in archive.infolist()), path.stat().st_size
    if large > 20 * packed + 2**30:
        raise DfkdError(f"{path} would unpack to {large:,} bytes, far more than weights are packed")
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return Content({key: torch.from_numpy(np.array(arrays[key])) for key in arrays.files})
    except Exception as error:  # objects, damaged headers, types that torch does not know
        said = str(error).partition("\n")[0][:80]
        raise DfkdError(f"{path} holds no plain arrays ({said}); save numbers by key") from None


class _Archive:
    """A zip of ``torch.save`` or of TorchScript: a pickle, and each storage as a file of its own.

    Args:
        archive: the zip.
        names: of its entries, by what follows their first directory.
    """

    def __init__(self, archive: zipfile.ZipFile, names: dict[str, str] | None = None) -> None:
        self._archive = archive
        self._names = names or {n.partition("/")[2]: n for n in archive.namelist()}
        self._read: dict[tuple[str, torch.dtype], Numbers] = {}
        order = self.entry("byteorder") if "byteorder" in self._names else b""
        self._foreign = order not in (b"", sys.byteorder.encode())

    def load(self) -> tuple[Any, tuple[str, ...]]:
        """Read its object, and the names of what stand-ins stand for."""
        if self._foreign:
            raise DfkdError("weights of a machine with another order of bytes; save them here")
        return read_pickle(io.BytesIO(self.entry("data.pkl")), self._storage, _storage_inside)

    def entry(self, name: str) -> bytes:
        """Read one entry: torch packs none, so that none is larger than the file."""
        info = self._archive.getinfo(self._names[name])
        if info.compress_type != zipfile.ZIP_STORED:
            raise ValueError("a packed entry")
        return self._archive.read(info)

    def _storage(self, mark: Any) -> "Numbers":
        _, dtype, key, _, _ = mark
        if (key, dtype) not in self._read:
            self._read[key, dtype] = Numbers(_numbers(self.entry(f"data/{key}"), dtype))
        return self._read[key, dtype]


def _numbers(data: bytes, dtype: torch.dtype) -> Tensor:
    if not data:
        return torch.empty(0, dtype=dtype)
    return torch.frombuffer(bytearray(data), dtype=dtype)


def _noted(loaded: tuple[Any, tuple[str, ...]]) -> Content:
    tree, skipped = loaded
    skipped = tuple(name for name in skipped if name.partition(".")[0] not in _SILENT)
    if not skipped:
        return Content(tree)
    few = ", ".join(name[:60] for name in skipped[:3])
    more = f" and {len(skipped) - 3} more" if len(skipped) > 3 else ""
    return Content(tree, (f"only tensors were read: {few}{more} in it were not run",))


def _exported(archive: zipfile.ZipFile, names: dict[str, str]) -> dict[str, Tensor]:
    """The weights of a file of ``torch.export``: described in JSON, each in an entry."""
    where = "data/weights/"
    described = names[where + "model_weights_config.json"]
    if archive.getinfo(described).file_size > LARGEST_JSON:
        raise ValueError("a description that is too long")
    state = {}
    for key, one in json.loads(archive.read(described))["config"].items():
        meta = one["tensor_meta"]
        if one["use_pickle"]:
            continue
        dtype = getattr(torch, EXPORTED[int(meta["dtype"]) - 1])
        data = _Archive(archive, names).entry(where + one["path_name"])
        size, stride = ([int(n["as_int"]) for n in meta[part]] for part in ("sizes", "strides"))
        offset = int(meta["storage_offset"]["as_int"])
        state[key] = Stored(Numbers(_numbers(data, dtype)), None, offset, size, stride).read()
    return state


def _legacy(path: Path) -> Content:
    """A file from before torch 1.6, or any pickle."""
    return _noted(read_legacy(path.read_bytes()))


def read_legacy(data: bytes, inside: bool = False) -> tuple[Any, tuple[str, ...]]:
    """Read a file of the old form: pickles in a row, then the storages in the order of a list.

    Args:
        data: the whole file; a plain pickle, with its storages inside, is read as well.
        inside: it is itself inside of a pickle, and then has no further one in it.
    """
    file = io.BytesIO(data)
    storages: dict[str, tuple[Numbers, torch.dtype]] = {}
    within = None if inside else _storage_inside

    def find(mark: Any) -> Any:
        if mark[0] == "module":  # a class, with its source
            return mark[1]
        _, dtype, key, _, _, view = (*mark, None)[:6]
        if view is not None:
            raise ValueError("a storage that is a part of another")
        return storages.setdefault(key, (Numbers(), dtype))[0]

    first, skipped = read_pickle(file, find, within)
    if first != MAGIC:
        return first, skipped
    for _ in range(2):  # the version, the machine
        read_pickle(file, find)
    tree, skipped = read_pickle(file, find, within)
    for key in read_pickle(file, find)[0]:
        numbers, dtype = storages[key]
        count = int.from_bytes(file.read(8), "little")
        numbers.values = _numbers(file.read(count * dtype.itemsize), dtype)
    return tree, skipped


def _storage_inside(data: bytes) -> Any:
    return read_legacy(data, inside=True)[0]

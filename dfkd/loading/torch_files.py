"""The files that torch writes, read without its loaders: pickles by stand-ins, numbers as bytes."""

import io
import json
import sys
import zipfile
from typing import Any

import torch
from torch import Tensor

from dfkd.errors import DfkdError
from dfkd.loading.inert import read_pickle
from dfkd.loading.stored import Numbers, Stored, numbers_of

LARGEST_JSON = 100_000_000
"""Bytes of a description in an archive."""
MAGIC = 0x1950A86A20F9469CFC6C
"""The first number of a file of ``torch.save`` from before version 1.6."""
EXPORTED = (
    "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64", "complex32",
    "complex64", "complex128", "bool", "bfloat16",
)  # fmt: skip
"""Types of numbers by the place, from 1, that ``torch.export`` writes for them."""


class Archive:
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
            self._read[key, dtype] = Numbers(numbers_of(self.entry(f"data/{key}"), dtype))
        return self._read[key, dtype]


def exported_weights(archive: zipfile.ZipFile, names: dict[str, str]) -> dict[str, Tensor]:
    """Read the weights of a file of ``torch.export``: described in JSON, each in an entry.

    Args:
        archive: the zip.
        names: of its entries, by what follows their first directory.
    """
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
        data = Archive(archive, names).entry(where + one["path_name"])
        size, stride = ([int(n["as_int"]) for n in meta[part]] for part in ("sizes", "strides"))
        offset = int(meta["storage_offset"]["as_int"])
        state[key] = Stored(Numbers(numbers_of(data, dtype)), None, offset, size, stride).read()
    return state


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
        numbers.values = numbers_of(file.read(count * dtype.itemsize), dtype)
    return tree, skipped


def _storage_inside(data: bytes) -> Any:
    return read_legacy(data, inside=True)[0]

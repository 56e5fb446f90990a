"""Tensors that lie in a file: numbers in a row, and what lays a shape over them."""

import pickle
from typing import Any

import torch
from torch import Tensor

STORAGES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "ComplexFloatStorage": torch.complex64,
    "ComplexDoubleStorage": torch.complex128,
    "UntypedStorage": torch.uint8,
}
"""Torch's kinds of storage, by the type of the numbers in them."""

DTYPES = {name: value for name, value in vars(torch).items() if isinstance(value, torch.dtype)}


class Numbers:
    """A storage that has been read, or will be."""

    __slots__ = ("values",)

    def __init__(self, values: Tensor | None = None) -> None:
        self.values = values

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("a storage has no state")

    def read(self) -> Tensor:
        """Return its numbers in a row."""
        if self.values is None:
            raise EOFError("a storage is missing")
        return self.values


class Stored:
    """A tensor that is still in its file.

    Args:
        storage: its numbers.
        dtype: to read them as; None: as the storage has them.
        offset: of its first one.
        size: its shape.
        stride: from one to the next in each dimension, in numbers.
    """

    __slots__ = ("dtype", "offset", "size", "storage", "stride")

    def __init__(
        self, storage: Any, dtype: torch.dtype | None, offset: int, size: Any, stride: Any
    ) -> None:
        self.storage, self.dtype, self.offset = storage, dtype, offset
        self.size, self.stride = tuple(size), tuple(stride)

    def __setstate__(self, state: Any) -> None:
        """Ignore what the file adds, such as hooks."""

    def read(self) -> Tensor:
        """Return it; torch refuses what lies outside of its storage."""
        flat: Tensor = self.storage.read()
        if self.dtype is not None:
            flat = flat.view(torch.uint8).view(self.dtype)
        return flat.as_strided(self.size, self.stride, self.offset)


def numbers_of(data: bytes, dtype: torch.dtype) -> Tensor:
    """Read numbers in a row from bytes."""
    return torch.frombuffer(bytearray(data), dtype=dtype) if data else torch.empty(0, dtype=dtype)

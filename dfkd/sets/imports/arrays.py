"""Arrays and lists of numbers that come with an image; nothing in them is trusted."""

import io
import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dfkd.errors import DfkdError
from dfkd.tasks.words import shown


def decode_array(name: str, content: bytes) -> Any:
    """Read a NumPy array; its header cannot ask for more memory than the file has.

    Raises:
        DfkdError: it is damaged, or holds objects.
    """
    stream = io.BytesIO(content)
    try:
        version = np.lib.format.read_magic(stream)
        reader = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, fortran, dtype = reader(stream)
        left = len(content) - stream.tell()
        if dtype.hasobject or fortran or math.prod(shape) * dtype.itemsize != left:
            raise ValueError("its header does not fit its bytes")
        return np.frombuffer(content, dtype, offset=stream.tell()).reshape(shape).copy()
    except Exception as error:  # the header is Python text: what it may raise has no end
        raise DfkdError(
            f"{shown(name, 100)} is no array that can be read ({shown(error, 80)})"
        ) from None


def decode_vector(name: str, content: bytes, what: str) -> Tensor:
    """Read ``what`` of one image, a number a class: a teacher's logits, or targets."""
    values = decode_array(name, content)
    if values.dtype.kind != "f" or values.ndim != 1:
        raise DfkdError(f"{shown(name, 100)} holds {values.dtype} of {values.shape}, not {what}")
    return torch.from_numpy(values.astype(np.float32))


def as_vector(name: str, values: Any, what: str) -> Tensor | None:
    """Return a list of numbers, one a class, as a tensor; None where there is none.

    Raises:
        DfkdError: it is none.
    """
    if values is None:
        return None
    try:
        found = torch.tensor(values, dtype=torch.float32)
        if found.ndim == 1:
            return found
    except (TypeError, ValueError, RuntimeError, OverflowError):
        pass
    raise DfkdError(f"{shown(name, 100)} has {what} that are no numbers, one a class")

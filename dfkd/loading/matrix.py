"""A matrix from a file: ``.npy``, or the one tensor of a ``.safetensors``."""

from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from dfkd.errors import DfkdError


def read_matrix(path: Path) -> Tensor:
    """Read one finite float32 matrix from ``path``.

    Raises:
        DfkdError: no such file, another format, not one matrix, or NaN in it.
    """
    try:
        if path.suffix == ".safetensors":
            values = list(load_file(path).values())
        else:
            values = [torch.from_numpy(np.load(path, allow_pickle=False))]
    except (OSError, ValueError, EOFError, TypeError, SafetensorError) as error:
        raise DfkdError(f"{path} is no readable .npy or .safetensors file ({error})") from None
    if len(values) != 1 or values[0].ndim != 2:
        shapes = [tuple(value.shape) for value in values]
        raise DfkdError(f"{path} must hold one matrix, not arrays of shapes {shapes}")
    matrix = values[0].float()
    if not bool(matrix.isfinite().all()):
        raise DfkdError(f"{path} holds NaN or infinity")
    return matrix

"""The tensors of a file by their names, whatever mappings, modules and lists they lie in."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dfkd.loading.inert import Inert
from dfkd.loading.stored import Stored

_MOST = 200_000
"""Containers and tensors of a file, at most; a checkpoint with its optimiser has thousands."""
_DEEPEST = 40
_PARTS = (Mapping, list, tuple, Tensor, Stored)
_MODULE = ("_parameters", "_buffers", "_modules")
_ARRAYS = ("multiarray._reconstruct", "numeric._frombuffer")


@dataclass(frozen=True)
class Leaf:
    """A tensor of a file.

    Attributes:
        name: all keys on the way to it, with dots between them.
        group: the keys of the mapping that holds it.
        value: the tensor.
    """

    name: str
    group: tuple[str, ...]
    value: Any


def leaves(tree: Any) -> list[Leaf]:
    """List the tensors of a file, and what modules keep as extra state, in its order.

    Raises:
        ValueError: far more in it than any checkpoint has.
    """
    found, left = [], [_MOST]
    for path, group, value in _walk(tree, (), (), left):
        found.append(Leaf(".".join(path), group, value))
    return found


def _walk(
    value: Any, path: tuple[str, ...], group: tuple[str, ...], left: list[int]
) -> Iterator[tuple[tuple[str, ...], tuple[str, ...], Any]]:
    left[0] -= 1
    if left[0] < 0:
        raise ValueError("too many objects in it")
    extra = path and path[-1].endswith("_extra_state") and not isinstance(value, Inert)
    if (tensor := _tensor(value)) is not None or extra:
        yield path, group, value if tensor is None else tensor
    elif len(path) < _DEEPEST:
        for key, inner in _inside(value):
            if isinstance(inner, _PARTS) or str(key).endswith("_extra_state"):
                yield from _walk(inner, (*path, str(key)), path, left)


def _tensor(value: Any) -> Tensor | None:
    if isinstance(value, Stored):
        return value.read()
    if isinstance(value, Tensor):
        return value
    if isinstance(value, Inert) and value.origin.endswith(_ARRAYS):
        return _array(value)
    return None


def _array(value: Inert) -> Tensor | None:
    """A numpy array from what its pickle says of it; None of objects and of odd types."""
    if value.origin.endswith(_ARRAYS[1]):
        data, dtype, shape, order = value.given
    else:
        _, shape, dtype, fortran, data = value.state
        order = "F" if fortran else "C"
    code = str(dtype.given[0]) if isinstance(dtype, Inert) and dtype.given else ""
    if not re.fullmatch(r"[fiub][1248]", code):
        return None
    big = isinstance(dtype.state, tuple) and dtype.state[1:2] == (">",)
    flat = np.frombuffer(bytes(data), np.dtype((">" if big else "<") + code))
    native = flat.reshape(shape, order=order).astype(code)
    return torch.from_numpy(np.ascontiguousarray(native).reshape(shape))


def _inside(value: Any) -> Iterator[tuple[Any, Any]]:
    """What an object holds, by key; a module that was saved whole holds what it would save."""
    if isinstance(value, Inert):
        state = value.state if isinstance(value.state, Mapping) else {}
        if "_modules" in state and "_parameters" in state:
            for part in _MODULE:
                yield from _inside(state.get(part))
            return
        yield from value.items()
        yield from state.items()
        for given in value.given:
            pairs = given.items() if isinstance(given, Mapping) else given
            # An OrderedDict in its oldest form is called with a list of pairs.
            for pair in pairs if isinstance(given, (list, Mapping)) else ():
                if isinstance(pair, (list, tuple)) and len(pair) == 2:
                    yield pair[0], pair[1]
    elif isinstance(value, Mapping):
        yield from value.items()
    elif isinstance(value, (list, tuple)):
        yield from enumerate(value)

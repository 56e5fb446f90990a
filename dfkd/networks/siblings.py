"""Networks drawn anew entirely: two students that start alike would learn nothing of each other."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import ParametrizationList, is_parametrized

from dfkd.errors import DfkdError
from dfkd.networks.seeding import seeded
from dfkd.networks.zoo import initialise


@torch.no_grad()
def redrawn(module: nn.Module, seed: int) -> nn.Module:
    """Draw all weights of a module anew, so that every weight matrix is another.

    Weights without a ``reset_parameters`` (computed from others, attention) are drawn with their
    own mean and deviation; constants stay.

    Raises:
        DfkdError: names a matrix that comes out as it was.
    """
    before = {name: value.clone() for name, value in _matrices(module)}
    own = {name: value.clone() for name, value in module.named_parameters()}
    initialise(module, seed)
    with seeded(seed):
        for name, value in module.named_parameters():
            if value.ndim > 1 and _same(value, own[name]):
                value.normal_(float(value.mean()), float(value.std(correction=0)))
    for name, matrix in _matrices(module):
        if _same(matrix, before[name]) and bool((matrix != matrix.flatten()[0]).any()):
            raise DfkdError(
                f"the student's {name!r} cannot be drawn anew, and students that learn together "
                "must differ: name the others by `scheme_config.peers=[MODEL]`"
            )
    return module


def _matrices(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Weights of two dimensions or more by name, as the layers see them."""
    for prefix, layer in module.named_modules():
        if isinstance(layer, ParametrizationList):
            continue
        computed = layer.parametrizations if is_parametrized(layer) else {}
        for name in (*dict(layer.named_parameters(recurse=False)), *computed):
            value = getattr(layer, name)
            if isinstance(value, Tensor) and value.ndim > 1:
                yield f"{prefix}.{name}", value


def _same(value: Tensor, other: Tensor) -> bool:
    return not value.is_meta and torch.equal(value, other)

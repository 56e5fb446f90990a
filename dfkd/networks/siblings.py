"""A network drawn anew, so that nothing of it is what it was: twins have nothing to teach."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import ParametrizationList, is_parametrized

from dfkd.errors import DfkdError
from dfkd.networks.seeding import seeded
from dfkd.networks.zoo import initialise


@torch.no_grad()
def redrawn(module: nn.Module, seed: int) -> nn.Module:
    """``initialise`` for a network that must not be what it was: every weight matrix is another.

    What no ``reset_parameters`` reaches (weights that are computed from others, attention) is drawn
    with the mean and the deviation that it has; a constant says nothing and stays.

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
                "must differ: name the others by --set scheme_config.peers=[MODEL]"
            )
    return module


def _matrices(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Weights of two dimensions or more by name, as the layers see them."""
    for place, layer in module.named_modules():
        if isinstance(layer, ParametrizationList):
            continue
        computed = layer.parametrizations if is_parametrized(layer) else {}
        for name in (*dict(layer.named_parameters(recurse=False)), *computed):
            value = getattr(layer, name)
            if isinstance(value, Tensor) and value.ndim > 1:
                yield f"{place}.{name}", value


def _same(value: Tensor, other: Tensor) -> bool:
    return not value.is_meta and torch.equal(value, other)

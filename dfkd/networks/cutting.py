"""A classifier's last layer, cut to some of its classes."""

from collections.abc import Sequence

import torch
from torch import nn

from dfkd.errors import DfkdError


@torch.no_grad()
def cut_classes(network: nn.Module, layer: str, classes: Sequence[int]) -> nn.Module:
    """Keep some rows of a linear layer, in place; return the layer as it was.

    Args:
        network: holds it.
        layer: its dotted name.
        classes: which rows, in this order.

    Raises:
        DfkdError: there is no such layer, or a row that it has not.
    """
    try:
        whole = network.get_submodule(layer)
    except AttributeError:
        raise DfkdError(f"no layer {layer[:60]!r} to be cut") from None
    if type(whole) is not nn.Linear:
        raise DfkdError(f"layer {layer[:60]!r} is a {type(whole).__name__}, no plain linear layer")
    if not classes or min(classes) < 0 or max(classes) >= whole.out_features:
        raise DfkdError(f"layer {layer[:60]!r} has the classes 0 to {whole.out_features - 1}")
    weight, rows = whole.weight, list(classes)
    part = nn.Linear(
        whole.in_features, len(rows), whole.bias is not None, weight.device, weight.dtype
    )
    part.weight.copy_(weight[rows])
    if whole.bias is not None:
        part.bias.copy_(whole.bias[rows])
    part.train(whole.training).requires_grad_(weight.requires_grad)
    network.set_submodule(layer, part)
    return whole

"""Statistics as published codes take them: slow, obvious, and the yardstick.

The tests hold the fast taps to these numbers, and ``dfkd bench step`` to this time.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn


class LayerCall(NamedTuple):
    """One call of a layer: the layer, mean and biased variance (C,) of its input."""

    layer: Any
    mean: Tensor
    var: Tensor


def hooked_statistics(
    network: nn.Module, layers: list[nn.Module], images: Tensor
) -> tuple[Tensor, list[LayerCall]]:
    """Return the logits, and the input statistics of ``layers`` in the order of the calls.

    One hook a layer, the mean of its flattened input, the variance of a permuted copy, and
    autograd for the gradient. Inputs are copied first: nothing in-place can reach them.

    Args:
        network: maps images to logits.
        layers: whose input is hooked.
        images: N x C x H x W, normalised.
    """
    calls: list[LayerCall] = []

    def hook(module: nn.Module, arguments: tuple[Any, ...]) -> None:
        z = arguments[0].clone()
        wide = z if z.dtype == torch.float64 else z.float()
        rows = wide.transpose(0, 1).reshape(z.shape[1], -1)
        var = ((rows - rows.mean(1, keepdim=True)) ** 2).mean(1)
        calls.append(LayerCall(module, rows.mean(1), var))

    handles = [layer.register_forward_pre_hook(hook) for layer in layers]
    try:
        logits: Tensor = network(images)
    finally:
        for handle in handles:
            handle.remove()
    return logits, calls


def norm_loss(calls: list[LayerCall]) -> Tensor:
    """Sum ||mean - running_mean|| + ||var - running_var|| over the calls."""
    total = calls[0].mean.new_zeros(())
    for layer, mean, var in calls:
        total = total + (mean - layer.running_mean).pow(2).sum().sqrt()
        total = total + (var - layer.running_var).pow(2).sum().sqrt()
    return total

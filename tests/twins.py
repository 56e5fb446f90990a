"""Slow, obvious versions of what the package has optimised; the tests hold it to them."""

import torch
from torch import Tensor, nn


def hooked_statistics(network: nn.Module, layers: list[nn.Module], images: Tensor):
    """Mean and biased variance of each layer's input, as published codes take them.

    A forward hook a layer, the mean of the flattened batch, the variance of its permuted
    copy, and autograd for the gradient. Inputs are copied first: nothing in-place can reach
    them. Pairs come in the order of the calls.
    """
    pairs: list[tuple[Tensor, Tensor]] = []

    def hook(module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        z = arguments[0].clone()
        wide = z if z.dtype == torch.float64 else z.float()
        rows = wide.transpose(0, 1).reshape(z.shape[1], -1)
        pairs.append((rows.mean(1), ((rows - rows.mean(1, keepdim=True)) ** 2).mean(1)))

    handles = [layer.register_forward_pre_hook(hook) for layer in layers]
    try:
        network(images)
    finally:
        for handle in handles:
            handle.remove()
    return pairs


def norm_loss(pairs: list[tuple[Tensor, Tensor]], layers: list[nn.Module]) -> Tensor:
    """The sum over layers of ||mean - running_mean|| + ||var - running_var||."""
    total = torch.zeros((), dtype=pairs[0][0].dtype)
    for (mean, var), layer in zip(pairs, layers, strict=True):
        total = total + (mean - layer.running_mean).pow(2).sum().sqrt()
        total = total + (var - layer.running_var).pow(2).sum().sqrt()
    return total
